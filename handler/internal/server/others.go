package server

import (
	"cmp"
	"slices"

	"podwatch/handler/internal/invocation"
	"podwatch/handler/internal/pipeline"
)

// othersMost is how many bytes of passed-over messages are decoded for the
// surroundings of a batch's alerts.
const othersMost = 1 << 20

// inputOf hands a batch to the pipeline, a message at a time.
func inputOf(decoder *invocation.Decoder, in *invocation.Events) pipeline.Input {
	return pipeline.Input{
		Events: in,
		Body:   func(i int) ([]byte, error) { return decoder.Open(decoder.Index(i)) },
		Others: othersOf(decoder, in),
	}
}

// othersOf decodes for the surroundings of alerts some of the messages of in that
// its decoder passed over: those nearest to the alerts, up to othersMost but at
// least one.
func othersOf(decoder *invocation.Decoder, in *invocation.Events) func([]int, func([]byte) bool, func([]byte)) {
	return func(near []int, want func([]byte) bool, see func([]byte)) {
		spent := 0
		for _, index := range passedOver(decoder, in, near) {
			text := decoder.Seen(index)
			if spent += len(text); spent > othersMost && spent > len(text) {
				return
			}
			if !want(text) {
				continue
			}
			// Nobody asked for it: if it cannot be decoded, so be it.
			if message, err := decoder.Open(index); err == nil {
				see(message)
			}
		}
	}
}

// passedOver returns the indexes of the messages of a batch that were passed over,
// the nearest to those of in.Messages[near] first.
func passedOver(decoder *invocation.Decoder, in *invocation.Events, near []int) []int {
	type other struct{ index, distance int }
	total := len(in.Messages) + in.Passed
	others := make([]other, 0, in.Passed)
	wanted := 0 // messages before index
	for index := range total {
		if wanted < len(in.Messages) && decoder.Index(wanted) == index {
			wanted++
			continue
		}
		o := other{index, total}
		next, _ := slices.BinarySearch(near, wanted)
		if next < len(near) {
			o.distance = decoder.Index(near[next]) - index
		}
		if next > 0 {
			o.distance = min(o.distance, index-decoder.Index(near[next-1]))
		}
		others = append(others, o)
	}
	slices.SortStableFunc(others, func(a, b other) int { return cmp.Compare(a.distance, b.distance) })
	indexes := make([]int, len(others))
	for i, o := range others {
		indexes[i] = o.index
	}
	return indexes
}

package invocation

import "bytes"

// Skim reads what stands around the messages of the usual batch (text, many,
// with metadata after the data) and leaves the messages alone: of Events only
// Messages stays empty, and Passed is their number. It costs next to nothing
// and is for batches that were found uninteresting as a whole by a search in
// their text.
//
// It returns false whenever such a search could have been deceived by the
// encoding (base64), or the invocation looks otherwise than usual, or is cut:
// then ParseEvents has the last word. The data between is not judged.
func Skim(body []byte) (*Events, bool) {
	rest, ok := bytes.CutPrefix(body, []byte(`{"Data":{"events":"[\"`))
	if !ok || len(rest) == 0 {
		return nil, false
	}
	// One message that is no base64 makes the batch text, see builder.binary.
	if base64Begins(rest[0]) {
		return nil, false
	}
	// No quote stands bare in the data, so this can only be found after it. It
	// may still be a member of that name deeper in the metadata; then the
	// brackets that follow do not fit.
	mark := []byte(`]"},"Metadata":{`)
	at := bytes.LastIndex(rest, mark)
	if at < 0 {
		return nil, false
	}
	var md metadata
	start := at + len(mark) - 1
	end, err := md.read(rest, start)
	if err != nil || string(bytes.TrimSpace(rest[end:])) != "}" {
		return nil, false
	}
	numbers := content(md.sequences)
	ev := &Events{Encoding: ManyString}
	if len(numbers) == 0 {
		return nil, false
	}
	end, err = elements(numbers, 0, func(int, int) error { ev.Passed++; return nil })
	if err != nil || end != len(numbers) || ev.Passed == 0 || ev.Passed > MaxMessages {
		return nil, false
	}
	ev.Partition = partition(md.partition)
	ev.Retry = retry(md.retry)
	return ev, true
}

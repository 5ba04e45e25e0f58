package prefilter

import (
	"math"
	"slices"
	"sync"
)

// What a block of common text costs without and with words, a candidate in it,
// and a literal that the candidate may be: tenths of nanoseconds, roughly.
const blockCost, wordsCost, candidateCost, placeCost = 15, 30, 150, 50

// wordyRun is how many plain characters a literal must have in a row to be searched by
// words: then there is one at each offset modulo the stride.
const wordyRun = stride + wordSize - 1

// fewGroups is how many groups without a quote are tried in the few buckets, fewTried
// for how many of them a good bucket is sought.
const fewGroups, fewTried = 16, 64

// build chooses for each literal the pieces that it is searched by: a group, or
// if it has a run of plain characters that is long enough, words, one at each
// offset modulo the stride, so that one is met wherever the literal begins.
// Words are used if they cost less in common text.
func (f *Filter) build() {
	best := f.plan(false)
	if p := f.plan(true); p.cost < best.cost {
		best = p
	}
	best.makeTable()
	f.sieve, f.fours, f.threes = best.sieve, newIndex(best.fours), newIndex(best.threes)
}

// pieces are the places of a folded piece.
type pieces map[uint32][]place

func (p pieces) add(key uint32, at place) { p[key] = append(p[key], at) }

// A plan is a way to search for the literals.
type plan struct {
	f         *Filter
	sieve     sieve
	fours     pieces          // groups and words
	threes    pieces          // groups of the shortest literals
	known     map[string]bool // groups
	words     map[uint32]bool // see fold4
	bucketing bucketing
	cost      int // of looking at the common text
}

func (f *Filter) plan(words bool) *plan {
	p := &plan{
		f: f, sieve: sieve{words: words}, bucketing: newBucketing(), cost: len(noise) / blockSize * blockCost,
		fours: pieces{}, threes: pieces{}, known: map[string]bool{}, words: map[uint32]bool{},
	}
	if words {
		p.cost = len(noise) / blockSize * wordsCost
	}
	var long []wordy
	for i, l := range f.lits {
		if words && l.longestRun() >= wordyRun {
			long = append(long, p.wordy(i))
			continue
		}
		if !words && p.bucketing.added > fewGroups {
			p.cost = math.MaxInt // incomplete
			return p
		}
		p.addGroup(i)
	}
	// Some have only words that are common: a group may cost less.
	slices.SortStableFunc(long, func(a, b wordy) int { return b.cost - a.cost })
	for n, l := range long {
		if n < fewTried {
			if _, group := p.group(l.lit); p.groupCost(group) < l.cost {
				p.addGroup(l.lit)
				continue
			}
		}
		p.addWords(l)
	}
	p.bucketing.fill(&p.sieve)
	return p
}

// group returns where the best group of a literal is, and the group: a rare
// one, and of two rather one that is searched already.
func (p *plan) group(lit int) (offset int, group string) {
	l := &p.f.lits[lit]
	size, least := min(groupSize, l.longestRun()), math.MaxInt
	for at, run := range l.plain {
		if run < size {
			continue
		}
		piece := l.Text[at : at+size]
		rank := 2 * common().fitting(piece)
		if !p.known[piece] {
			rank++
		}
		if rank < least {
			least, offset, group = rank, at, piece
		}
	}
	return offset, group
}

// groupCost is what it costs to look for a literal by a group.
func (p *plan) groupCost(group string) int {
	cost := common().fitting(group) * placeCost
	if !p.known[group] {
		_, more := p.bucketing.best(group)
		cost += more * candidateCost
	}
	return cost
}

func (p *plan) addGroup(lit int) {
	offset, group := p.group(lit)
	p.cost += p.groupCost(group)
	if !p.known[group] {
		p.bucketing.add(group)
		p.known[group] = true
	}
	if len(group) == groupSize {
		p.fours.add(fold4([]byte(group)), p.f.place(lit, offset))
	} else {
		p.threes.add(fold3([]byte(group)), p.f.place(lit, offset))
	}
}

// A wordy is a literal that can be searched by words: at which offsets, and what
// that costs.
type wordy struct {
	lit     int
	offsets []int
	cost    int
}

// wordy chooses a word at each offset modulo the stride, all from one run of plain
// characters: only within one is the distance of characters known.
func (p *plan) wordy(lit int) wordy {
	l := &p.f.lits[lit]
	best := wordy{lit: lit, cost: math.MaxInt}
	end := 0
	for start := 0; start < len(l.Text); start = end + 1 {
		if end = start + l.plain[start]; end-start < wordyRun {
			continue
		}
		offsets, total := make([]int, stride), 0
		for residue := range stride {
			rarest := math.MaxInt
			for at := start + residue; at+wordSize <= end; at += stride {
				if n := common().words[fold4([]byte(l.Text[at:]))]; n < rarest {
					rarest, offsets[residue] = n, at
				}
			}
			total += rarest
		}
		// A word of the text is looked at only where the stride meets it.
		if cost := total * (candidateCost + placeCost) / stride; cost < best.cost {
			best.offsets, best.cost = offsets, cost
		}
	}
	return best
}

func (p *plan) addWords(l wordy) {
	text := p.f.lits[l.lit].Text
	for _, offset := range l.offsets {
		key := fold4([]byte(text[offset:]))
		p.words[key] = true
		p.fours.add(key, p.f.place(l.lit, offset))
	}
	p.cost += l.cost
}

func (f *Filter) place(lit, offset int) place {
	l := &f.lits[lit]
	start := offset
	for start > 0 && l.plain[start-1] > 0 {
		start--
	}
	return place{lit, offset, start, offset + l.plain[offset]}
}

// An index finds places by a folded piece. It is a hash table with open
// addresses, half empty.
type index struct {
	shift   uint8
	keys    []uint32
	entries [][]place // nil: free
}

func newIndex(all pieces) index {
	size := 4
	for 1<<size < 4*len(all) {
		size++
	}
	x := index{uint8(32 - size), make([]uint32, 1<<size), make([][]place, 1<<size)}
	for key, places := range all {
		i := x.slot(key)
		for x.entries[i] != nil {
			i = (i + 1) % len(x.entries)
		}
		x.keys[i], x.entries[i] = key, places
	}
	return x
}

func (x *index) slot(key uint32) int { return int(key * multipliers[0] >> x.shift) }

func (x *index) at(key uint32) []place {
	for i := x.slot(key); x.entries[i] != nil; i = (i + 1) % len(x.entries) {
		if x.keys[i] == key {
			return x.entries[i]
		}
	}
	return nil
}

// multipliers are odd numbers that hash well.
var multipliers = [...]uint32{0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1, 0xCC9E2D51, 0x1B873593, 0x2545F491}

// makeTable makes the table of the words, so large that few words of other text
// have the hash of one that is searched, and with the multiplier with which
// common words do not.
func (p *plan) makeTable() {
	if !p.sieve.words {
		return
	}
	size := 12 // half of the fastest cache
	for 1<<size < 4*len(p.words) {
		size++
	}
	fewest := math.MaxInt
	for _, m := range multipliers {
		s := sieve{multiplier: m, shift: uint8(32 - size), table: make([]uint32, 1<<size)}
		for word := range p.words {
			entry, place := s.bit(word)
			s.table[entry] |= 1 << place
		}
		alarms := 0
		for word, n := range common().words {
			if s.hasWord(word) {
				alarms += n
			}
		}
		if alarms < fewest {
			fewest = alarms
			p.sieve.multiplier, p.sieve.shift, p.sieve.table = s.multiplier, s.shift, s.table
		}
	}
}

// A bucketing puts groups into buckets so that few other groups of common text
// fit them: a bucket fits whatever combines bytes of its groups.
type bucketing struct {
	sets  [buckets]set
	added int
}

// quotedBucket is the bucket of groups that begin with a quote. With others in it, whose first
// bytes are letters, more letters would fit.
const quotedBucket = buckets - 2

// A set is the halves of bytes that fit a bucket, a bit for each.
type set struct {
	low  [groupSize]uint16
	high uint16 // of the first byte
}

func newBucketing() bucketing {
	var b bucketing
	b.sets[buckets-1] = set{}.with(`\u00`).with(`\u21`) // also 01 and 20
	return b
}

func (s set) with(group string) set {
	for k := range groupSize {
		if k < len(group) {
			s.low[k] |= 1 << (group[k] & 15)
		} else {
			s.low[k] = 0xffff
		}
	}
	s.high |= 1 << (group[0] >> 4)
	if c := group[0]; c >= 'a' && c <= 'z' {
		s.high |= 1 << ((c - 'a' + 'A') >> 4) // the other case differs in this half only
	}
	return s
}

// fitting counts the groups of common text that fit a set.
func (s set) fitting() int {
	total := 0
	for _, g := range common().list {
		a, b, c, d := byte(g.key), byte(g.key>>8), byte(g.key>>16), byte(g.key>>24)
		if s.low[0]>>(a&15)&(s.high>>(a>>4))&(s.low[1]>>b)&(s.low[2]>>c)&(s.low[3]>>d)&1 != 0 {
			total += g.n
		}
	}
	return total
}

// best returns the bucket that a group should be added to, and how many more
// groups of common text fit then.
func (b *bucketing) best(group string) (bucket, more int) {
	if group[0] == '"' {
		own := b.sets[quotedBucket]
		return quotedBucket, own.with(group).fitting() - own.fitting()
	}
	if b.added < quotedBucket {
		return b.added, common().fitting(group)
	}
	more = math.MaxInt
	for i, s := range b.sets[:quotedBucket] {
		if n := s.with(group).fitting() - s.fitting(); n < more {
			bucket, more = i, n
		}
	}
	return bucket, more
}

func (b *bucketing) add(group string) {
	bucket := b.added % quotedBucket
	if b.added <= fewTried {
		bucket, _ = b.best(group)
	}
	b.sets[bucket] = b.sets[bucket].with(group)
	if bucket != quotedBucket {
		b.added++
	}
}

func (b *bucketing) fill(s *sieve) {
	for i, set := range b.sets {
		for k, halves := range [groupSize + 1]uint16{set.low[0], set.high, set.low[1], set.low[2], set.low[3]} {
			for v := range 16 {
				if halves&(1<<v) != 0 {
					s.nibbles[k][v] |= 1 << i
					s.nibbles[k][v+16] |= 1 << i
				}
			}
		}
	}
}

// A count is how often common text contains what fits a bucket of one group.
type count struct {
	key uint32 // see halves
	n   int
}

// counts are those of all pieces of common text.
type counts struct {
	halves, words map[uint32]int // see halves and fold4
	list          []count        // halves
}

// common counts the pieces of common text, once.
var common = sync.OnceValue(func() counts {
	c := counts{halves: map[uint32]int{}, words: map[uint32]int{}}
	text := []byte(noise)
	for i := range len(text) - wordSize + 1 {
		c.halves[halves(text[i:])]++
		c.words[fold4(text[i:])]++
	}
	for key, n := range c.halves {
		c.list = append(c.list, count{key, n})
	}
	return c
})

// fitting is how often a bucket of one group fits common text.
func (c counts) fitting(group string) int {
	if len(group) < groupSize {
		return set{}.with(group).fitting()
	}
	return c.halves[halves([]byte(group))]
}

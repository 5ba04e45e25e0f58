package invocation

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"podwatch/handler/internal/prefilter"
)

// TestBodiesAreReadWholeIntoMemoryOfOthers: the memory of earlier bodies is used
// again, and a body that is still held does not change.
func TestBodiesAreReadWholeIntoMemoryOfOthers(t *testing.T) {
	const limit = 24 << 20
	r := NewReader(limit, 3*limit)
	content := make([]byte, limit+1)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(content)
	read := func(size int) (*Batch, error) {
		return r.Read(t.Context(), bytes.NewReader(content[:size]), nil)
	}
	held, err := read(700_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 1, 300_000, maxPooled + 5, 7, limit, 65_536} {
		b, err := read(size)
		if err != nil || !bytes.Equal(b.buffer.bytes, content[:size]) {
			t.Fatalf("%d bytes: %v", size, err)
		}
		b.Close()
	}
	if _, err := read(limit + 1); !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "BODY_LIMIT_MIB") {
		t.Errorf("one byte too many: %v", err)
	}
	if !bytes.Equal(held.buffer.bytes, content[:700_000]) {
		t.Error("a body that is still held has changed")
	}
	held.Close()
	held.Close()
	if len(r.idle) != 2 && !unmapAtClose {
		t.Errorf("%d buffers are idle, want the two that were in use at once", len(r.idle))
	}
}

func TestFewBuffersAreKept(t *testing.T) {
	if unmapAtClose {
		t.Skip("none is")
	}
	r := NewReader(1<<20, 1<<40)
	var batches []*Batch
	for range 3 * pooledBuffers {
		b, err := r.Read(t.Context(), strings.NewReader("{}"), nil)
		if err != nil {
			t.Fatal(err)
		}
		batches = append(batches, b)
	}
	for _, b := range batches {
		b.Close()
	}
	if len(r.idle) != pooledBuffers {
		t.Errorf("%d buffers are idle, want %d", len(r.idle), pooledBuffers)
	}
}

// TestABodyThatEndsEarlyIsBroken and gives its memory back.
func TestABodyThatEndsEarlyIsBroken(t *testing.T) {
	cause := errors.New("connection reset")
	r := NewReader(2<<20, 2<<20)
	for range 3 {
		body := io.MultiReader(bytes.NewReader(make([]byte, freeShare+5)), iotest.ErrReader(cause))
		_, err := r.Read(t.Context(), body, nil)
		if !errors.Is(err, ErrBroken) || !errors.Is(err, cause) || err.Error() != "read request: the request ended early, after 1048581 bytes: connection reset" {
			t.Fatalf("got error %v", err)
		}
	}
}

// TestABufferThatIsNotReservedGrows, as on systems without address space to
// reserve.
func TestABufferThatIsNotReservedGrows(t *testing.T) {
	const size = 3 << 20
	content := bytes.Repeat([]byte("0123456789"), size/10)
	r := NewReader(size, size)
	r.idle = []*buffer{{bytes: make([]byte, 0, firstBuffer)}}
	b, err := r.Read(t.Context(), iotest.HalfReader(bytes.NewReader(content)), nil)
	if err != nil || !bytes.Equal(b.buffer.bytes, content) {
		t.Fatalf("%d bytes, %v", b.Size(), err)
	}
	if most := size*5/4 + firstBuffer; cap(b.buffer.bytes) > most {
		t.Errorf("the buffer has %d bytes for %d, want at most %d", cap(b.buffer.bytes), size, most)
	}
	b.Close()
}

// TestTheSearchSeesEveryByte however the body arrives.
func TestTheSearchSeesEveryByte(t *testing.T) {
	needle := prefilter.New([]prefilter.Literal{{Text: "needle"}})
	body := `{"Data":{"events":"[\"{}\",\"` + strings.Repeat("x", 300) + `needle\"]"},"Metadata":{}}`
	r := NewReader(1<<20, 1<<20)
	for name, arriving := range map[string]io.Reader{
		"at once":         strings.NewReader(body),
		"byte by byte":    iotest.OneByteReader(strings.NewReader(body)),
		"in halves":       iotest.HalfReader(strings.NewReader(body)),
		"with its end":    iotest.DataErrReader(strings.NewReader(body)),
		"with no content": io.MultiReader(strings.NewReader(""), strings.NewReader(body)),
	} {
		b, err := r.Read(t.Context(), arriving, needle)
		if err != nil || len(b.Hits()) != 1 || b.At(b.Hits()[0].Pos) != 1 {
			t.Errorf("%s: %v, %v", name, b, err)
			continue
		}
		b.Close()
	}
}

// A source is a body that counts what was read of it.
type source struct{ left, read int }

func (s *source) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), s.left)
	s.left, s.read = s.left-n, s.read+n
	return n, nil
}

// TestLargeBodiesWaitUnreadAndInOrder: the budget has room for two; the others
// occupy their free share until one of those is closed.
func TestLargeBodiesWaitUnreadAndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit, bodies = 4 << 20, 5
		r := NewReader(limit, 2*limit)
		read := make(chan int, bodies)
		batches := make([]*Batch, bodies)
		var sources [bodies]source
		for i := range bodies {
			sources[i].left = limit
			go func() {
				var err error
				if batches[i], err = r.Read(t.Context(), &sources[i], nil); err != nil {
					t.Errorf("body %d: %v", i, err)
				}
				read <- i
			}()
			synctest.Wait()
		}
		var order []int
		for range bodies {
			i := <-read
			order = append(order, i)
			if len(order) == 1 {
				for i := 2; i < bodies; i++ {
					if sources[i].read < freeShare || sources[i].read > freeShare+maxRead {
						t.Errorf("body %d waits with %d bytes read, want 1 MiB", i, sources[i].read)
					}
				}
			}
			if len(order) >= 2 {
				batches[order[len(order)-2]].Close()
				synctest.Wait()
			}
		}
		if !slices.Equal(order, []int{0, 1, 2, 3, 4}) {
			t.Errorf("read in the order %v", order)
		}
		batches[order[bodies-1]].Close()
	})
}

// TestSmallBodiesDoNotWait for large ones.
func TestSmallBodiesDoNotWait(t *testing.T) {
	r := NewReader(2<<20, 2<<20)
	large, err := r.Read(t.Context(), &source{left: 2 << 20}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer large.Close()
	small, err := r.Read(t.Context(), &source{left: freeShare - 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	small.Close()
}

// TestABodyWaitsForAMinute at most, and not after its request has gone.
func TestABodyWaitsForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewReader(2<<20, 2<<20)
		held, err := r.Read(t.Context(), &source{left: 2 << 20}, nil)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := r.Read(t.Context(), &source{left: 2 << 20}, nil); !errors.Is(err, ErrBusy) || time.Since(start) != time.Minute {
			t.Errorf("after %v: %v, want ErrBusy after a minute", time.Since(start), err)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		start = time.Now()
		if _, err := r.Read(gone, &source{left: 2 << 20}, nil); !errors.Is(err, ErrBusy) || time.Since(start) != 0 {
			t.Errorf("after %v: %v, want ErrBusy at once", time.Since(start), err)
		}
		held.Close()
		again, err := r.Read(t.Context(), &source{left: 2 << 20}, nil)
		if err != nil {
			t.Fatalf("after Close: %v", err)
		}
		again.Close()
	})
}

package server

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"
)

// A body is read whole into whatever memory earlier ones have left, is shown as it
// arrives, and nobody else's memory is touched.
func TestBodiesAreReadWholeIntoMemoryOfOthers(t *testing.T) {
	const limit = 24 << 20
	pool := &buffers{limit: limit}
	content := make([]byte, limit+1)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(content)
	read := func(size int, look func([]byte, bool)) (body, error) {
		// A reader of unknown length, as the host's chunks are.
		request := httptest.NewRequest(http.MethodPost, "/Detect", io.MultiReader(bytes.NewReader(content[:size])))
		return pool.readBody(httptest.NewRecorder(), request, look)
	}
	held, err := read(700_000, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 1, 300_000, pooledMost + 5, 7, limit, 65_536} {
		shown, ended := 0, false
		b, err := read(size, func(sofar []byte, last bool) {
			if ended || len(sofar) < shown || !bytes.Equal(sofar, content[:len(sofar)]) {
				t.Fatalf("%d bytes: shown %d after %d, ended %t", size, len(sofar), shown, ended)
			}
			shown, ended = len(sofar), last
		})
		if err != nil || !bytes.Equal(b.bytes, content[:size]) || shown != size || !ended {
			t.Errorf("%d bytes: read %d, shown %d, ended %t, %v", size, len(b.bytes), shown, ended, err)
		}
		b.release()
	}
	b, err := read(limit+1, nil)
	if err == nil || statusOf(err) != http.StatusRequestEntityTooLarge {
		t.Errorf("a byte too many: %v", err)
	}
	b.release()
	if !bytes.Equal(held.bytes, content[:700_000]) {
		t.Error("a body that is still held has changed")
	}
	held.release()
	if len(pool.idle) != 2 {
		t.Errorf("%d buffers wait for a request, want the two that were in use at once", len(pool.idle))
	}
}

func TestFewBuffersAreKept(t *testing.T) {
	pool := &buffers{limit: 1 << 20}
	var held []*buffer
	for range 3 * pooledBuffers {
		held = append(held, pool.get())
	}
	for _, b := range held {
		pool.put(b)
	}
	if len(pool.idle) != pooledBuffers {
		t.Errorf("%d buffers are kept, want %d", len(pool.idle), pooledBuffers)
	}
}

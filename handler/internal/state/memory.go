package state

import (
	"bytes"
	"context"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// memorySize is how many documents a memory keeps.
const memorySize = 20_000

// memory stores documents in this process only.
type memory struct {
	mu        sync.Mutex
	documents *lru.Cache[string, stored]
	versions  int
}

type stored struct {
	data    []byte
	version string
	written time.Time
}

var _ Documents = (*memory)(nil)

// NewMemory returns documents that live as long as the process, for runs without
// storage. It keeps the latest 20,000, so that it does not grow without bound.
func NewMemory() Documents {
	documents, _ := lru.New[string, stored](memorySize) // fails for a size below one only
	return &memory{documents: documents}
}

func (m *memory) Fetch(ctx context.Context, name string) (Document, error) {
	if err := ctx.Err(); err != nil {
		return Document{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.documents.Peek(name)
	if !ok {
		return Document{}, ErrAbsent
	}
	return Document{Name: name, Data: bytes.Clone(s.data), Age: time.Since(s.written), Version: s.version}, nil
}

func (m *memory) Create(ctx context.Context, name string, data []byte) (Document, error) {
	return m.write(ctx, Document{Name: name}, data, ErrExists)
}

func (m *memory) Replace(ctx context.Context, d Document, data []byte) (Document, error) {
	return m.write(ctx, d, data, ErrChanged)
}

// write stores a new version if d is the newest, and otherwise fails with conflict.
func (m *memory) write(ctx context.Context, d Document, data []byte, conflict error) (Document, error) {
	if err := ctx.Err(); err != nil {
		return Document{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if s, _ := m.documents.Peek(d.Name); s.version != d.Version {
		return Document{}, conflict
	}
	m.versions++
	s := stored{bytes.Clone(data), strconv.Itoa(m.versions), time.Now()}
	m.documents.Add(d.Name, s)
	return Document{Name: d.Name, Data: data, Version: s.version}, nil
}

func (m *memory) Delete(ctx context.Context, d Document) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if s, ok := m.documents.Peek(d.Name); ok && d.Version != "" && s.version != d.Version {
		return ErrChanged
	}
	m.documents.Remove(d.Name)
	return nil
}

func (m *memory) List(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := ctx.Err(); err != nil {
			yield("", err)
			return
		}
		m.mu.Lock()
		names := m.documents.Keys()
		m.mu.Unlock()
		slices.Sort(names)
		for _, name := range names {
			if strings.HasPrefix(name, prefix) && !yield(name, nil) {
				return
			}
		}
	}
}

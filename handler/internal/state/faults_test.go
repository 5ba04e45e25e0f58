package state_test

import (
	"context"
	"errors"
	"iter"
	"time"

	"podwatch/handler/internal/state"
)

var errStorage = errors.New("storage failed")

// A fault is how a request fails.
type fault int

const (
	none       fault = iota
	notWritten       // before it had an effect
	answerLost       // after it had one
)

// faulty makes requests of its documents fail as the test decides.
type faulty struct {
	state.Documents
	next func(request string) fault
	aged time.Duration // added to the age of documents
}

func (f faulty) try(request string, do func() error) error {
	fault := f.next(request)
	if fault == notWritten {
		return errStorage
	}
	if err := do(); err != nil {
		return err
	}
	if fault == answerLost {
		return errStorage
	}
	return nil
}

func (f faulty) Fetch(ctx context.Context, name string) (d state.Document, err error) {
	err = f.try("fetch "+name, func() error { d, err = f.Documents.Fetch(ctx, name); return err })
	d.Age += f.aged
	return d, err
}

func (f faulty) Create(ctx context.Context, name string, data []byte) (d state.Document, err error) {
	err = f.try("create "+name, func() error { d, err = f.Documents.Create(ctx, name, data); return err })
	return d, err
}

func (f faulty) Replace(ctx context.Context, old state.Document, data []byte) (d state.Document, err error) {
	err = f.try("replace "+old.Name, func() error { d, err = f.Documents.Replace(ctx, old, data); return err })
	return d, err
}

func (f faulty) Delete(ctx context.Context, d state.Document) error {
	return f.try("delete "+d.Name, func() error { return f.Documents.Delete(ctx, d) })
}

func (f faulty) List(ctx context.Context, prefix string) iter.Seq2[string, error] {
	if f.next("list "+prefix) != none {
		return func(yield func(string, error) bool) { yield("", errStorage) }
	}
	return f.Documents.List(ctx, prefix)
}

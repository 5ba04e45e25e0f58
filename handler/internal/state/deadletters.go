package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"
)

// A DeadLetter is an alert that each sink which lacks it rejects.
type DeadLetter struct {
	Text   []byte    `json:"text"`
	Reason string    `json:"reason"`
	Added  time.Time `json:"added"`

	name string
}

// DeadLetters keeps alerts that were given up until a person removes them. It is
// safe for concurrent use, also by several instances. The zero value keeps nothing
// and fails, for runs without storage.
//
// The documents are dead/DIGEST of the text.
type DeadLetters struct {
	documents Documents
	now       func() time.Time
}

// NewDeadLetters returns the dead letters kept in the given documents. It does no I/O.
func NewDeadLetters(d Documents, now func() time.Time) *DeadLetters {
	return &DeadLetters{documents: d, now: now}
}

var errNoStorage = errors.New("no storage is configured")

// Add keeps a text, with the first reason and time when it is added more than once.
func (l *DeadLetters) Add(ctx context.Context, text []byte, reason string) error {
	if l.documents == nil {
		return fmt.Errorf("keep an alert that was given up: %w", errNoStorage)
	}
	letter, err := json.Marshal(DeadLetter{Text: text, Reason: reason, Added: l.now().UTC()})
	if err != nil {
		return err
	}
	_, err = l.documents.Create(ctx, "dead/"+digest(string(text)), letter)
	if err != nil && !errors.Is(err, ErrExists) {
		return fmt.Errorf("keep an alert that was given up: %w", err)
	}
	return nil
}

// All yields all dead letters, in no order. After the error of one, which is kept,
// it continues.
func (l *DeadLetters) All(ctx context.Context) iter.Seq2[DeadLetter, error] {
	return func(yield func(DeadLetter, error) bool) {
		if l.documents == nil {
			return
		}
		for name, err := range l.documents.List(ctx, "dead/") {
			letter := DeadLetter{name: name}
			if err == nil {
				letter, err = l.read(ctx, name)
			}
			if errors.Is(err, ErrAbsent) {
				continue // removed since it was listed
			}
			if !yield(letter, err) {
				return
			}
		}
	}
}

// Count returns how many dead letters there are.
func (l *DeadLetters) Count(ctx context.Context) (int, error) {
	if l.documents == nil {
		return 0, nil
	}
	return count(ctx, l.documents, "dead/")
}

// Oldest returns when the oldest dead letter was added; zero if there is none. It
// reads all of them.
func (l *DeadLetters) Oldest(ctx context.Context) (time.Time, error) {
	var oldest time.Time
	for letter, err := range l.All(ctx) {
		if err := ctx.Err(); err != nil {
			return time.Time{}, err
		}
		if err == nil && (oldest.IsZero() || letter.Added.Before(oldest)) {
			oldest = letter.Added
		}
	}
	return oldest, nil
}

func (l *DeadLetters) read(ctx context.Context, name string) (DeadLetter, error) {
	d, err := l.documents.Fetch(ctx, name)
	if err != nil {
		return DeadLetter{}, err
	}
	letter := DeadLetter{name: name}
	if err := json.Unmarshal(d.Data, &letter); err != nil {
		return DeadLetter{}, fmt.Errorf("read dead letter %q: %w", name, err)
	}
	return letter, nil
}

// Remove deletes a dead letter that All yielded.
func (l *DeadLetters) Remove(ctx context.Context, d DeadLetter) error {
	return l.documents.Delete(ctx, Document{Name: d.name})
}

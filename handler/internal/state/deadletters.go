package state

import (
	"context"
	"iter"
	"time"
)

// A DeadLetter is an alert that no sink that lacks it will accept.
type DeadLetter struct {
	Text   []byte
	Reason string
	Added  time.Time

	document Document
}

// DeadLetters keeps alerts that were given up until a person removes them. It is
// safe for concurrent use, also by several instances.
type DeadLetters struct {
	documents Documents
}

// NewDeadLetters returns the dead letters kept in the given documents. It does no I/O.
func NewDeadLetters(d Documents) *DeadLetters { return &DeadLetters{documents: d} }

// Add keeps a text, once however often it is added.
func (l *DeadLetters) Add(ctx context.Context, text []byte, reason string) error { return nil }

// All yields all dead letters, in no order. After the error of one, which stays
// where it is, it continues.
func (l *DeadLetters) All(ctx context.Context) iter.Seq2[DeadLetter, error] {
	return func(func(DeadLetter, error) bool) {}
}

// Remove deletes a dead letter.
func (l *DeadLetters) Remove(ctx context.Context, d DeadLetter) error { return nil }

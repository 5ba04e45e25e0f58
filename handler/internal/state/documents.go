// Package state remembers what podwatch must know between invocations and share
// between instances: deliveries ([Ledger]), storms ([Storms]), the health of the
// feed ([Feed]) and alerts that were given up ([DeadLetters]).
//
// All of it is stored in small documents with compare-and-swap ([Documents]), so
// instances need no lock, and a process that is killed at any point leaves no
// half-written state. Each part assumes that a change which failed may have
// happened. A part that is due to be posted is removed only after the caller has
// posted it: a crash in between costs a repeat, never a loss.
package state

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"iter"
	"time"
)

// Errors of [Documents] that callers branch on. After any other error the change
// may or may not have happened.
var (
	ErrAbsent  = errors.New("document does not exist")
	ErrExists  = errors.New("document exists already")
	ErrChanged = errors.New("document was changed or deleted since it was read")
)

// A Document is one version of a small text under a name.
type Document struct {
	Name    string
	Data    []byte
	Age     time.Duration // since this version was written, by the clock of the storage
	Version string        // opaque; for Replace and Delete
}

// Documents stores small texts, of which each change is atomic. All methods are
// safe for concurrent use, also by several processes. They return when the change
// is durable, and try often enough that an error is worth reporting.
type Documents interface {
	// Fetch returns the newest version, or ErrAbsent.
	Fetch(ctx context.Context, name string) (Document, error)

	// Create adds a document, or returns ErrExists. An attempt of this call
	// whose answer was lost may be what exists.
	Create(ctx context.Context, name string, data []byte) (Document, error)

	// Replace writes a new version if d is the newest, or returns ErrChanged. An
	// attempt of this call whose answer was lost may be what changed it.
	Replace(ctx context.Context, d Document, data []byte) (Document, error)

	// Delete removes a document if d is its newest version, or returns
	// ErrChanged. Without a Version it removes any version. A document that does
	// not exist is no error.
	Delete(ctx context.Context, d Document) error

	// List yields the names that begin with prefix, in ascending order. An
	// error ends it.
	List(ctx context.Context, prefix string) iter.Seq2[string, error]
}

// fetchJSON reads the value that a document holds, and begin where there is no document.
// One that is no such value is kept aside, and begin is to replace it.
func fetchJSON[T any](ctx context.Context, documents Documents, name string, begin T) (Document, T, error) {
	d, err := documents.Fetch(ctx, name)
	if errors.Is(err, ErrAbsent) {
		return Document{Name: name}, begin, nil
	}
	value := begin
	if err == nil && json.Unmarshal(d.Data, &value) != nil {
		return d, begin, keepAside(ctx, documents, d)
	}
	return d, value, err
}

// keepAside copies a document that cannot be read to a place where no one reads it.
func keepAside(ctx context.Context, documents Documents, d Document) error {
	_, err := documents.Create(ctx, "unreadable/"+d.Name+"."+digest(string(d.Data)), d.Data)
	if errors.Is(err, ErrExists) {
		return nil
	}
	return err
}

// update changes the value of the document that read returns, again if others did so
// at the same time.
func update[T any](ctx context.Context, documents Documents, read func() (Document, T, error), change func(*T)) error {
	for range maxAttempts {
		d, value, err := read()
		if err != nil {
			return err
		}
		change(&value)
		if err := putJSON(ctx, documents, d, value); err == nil || failure(err) {
			return err
		}
	}
	return ErrChanged
}

func putJSON(ctx context.Context, documents Documents, d Document, value any) error {
	text, err := json.Marshal(value)
	if err == nil {
		_, err = put(ctx, documents, d, text)
	}
	return err
}

// put creates a document that has no version yet, and replaces one that has.
func put(ctx context.Context, documents Documents, d Document, data []byte) (Document, error) {
	if d.Version == "" {
		return documents.Create(ctx, d.Name, data)
	}
	return documents.Replace(ctx, d, data)
}

// count returns how many documents have names that begin with prefix.
func count(ctx context.Context, d Documents, prefix string) (n int, err error) {
	for _, err := range d.List(ctx, prefix) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// Names of the containers. Documents of the ledger's container may expire 30 days
// after they were written; all others are kept until they are deleted.
const (
	LedgerContainer = "podwatch-ledger"
	StateContainer  = "podwatch-state"
)

// digest returns a short name for any text.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:16])
}

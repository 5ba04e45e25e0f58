package state

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"regexp"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/errgroup"
)

// A Key names the delivery of one alert to one sink.
type Key struct{ Sink, ID string }

// An Owner is who may post an alert to a sink.
type Owner int

const (
	Theirs Owner = iota // another call or instance has the claim, or could have it
	Mine                // this call has the claim
	Nobody              // the delivery is settled: there is nothing to post
)

// A Claim is the answer to one key of [Ledger.Claim].
type Claim struct {
	Key
	Owner      Owner
	Unanswered bool // an earlier post was sent whole and never answered: the sink may have the alert

	token    string    // names this claim in the document
	until    time.Time // the end of the claim, by this process's monotonic clock
	document Document  // without a Version: storage did not take the claim
}

// The times of a claim. Its owner counts from before the request that made it,
// others by the age of the document, so the clocks of instances are never compared.
// The two minutes between them are for a clock of the storage that is wrong, and
// for an owner that is slow to record the outcome.
const (
	ownedFor      = 2 * time.Minute / hurry
	takenOverFrom = 4 * time.Minute / hurry

	// PostTime is the longest time that a sink's answer may be awaited.
	PostTime = time.Minute / hurry
)

// MayPost reports whether a post may begin now: the claim is ours for at least as
// long as the answer may be awaited.
func (c Claim) MayPost() bool {
	return c.Owner == Mine && time.Until(c.until) >= PostTime
}

// An Outcome is how a claimed delivery ended.
type Outcome int

const (
	Open       Outcome = iota // not delivered: the claim is given back, any instance may try
	Accepted                  // the sink accepted the alert
	Unanswered                // sent whole, no answer: open for one more try; the second time it counts as accepted
	Unwanted                  // the sink does not want the alert
	GivenUp                   // the sink rejects the alert for good
)

const (
	atOnce      = 64          // requests of one call
	ledgerSize  = 20_000      // deliveries that are remembered in memory
	settleTime  = 2 * askTime // of one call of Settle; longer than a request, so that one that hangs is a failure
	maxAttempts = 5           // at a document that others change
)

// A Ledger remembers the deliveries of all instances. Of several calls and
// instances that have the same alert one posts it; a repeat needs a process that
// was killed, or an answer that was lost. The ledger is safe for concurrent use,
// and its methods do not fail: while storage is unavailable this process decides
// alone.
//
// The document of a delivery is SINK/ID. Sinks do not share one, because its age is
// the age of the claim. An empty document is a mark of an older version: settled.
// The document unanswered/SINK/ID is a note beside it.
type Ledger struct {
	documents Documents
	storage   breaker
	known     *lru.Cache[Key, entry] // what this process settled or read as settled, and unanswered posts of its own

	mu   sync.Mutex
	mine map[Key]Claim // not settled yet
}

// NewLedger returns the ledger in the given documents. It does no I/O.
func NewLedger(d Documents, log *slog.Logger) *Ledger {
	known, _ := lru.New[Key, entry](ledgerSize) // fails for a size below one only
	return &Ledger{documents: d, storage: breaker{log: log}, known: known, mine: map[Key]Claim{}}
}

// An entry is the content of a delivery's document. Without owner and outcome the
// delivery is open.
type entry struct {
	Owner      string `json:"owner,omitempty"` // the token of the claim
	Unanswered bool   `json:"unanswered,omitempty"`
	Outcome    string `json:"outcome,omitempty"` // set: settled
}

// settled maps the outcomes that need no more work to their text in a document.
var settled = map[Outcome]string{Accepted: "accepted", Unwanted: "unwanted", GivenUp: "given up"}

// read returns the entry in a document. One that cannot be read is treated like the
// claim of an unknown owner.
func read(d Document) entry {
	if len(d.Data) == 0 {
		return entry{Outcome: settled[Accepted]}
	}
	var e entry
	if err := json.Unmarshal(d.Data, &e); err != nil {
		return entry{Owner: "unknown"}
	}
	return e
}

// Settled reports for each key whether nothing is left to do. A delivery about
// which nothing is known counts as not settled.
func (l *Ledger) Settled(ctx context.Context, keys []Key) []bool {
	answers := make([]bool, len(keys))
	parallel(len(keys), func(i int) {
		if e, ok := l.known.Get(keys[i]); ok && e.Outcome != "" {
			answers[i] = true
			return
		}
		d, err := l.fetch(ctx, documentName(keys[i]))
		if err != nil {
			return
		}
		if e := read(d); e.Outcome != "" {
			l.known.Add(keys[i], e)
			answers[i] = true
		}
	})
	return answers
}

// Outcome returns how a delivery was settled, in the words of its document: "accepted",
// "unwanted" or "given up"; "" while it is open. It is for people: unlike the other
// methods it fails, and remembers nothing.
func (l *Ledger) Outcome(ctx context.Context, key Key) (string, error) {
	d, err := l.documents.Fetch(ctx, documentName(key))
	if errors.Is(err, ErrAbsent) {
		return "", nil
	}
	return read(d).Outcome, err
}

// Claim asks for the right to post each alert, and answers in the order of keys.
// The caller posts those that are [Mine] while [Claim.MayPost], and passes all of
// them to [Ledger.Settle].
func (l *Ledger) Claim(ctx context.Context, keys []Key) []Claim {
	claims := make([]Claim, len(keys))
	parallel(len(keys), func(i int) { claims[i] = l.claim(ctx, keys[i]) })
	return claims
}

func (l *Ledger) claim(ctx context.Context, key Key) Claim {
	c := Claim{Key: key, token: rand.Text(), until: time.Now().Add(ownedFor)}
	if !l.reserve(c) {
		return Claim{Key: key, Owner: Theirs}
	}
	if c.Owner = l.acquire(ctx, &c); c.Owner != Mine {
		l.release(c)
	}
	return c
}

// reserve keeps other calls of this process from the claim while it lasts.
func (l *Ledger) reserve(c Claim) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if other, ok := l.mine[c.Key]; ok && time.Until(other.until) > 0 {
		return false
	}
	l.mine[c.Key] = c
	return true
}

func (l *Ledger) release(c Claim) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mine[c.Key].token == c.token {
		delete(l.mine, c.Key)
	}
}

// acquire writes the claim into the document of the delivery, unless another's is
// in it.
func (l *Ledger) acquire(ctx context.Context, c *Claim) Owner {
	known, _ := l.known.Get(c.Key)
	if known.Outcome != "" {
		return Nobody
	}
	c.Unanswered = known.Unanswered
	document := Document{Name: documentName(c.Key)}
	for range maxAttempts {
		taken, err := l.write(ctx, document, entry{Owner: c.token, Unanswered: c.Unanswered})
		if err == nil {
			c.document = taken
			return Mine
		}
		if !failure(err) {
			document, err = l.fetch(ctx, documentName(c.Key))
		}
		switch {
		case errors.Is(err, ErrAbsent):
			document = Document{Name: documentName(c.Key)} // expired since
			continue
		case err != nil && ctx.Err() != nil:
			return Theirs // no time is left to post it
		case err != nil:
			return Mine // storage is unavailable
		}
		e := read(document)
		switch {
		case e.Outcome != "":
			l.known.Add(c.Key, e)
			return Nobody
		case e.Owner == c.token: // the answer to our request was lost
			c.document = document
			return Mine
		case e.Owner != "" && document.Age < takenOverFrom:
			return Theirs
		}
		c.Unanswered = c.Unanswered || e.Unanswered
	}
	return Theirs // others are faster
}

// Settle records how claimed deliveries ended. It does so even when ctx has ended,
// within six seconds. Claims that are not [Mine] are skipped.
func (l *Ledger) Settle(ctx context.Context, claims []Claim, o Outcome) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	parallel(len(claims), func(i int) {
		if claims[i].Owner == Mine {
			l.settle(ctx, claims[i], o)
		}
	})
}

func (l *Ledger) settle(ctx context.Context, c Claim, o Outcome) {
	defer l.release(c)
	if o == Unanswered && c.Unanswered {
		o = Accepted
	}
	e := entry{Unanswered: c.Unanswered || o == Unanswered, Outcome: settled[o]}
	if e != (entry{}) {
		l.known.Add(c.Key, e) // before storage, which may fail
	}
	document := c.document
	document.Name = documentName(c.Key)
	for range maxAttempts {
		_, err := l.write(ctx, document, e)
		if err == nil || failure(err) {
			return
		}
		document, err = l.fetch(ctx, documentName(c.Key))
		if errors.Is(err, ErrAbsent) {
			document = Document{Name: documentName(c.Key)}
			continue
		}
		now := read(document)
		if err != nil || now.Outcome != "" || now.Owner != c.token && e.Outcome == "" {
			return // also when the answer to our own request was lost
		}
	}
}

const unansweredPrefix = "unanswered/"

// NoteUnanswered remembers that a delivery counts as accepted without an answer, for
// [Ledger.CountUnanswered]. It fails without a word: the caller has it in the log.
func (l *Ledger) NoteUnanswered(ctx context.Context, k Key) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	_, _ = l.write(ctx, Document{Name: unansweredPrefix + documentName(k)}, entry{Unanswered: true})
}

// CountUnanswered returns how many deliveries were noted, as far back as documents are
// kept.
func (l *Ledger) CountUnanswered(ctx context.Context) (int, error) {
	return count(ctx, l.documents, unansweredPrefix)
}

func (l *Ledger) write(ctx context.Context, d Document, e entry) (written Document, err error) {
	text, err := json.Marshal(e)
	if err != nil {
		return d, err
	}
	err = l.storage.ask(ctx, func(ctx context.Context) error {
		written, err = put(ctx, l.documents, d, text)
		return err
	})
	return written, err
}

func (l *Ledger) fetch(ctx context.Context, name string) (d Document, err error) {
	err = l.storage.ask(ctx, func(ctx context.Context) error {
		d, err = l.documents.Fetch(ctx, name)
		return err
	})
	return d, err
}

// parallel calls f for each index below n, 64 at once.
func parallel(n int, f func(i int)) {
	var calls errgroup.Group
	calls.SetLimit(atOnce)
	for i := range n {
		calls.Go(func() error { f(i); return nil })
	}
	_ = calls.Wait() // no call returns an error
}

// plainName matches names that are the same in a URL. Limits of length are apart from
// patterns: a count makes one large, and all are compiled at each start.
var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)

const longestName = 128

func documentName(k Key) string { return safeName(k.Sink) + "/" + safeName(k.ID) }

// safeName replaces what is not a plain name by its hash: an alert's id comes back
// from the queue, into which others may have written it.
func safeName(s string) string {
	if len(s) <= longestName && plainName.MatchString(s) {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return "sha256." + hex.EncodeToString(sum[:]) // the full stop keeps it apart from plain names
}

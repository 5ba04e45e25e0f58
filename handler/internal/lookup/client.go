// Package lookup asks one Azure REST service for facts that make an alert
// easier to judge, and never makes the alert wait for them.
//
// A [Client] bounds every call in time (by the context), size and retries. A
// failure is remembered for as long as the service asked, or for a minute:
// until then [Client.Do] answers with the remembered [Failure] at once, without
// a call. No error carries an address, a body, or a token.
package lookup

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	lru "github.com/hashicorp/golang-lru/v2"
)

// How long a failure is remembered. A refusal outlives the others because it
// takes a person to mend it.
const (
	rememberRefused = 10 * time.Minute
	rememberOther   = time.Minute
	rememberLongest = time.Hour // a Retry-After beyond this is cut
)

// patience is how long a call must have gone unanswered at the end of the budget
// before the service is held to be slow.
const patience = 500 * time.Millisecond

// maxAreas bounds the memory of failures; the least recently used is forgotten,
// which costs one more call.
const maxAreas = 1024

// Options of a Client. The zero value of every field but Service is usable.
type Options struct {
	Service   string             // name for people: "Microsoft Graph"
	Scope     string             // token scope; default is the endpoint's own "/.default"
	MaxBody   int64              // largest answer in bytes; default 4 MiB
	Transport policy.Transporter // default follows no redirect; the context bounds each call
	Now       func() time.Time   // default time.Now
	Log       *slog.Logger       // told once when a failure starts to be remembered; default none

	// ThrottledByArea keeps a 429 to the area that got it. Without it the
	// whole service is left alone, as one bucket is shared.
	ThrottledByArea bool
}

// A Client calls one service. It is safe for concurrent use.
type Client struct {
	opts     Options
	base     *url.URL
	pipeline runtime.Pipeline
	failures *lru.Cache[string, *Failure] // by area; "" is the whole service
}

// New makes a client for the service at endpoint. A plain http endpoint must be
// on a loopback address, and is called without a token; any other endpoint
// needs https and a credential.
func New(endpoint string, cred azcore.TokenCredential, opts Options) (*Client, error) {
	base, err := checkEndpoint(endpoint)
	if err != nil {
		return nil, fmt.Errorf("use endpoint of %s: %w", opts.Service, err)
	}
	if base.Scheme == "https" && cred == nil {
		return nil, fmt.Errorf("use endpoint of %s: https without a credential", opts.Service)
	}
	opts.Scope = cmp.Or(opts.Scope, "https://"+base.Host+"/.default")
	opts.MaxBody = cmp.Or(opts.MaxBody, 4<<20)
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	failures, err := lru.New[string, *Failure](maxAreas)
	if err != nil {
		return nil, fmt.Errorf("use endpoint of %s: %w", opts.Service, err)
	}

	var perRetry []policy.Policy
	if base.Scheme == "https" {
		perRetry = append(perRetry, runtime.NewBearerTokenPolicy(quietCredential{cred}, []string{opts.Scope}, nil))
	}
	transport := opts.Transport
	if transport == nil {
		transport = noRedirects
	}
	c := &Client{opts: opts, base: base, failures: failures}
	c.pipeline = runtime.NewPipeline("podwatch", "1", runtime.PipelineOptions{PerRetry: perRetry}, &policy.ClientOptions{
		Transport: boundedTransport{transport, opts.MaxBody},
		// One more try for a dropped connection or a server error. A wait
		// longer than a second is not ours to spend: the policy gives up and
		// the failure is remembered instead.
		Retry: policy.RetryOptions{MaxRetries: 1, RetryDelay: 100 * time.Millisecond, MaxRetryDelay: time.Second},
	})
	return c, nil
}

// noRedirects hands a redirect over as the answer: none of the services uses them,
// and what was asked must not go to another place.
var noRedirects = &http.Client{
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func checkEndpoint(endpoint string) (*url.URL, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, errors.New("not a URL") // the parser's own error repeats the text
	}
	switch {
	case u.Host == "":
		return nil, errors.New("not a URL with a host")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("more than scheme, host and path")
	case u.Scheme == "https":
		return u, nil
	case u.Scheme != "http":
		return nil, errors.New("neither https nor http")
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, errors.New("plain http outside a loopback address")
	}
	return u, nil
}

// A Request is one call. Either Path (below the endpoint, already escaped) or
// Link (a whole address that an earlier answer gave) is set.
type Request struct {
	Method string
	Path   string
	Query  url.Values
	Link   string
	Body   any    // JSON, nil for none
	Area   string // what fails together: one subscription, one kind of object
}

// Do calls the service and decodes the answer into out. Its error is always a
// *Failure; a nil error means that out was filled from a 2xx answer.
func (c *Client) Do(ctx context.Context, r Request, out any) error {
	if f := c.remembered(r.Area); f != nil {
		return f
	}
	started := c.opts.Now()
	f := c.call(ctx, r, out)
	if f == nil {
		return nil
	}
	f.Service = c.opts.Service
	if f.Kind == Slow && c.opts.Now().Sub(started) < patience {
		return f // earlier calls had spent the budget: says nothing of this one
	}
	c.remember(ctx, r.Area, f)
	return f
}

func (c *Client) call(ctx context.Context, r Request, out any) *Failure {
	target, f := c.target(r)
	if f != nil {
		return f
	}
	req, err := runtime.NewRequest(ctx, r.Method, target)
	if err != nil {
		return &Failure{Kind: Malformed}
	}
	req.Raw().Header.Set("Accept", "application/json")
	if r.Body != nil {
		if err := runtime.MarshalAsJSON(req, r.Body); err != nil {
			return &Failure{Kind: Malformed}
		}
	}
	resp, err := c.pipeline.Do(req)
	if err != nil {
		return failureOf(ctx, err)
	}
	body, err := runtime.Payload(resp) // already downloaded by the pipeline, and bounded
	if err != nil {
		return failureOf(ctx, err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return failureOfStatus(resp, body, c.opts.Now())
	}
	if err := json.Unmarshal(body, out); err != nil {
		return &Failure{Kind: Malformed, Status: resp.StatusCode}
	}
	return nil
}

// target is the address to call. A link is followed only to the endpoint's own
// host: the token must not leave it.
func (c *Client) target(r Request) (string, *Failure) {
	if r.Link != "" {
		u, err := url.Parse(r.Link)
		if err != nil || u.User != nil || u.Scheme != c.base.Scheme || !strings.EqualFold(u.Host, c.base.Host) {
			return "", &Failure{Kind: ForeignLink}
		}
		return u.String(), nil
	}
	target := strings.TrimRight(c.base.String(), "/") + "/" + strings.TrimLeft(r.Path, "/")
	if len(r.Query) > 0 {
		// Azure reads "+" in a filter as a plus sign.
		target += "?" + strings.ReplaceAll(r.Query.Encode(), "+", "%20")
	}
	return target, nil
}

func (c *Client) remembered(area string) *Failure {
	for _, a := range []string{"", area} {
		f, ok := c.failures.Get(a)
		if ok && c.opts.Now().Before(f.Until) {
			again := *f
			again.Remembered = true
			return &again
		}
	}
	return nil
}

func (c *Client) remember(ctx context.Context, area string, f *Failure) {
	var wait time.Duration
	switch f.Kind {
	case NotFound, Canceled, ForeignLink:
		return // an answer, the invocation's own end, or one bad link: says nothing of the next call
	case Refused:
		wait = rememberRefused
	case Malformed, TooLarge, Rejected, Redirected:
		wait = rememberOther
	case Throttled:
		wait = cmp.Or(f.retryAfter, rememberOther)
		if !c.opts.ThrottledByArea {
			area = ""
		}
	default: // slow, unreachable, no token, server error: the whole service
		wait, area = cmp.Or(f.retryAfter, rememberOther), ""
	}
	f.Until = c.opts.Now().Add(min(wait, rememberLongest))
	c.failures.Add(area, f)
	c.opts.Log.LogAttrs(ctx, slog.LevelWarn, "look-ups paused",
		slog.String("service", f.Service), slog.String("area", area), slog.String("reason", string(f.Kind)),
		slog.Int("status", f.Status), slog.String("code", f.Code), slog.Time("until", f.Until))
}

// errBudget marks the end of a look-up's own time, as opposed to the end of the
// invocation around it.
var errBudget = errors.New("look-up budget spent")

// WithBudget bounds the look-ups of one batch. Running out of it counts as a
// slow service and is remembered; the end of ctx itself is not.
func WithBudget(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, errBudget)
}

// boundedTransport cuts an answer at max bytes before the pipeline reads it
// into memory.
type boundedTransport struct {
	next policy.Transporter
	max  int64
}

func (t boundedTransport) Do(req *http.Request) (*http.Response, error) {
	resp, err := t.next.Do(req)
	if resp != nil && resp.Body != nil {
		resp.Body = http.MaxBytesReader(nil, resp.Body, t.max)
	}
	return resp, err
}

// quietCredential replaces a credential's error, whose text holds the token
// service's whole answer, by one that says only what kind it is.
type quietCredential struct{ next azcore.TokenCredential }

func (q quietCredential) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	token, err := q.next.GetToken(ctx, o)
	if err == nil {
		return token, nil
	}
	if ctx.Err() != nil {
		return azcore.AccessToken{}, ctx.Err()
	}
	return azcore.AccessToken{}, &tokenError{code: entraCode.FindString(err.Error())}
}

// entraCode is the one part of a token error that is short, public and tells an
// operator what to look up.
var entraCode = regexp.MustCompile(`\bAADSTS[0-9]{4,8}\b`)

type tokenError struct{ code string }

func (e *tokenError) Error() string { return strings.TrimSpace("get a token " + e.code) }

// retryAfter reads the wait that a response asks for: seconds or an HTTP date.
func retryAfter(resp *http.Response, now time.Time) time.Duration {
	for header, unit := range map[string]time.Duration{"retry-after-ms": time.Millisecond, "x-ms-retry-after-ms": time.Millisecond} {
		if n, err := strconv.Atoi(resp.Header.Get(header)); err == nil && n > 0 {
			return time.Duration(min(n, int(rememberLongest/unit))) * unit
		}
	}
	v := resp.Header.Get("Retry-After")
	if n, err := strconv.Atoi(v); err == nil && n > 0 {
		return time.Duration(min(n, int(rememberLongest/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil && at.After(now) {
		return at.Sub(now)
	}
	return 0
}

// Package outbound makes HTTP requests to Azure's services and to webhooks, and
// classifies the answers.
//
// [Client.Do] makes one attempt within its time limit: it follows no redirect,
// sends its token only to its own endpoint and only over TLS, and bounds what it
// reads. Its error is always an [*Error], which contains no address, no body and no
// secret: causes are described in fixed words, never copied from elsewhere.
//
// Trying again is left to the caller: sinks insist, look-ups ([Lookup]) fail open.
package outbound

import (
	"cmp"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

const (
	defaultAttempt = 10 * time.Second
	maxAnswer      = 4 << 20  // bytes of an answer
	maxRefusal     = 64 << 10 // bytes of the answer to a request that failed
)

// A Token returns a bearer token. The text of its error is shown to people: it
// must contain nothing that the token service sent but a checked code.
type Token func(ctx context.Context) (string, error)

// A Client makes requests to one service. Its fields must not change after the
// first request; then it is safe for concurrent use.
type Client struct {
	Service   string // name for people: "Microsoft Graph"
	Endpoint  Endpoint
	Token     Token             // nil: requests carry none; never used over plain http
	Attempt   time.Duration     // limit of one attempt, its answer included; 0: 10 s
	Transport http.RoundTripper // nil: TLS 1.2 or later, proxies from the environment
}

var transport = newTransport()

func newTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	t.MaxResponseHeaderBytes = 64 << 10
	return t
}

// Do makes one attempt and returns the answer's body. The answer of an [*Error]
// with a 2xx status was a success whose body did not arrive whole.
func (c *Client) Do(r *http.Request) ([]byte, error) {
	if !c.Endpoint.owns(r.URL) {
		return nil, &Error{Service: c.Service, Kind: Unreadable, Err: errElsewhere}
	}
	ctx, cancel := context.WithTimeout(r.Context(), cmp.Or(c.Attempt, defaultAttempt))
	defer cancel()
	var sent atomic.Bool
	r = r.Clone(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(i httptrace.WroteRequestInfo) { sent.Store(i.Err == nil) },
	}))
	r.Header.Set("User-Agent", "podwatch")
	if c.Token != nil && c.Endpoint.url.Scheme == "https" {
		token, err := c.Token(ctx)
		if err != nil {
			if ctx.Err() != nil {
				err = causeOf(ctx, err)
			}
			return nil, &Error{Service: c.Service, Kind: NoToken, Err: err}
		}
		r.Header.Set("Authorization", "Bearer "+token)
	}
	rt := c.Transport
	if rt == nil {
		rt = transport
	}
	resp, err := rt.RoundTrip(r) // no http.Client: it would follow redirects
	if err != nil {
		e := &Error{Service: c.Service, Kind: Unreachable, Err: causeOf(ctx, err)}
		if sent.Load() {
			e.Kind = Unanswered
		}
		return nil, e
	}
	defer resp.Body.Close()
	body, err := c.read(ctx, resp)
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, errorOf(c.Service, resp, body)
	}
	return body, err
}

// read reads an answer to its end, so that the connection can be used again.
func (c *Client) read(ctx context.Context, resp *http.Response) ([]byte, error) {
	limit := maxAnswer
	if resp.StatusCode > 299 {
		limit = maxRefusal
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, int64(limit)+1))
	switch {
	case err != nil:
		return body, &Error{Service: c.Service, Kind: Unanswered, Status: resp.StatusCode, Err: causeOf(ctx, err)}
	case len(body) > limit:
		return body[:limit], &Error{Service: c.Service, Kind: Unreadable, Status: resp.StatusCode, Err: errTooLarge}
	}
	return body, nil
}

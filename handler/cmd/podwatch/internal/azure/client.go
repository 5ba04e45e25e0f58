// Package azure asks Azure Resource Manager, and the SCM site of a function app,
// for the operator's tool.
//
// Requests go through azcore's pipeline, which repeats a request that was throttled
// or met an error of the service. A failed request is an [*Error]: the innermost
// cause that the service names, for which [Explain] has a sentence, a cure, and
// whether it passes by itself. [Client.Until] is the one loop that waits.
//
// Plain http is used on a loopback address only, and without a token.
package azure

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"

	"podwatch/handler/internal/outbound"
)

// A Client asks Azure Resource Manager. It is safe for concurrent use, but for
// [Client.Until].
type Client struct {
	arm      outbound.Endpoint
	pipeline runtime.Pipeline
	after    atomic.Int64 // how long the latest answer asked to wait

	Credential azcore.TokenCredential // of Options, for other services
	Say        func(text string)

	Now   func() time.Time                                 // tests replace both
	Sleep func(ctx context.Context, d time.Duration) error // returns the end of ctx
}

// Options are what a client is made of.
type Options struct {
	Endpoint   outbound.Endpoint      // of Azure Resource Manager
	Credential azcore.TokenCredential // not used on a loopback address with plain http
	Say        func(text string)      // progress, for people; never nil
	Retry      policy.RetryOptions    // of one request; the zero value is azcore's
}

// New returns a client. It does no I/O.
func New(o Options) *Client {
	c := &Client{arm: o.Endpoint, Credential: o.Credential, Say: o.Say, Now: time.Now, Sleep: sleep}
	var perRetry []policy.Policy
	if !plain(c.arm) {
		perRetry = append(perRetry, runtime.NewBearerTokenPolicy(o.Credential, []string{"https://" + c.arm.Host() + "/.default"}, nil))
	}
	c.pipeline = runtime.NewPipeline("podwatch", "", runtime.PipelineOptions{PerRetry: perRetry}, &policy.ClientOptions{
		Telemetry: policy.TelemetryOptions{ApplicationID: "podwatch"}, Retry: o.Retry,
	})
	return c
}

func plain(e outbound.Endpoint) bool { return strings.HasPrefix(e.String(), "http://") }

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// Get reads a resource, or what else is below path, into out.
func (c *Client) Get(ctx context.Context, path, version string, query url.Values, out any) error {
	return c.ask(ctx, http.MethodGet, c.url(path, version, query), nil, out)
}

// Post calls an action without a body. out may be nil.
func (c *Client) Post(ctx context.Context, path, version string, out any) error {
	return c.ask(ctx, http.MethodPost, c.url(path, version, nil), nil, out)
}

// Put writes a resource.
func (c *Client) Put(ctx context.Context, path, version string, body any) error {
	return c.ask(ctx, http.MethodPut, c.url(path, version, nil), body, nil)
}

// Delete deletes a resource and waits until it is gone. One that does not exist is no
// error: Azure does not distinguish them.
func (c *Client) Delete(ctx context.Context, path, version string) error {
	resp, err := c.do(ctx, http.MethodDelete, c.url(path, version, nil), nil)
	if err == nil && resp.StatusCode == http.StatusAccepted {
		var poller *runtime.Poller[json.RawMessage]
		if poller, err = runtime.NewPoller[json.RawMessage](resp, c.pipeline, nil); err == nil {
			_, err = poller.PollUntilDone(ctx, nil)
		}
	}
	if err = Wrap(err); NotFound(err) {
		return nil
	}
	return err
}

// List returns all elements of a list, of all its pages.
func List[T any](ctx context.Context, c *Client, path, version string, query url.Values) ([]T, error) {
	var all []T
	for next := c.url(path, version, query); next != ""; {
		var page struct {
			Value []T    `json:"value"`
			Next  string `json:"nextLink"`
		}
		if err := c.ask(ctx, http.MethodGet, next, nil, &page); err != nil {
			return nil, err
		}
		all, next = append(all, page.Value...), page.Next
		if next != "" && !strings.HasPrefix(next, c.arm.String()+"/") {
			return nil, &Error{What: "list " + path, Message: "the next page is at another host, which gets no token"}
		}
	}
	return all, nil
}

func (c *Client) url(path, version string, query url.Values) string {
	if query == nil {
		query = url.Values{}
	}
	query.Set("api-version", version)
	return c.arm.URL(path, query)
}

// ask makes a request with a JSON body and reads a JSON answer.
func (c *Client) ask(ctx context.Context, method, address string, body, out any) error {
	resp, err := c.do(ctx, method, address, func(r *policy.Request) error {
		if body == nil {
			return nil
		}
		return runtime.MarshalAsJSON(r, body)
	})
	if err != nil {
		return err
	}
	text, err := runtime.Payload(resp)
	if err != nil || out == nil || len(text) == 0 {
		return err
	}
	if err := json.Unmarshal(text, out); err != nil {
		return &Error{What: method + " " + resp.Request.URL.Path, Status: resp.StatusCode, Message: "the answer is not the expected JSON"}
	}
	return nil
}

// do makes a request; an answer outside 2xx is an *Error.
func (c *Client) do(ctx context.Context, method, address string, prepare func(*policy.Request) error) (*http.Response, error) {
	r, err := runtime.NewRequest(ctx, method, address)
	if err == nil && prepare != nil {
		err = prepare(r)
	}
	if err != nil {
		return nil, err
	}
	resp, err := c.pipeline.Do(r)
	if err != nil {
		return nil, &Error{What: method + " " + r.Raw().URL.Host, Message: unreached(err), Err: err}
	}
	c.after.Store(int64(outbound.RetryAfter(resp.Header, time.Now())))
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, Wrap(runtime.NewResponseError(resp))
	}
	return resp, nil
}

// A Site is the SCM site of a function app, through which packages are published.
type Site struct {
	c    *Client
	base string
}

// SCM returns the SCM site of the given host, which Azure Resource Manager named.
func (c *Client) SCM(host string) (*Site, error) {
	for _, scheme := range []string{"http://", "https://"} {
		e, err := outbound.ParseService(scheme + host)
		if err == nil && (e.Loopback() && plain(c.arm)) == plain(e) {
			return &Site{c, e.String()}, nil
		}
	}
	return nil, fmt.Errorf("the app's SCM host %q is not a host name", host)
}

// Post sends a file and returns the answer's body.
func (s *Site) Post(ctx context.Context, path, contentType string, file io.ReadSeeker) ([]byte, error) {
	// A published package must not be published again by a hidden retry.
	ctx = policy.WithRetryOptions(ctx, policy.RetryOptions{MaxRetries: -1})
	resp, err := s.c.do(ctx, http.MethodPost, s.base+path, func(r *policy.Request) error {
		return r.SetBody(streaming.NopCloser(file), contentType)
	})
	if err != nil {
		return nil, err
	}
	return runtime.Payload(resp)
}

// Get reads JSON into out.
func (s *Site) Get(ctx context.Context, path string, out any) error {
	return s.c.ask(ctx, http.MethodGet, s.base+path, nil, out)
}

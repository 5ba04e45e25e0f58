package azure_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"podwatch/handler/cmd/podwatch/internal/azure"
	"podwatch/handler/cmd/podwatch/internal/azure/azuretest"
	"podwatch/handler/internal/outbound"
)

// newClient returns a client of a double, whose clock runs only while it sleeps.
func newClient(t *testing.T) (*azure.Client, *azuretest.Azure, *[]string) {
	t.Helper()
	a, said, now := azuretest.Start(t), &[]string{}, time.Now()
	e, err := outbound.ParseService(a.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := azure.New(azure.Options{Endpoint: e, Say: func(text string) { *said = append(*said, text) }})
	c.Now = func() time.Time { return now }
	c.Sleep = func(ctx context.Context, d time.Duration) error { now = now.Add(d); return ctx.Err() }
	return c, a, said
}

// Azure puts the cause of a failed deployment into details of details, and there as
// JSON into the text of a message; the query service into inner errors.
func TestInnermostCause(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, code, message string }{
		"plain":    {`{"error":{"code":"AuthorizationFailed","message":"no"}}`, "AuthorizationFailed", "no"},
		"details":  {`{"status":"Failed","error":{"code":"DeploymentFailed","message":"At least one","details":[{"code":"ResourceDeploymentFailure","message":"x","details":[{"code":"Conflict","message":"{\"error\":{\"code\":\"VaultAlreadyExists\",\"message\":\"taken\"}}"}]}]}}`, "VaultAlreadyExists", "taken"},
		"query":    {`{"error":{"code":"BadArgumentError","message":"a","innererror":{"code":"SemanticError","message":"b","innererror":{"code":"SEM0100","message":"c"}}}}`, "SEM0100", "c"},
		"text":     {`Ip Forbidden`, "", ""},
		"a number": {`7`, "", ""},
	} {
		if code, message := azure.Innermost([]byte(c.text)); code != c.code || message != c.message {
			t.Errorf("%s: got %q, %q", name, code, message)
		}
	}
}

func TestErrorsNameRequestAndCause(t *testing.T) {
	t.Parallel()
	c, a, _ := newClient(t)
	a.Fail(-1, "GET", "/x$", 403, `{"error":{"code":"AuthorizationFailed","message":"does not have authorization to perform action 'a/b'"}}`)
	err := c.Get(t.Context(), "/subscriptions/"+azuretest.Subscription+"/resourceGroups/rg/providers/Microsoft.Web/x", "1", nil, nil)
	if err == nil || err.Error() != "GET Microsoft.Web/x: HTTP 403 AuthorizationFailed: does not have authorization to perform action 'a/b'" {
		t.Errorf("got %v", err)
	}
	if azure.Status(err) != 403 || azure.Explain(azure.Anywhere, err).What != "you are not allowed to do this" {
		t.Errorf("the cause is %+v", azure.Explain(azure.Anywhere, err))
	}
	a.Fail(-1, "GET", "/y$", 200, "<html>")
	if err := c.Get(t.Context(), "/subscriptions/"+azuretest.Subscription+"/y", "1", nil, &struct{}{}); err == nil || !strings.Contains(err.Error(), "not the expected JSON") {
		t.Errorf("a page of a proxy: %v", err)
	}
	a.Fail(-1, "GET", "/z$", 200, `{"value":[{}],"nextLink":"https://elsewhere.example/next"}`)
	if _, err := azure.List[struct{}](t.Context(), c, "/subscriptions/"+azuretest.Subscription+"/z", "1", nil); err == nil || !strings.Contains(err.Error(), "another host") {
		t.Errorf("a page elsewhere: %v", err)
	}
}

func TestAnSCMHostIsAHostName(t *testing.T) {
	t.Parallel()
	c, _, _ := newClient(t)
	for _, host := range []string{"", "a/b", "user@app.scm.azurewebsites.net", "app.scm.azurewebsites.net?x"} {
		if _, err := c.SCM(host); err == nil {
			t.Errorf("%q is taken", host)
		}
	}
	if _, err := c.SCM("app-hash.scm.westeurope-01.azurewebsites.net"); err != nil {
		t.Error(err)
	}
}

func TestUntil(t *testing.T) {
	t.Parallel()
	c, _, said := newClient(t)
	wait := azure.Wait{Where: azure.Publishing, Every: 10 * time.Second, Limit: time.Minute}
	busy, broken := &azure.Error{Status: 409}, errors.New("broken")
	for name, s := range map[string]struct {
		try   func(n int) (string, error)
		tries int
		want  string
	}{
		"done":                {func(int) (string, error) { return "", nil }, 1, ""},
		"done at last":        {func(n int) (string, error) { return []string{"a", "b", ""}[n], nil }, 3, ""},
		"never done":          {func(int) (string, error) { return "the kettle", nil }, 7, "gave up after 1m0s: the kettle"},
		"it passes":           {func(n int) (string, error) { return "", map[bool]error{true: busy}[n < 3] }, 4, ""},
		"it does not pass":    {func(int) (string, error) { return "", busy }, 13, "gave up after 2m0s: another package is being published"},
		"nothing to wait for": {func(int) (string, error) { return "", broken }, 1, "broken"},
	} {
		n := 0
		err := c.Until(t.Context(), wait, func(context.Context) (string, error) { n++; return s.try(n - 1) })
		if n != s.tries || (err == nil) != (s.want == "") || err != nil && !strings.Contains(err.Error(), s.want) {
			t.Errorf("%s: %d tries, want %d; %v, want %q", name, n, s.tries, err, s.want)
		}
	}
	if text := strings.Join(*said, "\n"); strings.Count(text, "the kettle") != 2 || !strings.Contains(text, "waiting: the kettle (for 30s, at most 1m0s)") {
		t.Errorf("progress:\n%s", text)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := c.Until(ctx, wait, func(context.Context) (string, error) { cancel(); return "x", nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled wait: %v", err)
	}
}

// The service decides how soon it is asked again.
func TestUntilObeysRetryAfter(t *testing.T) {
	t.Parallel()
	c, a, _ := newClient(t)
	a.RetryAfter = 40 * time.Second
	begin := c.Now()
	err := c.Until(t.Context(), azure.Wait{Every: time.Second, Limit: time.Minute}, func(ctx context.Context) (string, error) {
		return "x", c.Get(ctx, "/subscriptions/"+azuretest.Subscription, "1", nil, nil)
	})
	if took := c.Now().Sub(begin); err == nil || took != 80*time.Second {
		t.Errorf("it took %v, %v", took, err)
	}
}

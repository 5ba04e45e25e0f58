package storage

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"podwatch/handler/internal/azurite"
	"podwatch/handler/internal/config"
	"podwatch/handler/internal/state"
)

const accountKey = "cGxhbnRlZC1zZWNyZXQtYWNjb3VudC1rZXk="

// answers is a storage account that gives one answer to everything.
type answers struct {
	status int
	code   string
	asked  *[]string
}

func (a answers) Do(r *http.Request) (*http.Response, error) {
	if a.asked != nil {
		*a.asked = append(*a.asked, r.Method+" "+r.URL.Host+r.URL.Path)
	}
	body := "<Error><Code>" + a.code + "</Code><Message>" + r.URL.String() + "</Message></Error>"
	return &http.Response{StatusCode: a.status, Header: http.Header{"X-Ms-Error-Code": {a.code}}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

// failing is a network that fails.
type failing struct{ err error }

func (f failing) Do(*http.Request) (*http.Response, error) { return nil, f.err }

type token struct{}

func (token) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "t0ken"}, nil
}

// attempts makes each request once and returns the errors by what was attempted.
func attempts(t *testing.T, a *Account) map[string]error {
	d, q := a.Documents("box"), a.Queue("alerts")
	old := state.Document{Name: "teams/a1", Version: `"1"`}
	_, fetch := d.Fetch(t.Context(), old.Name)
	_, create := d.Create(t.Context(), old.Name, nil)
	_, replace := d.Replace(t.Context(), old, nil)
	var list, take error
	for _, list = range d.List(t.Context(), "teams/") {
	}
	for _, take = range q.Take(t.Context()) {
	}
	_, count := a.Count(t.Context(), "box")
	_, length := q.Len(t.Context())
	return map[string]error{
		`fetch document "teams/a1"`: fetch, `create document "teams/a1"`: create, `replace document "teams/a1"`: replace,
		`delete document "teams/a1"`: d.Delete(t.Context(), old), `list documents "teams/"`: list, `count blobs of container "box"`: count,
		`put message into queue "alerts"`: q.Put(t.Context(), nil), `take messages from queue "alerts"`: take,
		`remove message from queue "alerts"`: q.Remove(t.Context(), Message{ID: "1", receipt: "r"}), `count messages of queue "alerts"`: length,
	}
}

func TestErrorsNameTheAttemptAndNoSecret(t *testing.T) {
	t.Parallel()
	const signed = "BlobEndpoint=https://acct.blob.core.windows.net;QueueEndpoint=https://acct.queue.core.windows.net;SharedAccessSignature=sv=2024-01-01&sig=PLANTED%2Bsig"
	for name, c := range map[string]struct {
		connection string
		transport  policy.Transporter
		want       string
	}{
		"a missing role": {"AccountName=acct;AccountKey=" + accountKey, answers{403, "AuthorizationFailure", nil},
			"storage answered 403 AuthorizationFailure (data role missing, key outdated, or network rules)"},
		"another status":           {signed, answers{409, "AccountBeingCreated", nil}, "storage answered 409 AccountBeingCreated"},
		"a text instead of a code": {signed, answers{409, "see https://PLANTED", nil}, "storage answered 409"},
		"an unknown failure":       {signed, failing{errors.New("https://x/?sig=PLANTED")}, "storage is unreachable"},
		"a connection that ended":  {signed, failing{io.ErrUnexpectedEOF}, "storage ended the connection"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // the SDK waits between its tries
				a, err := open(&config.Storage{ConnectionString: config.Secret(c.connection)}, nil, c.transport)
				if err != nil {
					t.Fatal(err)
				}
				for attempt, err := range attempts(t, a) {
					if err == nil || err.Error() != attempt+": "+c.want {
						t.Errorf("got %v, want %s: %s", err, attempt, c.want)
					}
					if text := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(text, "PLANTED") || strings.Contains(text, accountKey) {
						t.Errorf("%s: the error contains a secret: %s", attempt, text)
					}
				}
			})
		})
	}
}

// noIdentity is a credential without an identity. The SDK does not retry its error.
type noIdentity struct{ error }

func (n noIdentity) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{}, n
}
func (noIdentity) NonRetriable() {}

func TestAMissingIdentityIsNamed(t *testing.T) {
	t.Parallel()
	a, err := Open(&config.Storage{AccountName: "acct"}, noIdentity{errors.New("PLANTED")})
	if err != nil {
		t.Fatal(err)
	}
	const want = ": no token for storage: the identity is missing or not usable here"
	for attempt, err := range attempts(t, a) {
		if err == nil || err.Error() != attempt+want {
			t.Errorf("got %v, want %s%s", err, attempt, want)
		}
	}
}

func TestUnreachableStorage(t *testing.T) {
	t.Parallel()
	a, err := Open(&config.Storage{ConnectionString: "BlobEndpoint=http://127.0.0.1:1/acct;QueueEndpoint=http://127.0.0.1:1/acct;SharedAccessSignature=sv=1&sig=PLANTED%2Bsig"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = a.Documents("box").Fetch(t.Context(), "a"); err == nil || err.Error() != `fetch document "a": storage refused the connection` {
		t.Errorf("got %v", err)
	}
}

func TestTheAccountIsFoundByEachSetting(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		settings     config.Storage
		blobs, queue string
	}{
		"connection string": {config.Storage{ConnectionString: "AccountName=acct;AccountKey=" + accountKey + ";EndpointSuffix=core.usgovcloudapi.net"},
			"acct.blob.core.usgovcloudapi.net", "acct.queue.core.usgovcloudapi.net"},
		"development storage": {config.Storage{ConnectionString: "UseDevelopmentStorage=true"}, "127.0.0.1:10000/devstoreaccount1", "127.0.0.1:10001/devstoreaccount1"},
		"with a semicolon":    {config.Storage{ConnectionString: " usedevelopmentstorage=true; "}, "127.0.0.1:10000/devstoreaccount1", "127.0.0.1:10001/devstoreaccount1"},
		"account name":        {config.Storage{AccountName: "acct1"}, "acct1.blob.core.windows.net", "acct1.queue.core.windows.net"},
		"service addresses": {config.Storage{AccountName: "acct1", BlobServiceURI: "https://acct.blob.core.chinacloudapi.cn", QueueServiceURI: "https://acct.queue.core.chinacloudapi.cn/"},
			"acct.blob.core.chinacloudapi.cn", "acct.queue.core.chinacloudapi.cn"},
		"all of them": {config.Storage{ConnectionString: "UseDevelopmentStorage=true", AccountName: "acct1"}, "127.0.0.1:10000/devstoreaccount1", "127.0.0.1:10001/devstoreaccount1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked []string
			a, err := open(&c.settings, token{}, answers{404, "BlobNotFound", &asked})
			if err != nil {
				t.Fatal(err)
			}
			if len(asked) != 0 {
				t.Errorf("opening the account asked for %q, want no I/O", asked)
			}
			if _, err := a.Documents("box").Fetch(t.Context(), "teams/a1"); !errors.Is(err, state.ErrAbsent) {
				t.Errorf("Fetch: %v, want ErrAbsent", err)
			}
			if n, err := a.Queue("alerts").Len(t.Context()); n != 0 || err != nil {
				t.Errorf("Len = %d, %v", n, err)
			}
			want := []string{"GET " + c.blobs + "/box/teams/a1", "GET " + c.queue + "/alerts"}
			if fmt.Sprint(asked) != fmt.Sprint(want) {
				t.Errorf("asked for %q, want %q", asked, want)
			}
		})
	}
}

func TestSettingsThatCannotWork(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		settings config.Storage
		want     string
	}{
		"nothing":                       {config.Storage{}, "neither the account nor its blob service is named"},
		"no pairs":                      {config.Storage{ConnectionString: "PLANTED"}, "connection string"},
		"no key":                        {config.Storage{ConnectionString: "AccountName=PLANTED"}, "connection string"},
		"an invalid key":                {config.Storage{ConnectionString: "AccountName=a;AccountKey=PLANTED!"}, "connection string"},
		"no credential":                 {config.Storage{AccountName: "acct"}, "no credential"},
		"plain http":                    {config.Storage{BlobServiceURI: "http://127.0.0.1:10000/x"}, "not https"},
		"a signature":                   {config.Storage{BlobServiceURI: "https://x.blob.core.windows.net/?sig=PLANTED"}, "a query"},
		"no URL":                        {config.Storage{BlobServiceURI: "PLANTED"}, "not a URL"},
		"blobs without queues":          {config.Storage{BlobServiceURI: "https://x.blob.core.windows.net"}, "queue service"},
		"a signature for the blob only": {config.Storage{AccountName: "acct", QueueServiceURI: "https://x.queue.core.windows.net/?sig=PLANTED"}, "a query"},
	} {
		_, err := Open(&c.settings, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "PLANTED") {
			t.Errorf("%s: the error contains the setting: %v", name, err)
		}
	}
}

func TestQueueAndCounts(t *testing.T) {
	t.Parallel()
	a, err := Open(&config.Storage{ConnectionString: config.Secret(azurite.Start(t))}, nil)
	if err != nil {
		t.Fatal(err)
	}
	q := a.Queue("alerts")
	wantCounts := func(messages, blobs int) {
		t.Helper()
		if n, err := q.Len(t.Context()); n != messages || err != nil {
			t.Errorf("%d messages, %v; want %d", n, err, messages)
		}
		if n, err := a.Count(t.Context(), "box"); n != blobs || err != nil {
			t.Errorf("%d blobs, %v; want %d", n, err, blobs)
		}
	}
	wantCounts(0, 0) // neither exists
	for range q.Take(t.Context()) {
		t.Error("a queue that does not exist has a message")
	}
	for i := range 40 {
		if err := q.Put(t.Context(), fmt.Append(nil, "alert ", i)); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"empty": "", "a": "x", "b": "x"} {
		if _, err := a.Documents("box").Create(t.Context(), name, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	wantCounts(40, 2)
	taken := map[string]bool{}
	for m, err := range q.Take(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		taken[string(m.Text)] = true
		if len(taken) <= 30 {
			for range 2 { // the answer to the first was lost
				if err := q.Remove(t.Context(), m); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if len(taken) != 40 || !taken["alert 39"] {
		t.Errorf("%d messages were taken, want 40", len(taken))
	}
	wantCounts(10, 2)
	for m := range q.Take(t.Context()) {
		t.Errorf("the taken message %q is visible", m.Text)
	}
}

func TestAMessageThatIsNotEncodedIsItsText(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"this is no alert", base64.StdEncoding.EncodeToString([]byte("this is no alert"))} {
		if got := string(decode(text)); got != "this is no alert" {
			t.Errorf("decode(%q) = %q", text, got)
		}
	}
}

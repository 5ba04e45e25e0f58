package sink_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"podwatch/handler/internal/azurite"
	"podwatch/handler/internal/sink"
)

// A ledger is what package pipeline consumes.
type ledger interface {
	Delivered(ctx context.Context, sink, alertID string) (bool, error)
	Mark(ctx context.Context, sink, alertID string) error
}

func TestMemoryLedger(t *testing.T) { testLedger(t, sink.NewMemoryLedger(), "teams") }

func TestBlobLedger(t *testing.T) {
	connection := azurite.Start(t)
	open := func() *sink.BlobLedger {
		l, err := sink.NewBlobLedger(sink.Storage{ConnectionString: connection})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := open()
	t.Run("suite", func(t *testing.T) { testLedger(t, l, "teams") })
	t.Run("both", func(t *testing.T) { testLedger(t, sink.Both(sink.NewMemoryLedger(), l), "teams-both") })
	t.Run("another instance knows", func(t *testing.T) {
		mustMark(t, l, "teams", "shared")
		mustBe(t, open(), "teams", "shared", true)
	})
}

// testLedger is the contract of a ledger, as the pipeline relies on it. name is a
// sink that has nothing in it yet.
func testLedger(t *testing.T, l ledger, name string) {
	t.Run("nothing is delivered at first", func(t *testing.T) { mustBe(t, l, name, "never", false) })
	t.Run("what is marked is delivered, there only", func(t *testing.T) {
		mustMark(t, l, name, "one")
		mustBe(t, l, name, "one", true)
		mustBe(t, l, name+"2", "one", false)
		mustBe(t, l, name, "on", false)
		mustBe(t, l, name, "oneone", false)
	})
	t.Run("marking twice does no harm", func(t *testing.T) {
		mustMark(t, l, name, "twice")
		mustMark(t, l, name, "twice")
		mustBe(t, l, name, "twice", true)
	})
	t.Run("any alert id will do", func(t *testing.T) {
		ids := []string{"", ".", "..", "../x", "a/b", "a//b", "a\\b", "A", "a", "x y", "ü", "\x00", strings.Repeat("y", 4000), "%2e", "q?x#y"}
		for _, id := range ids {
			mustBe(t, l, name, id, false)
			mustMark(t, l, name, id)
			mustBe(t, l, name, id, true)
		}
	})
	t.Run("many at once", func(t *testing.T) {
		var wait sync.WaitGroup
		for i := range 16 {
			wait.Go(func() {
				id := fmt.Sprintf("many-%d", i%4)
				if err := l.Mark(t.Context(), name, id); err != nil {
					t.Error(err)
				}
				if done, err := l.Delivered(t.Context(), name, id); err != nil || !done {
					t.Errorf("Delivered(%s) = %t, %v", id, done, err)
				}
			})
		}
		wait.Wait()
	})
}

func mustBe(t *testing.T, l ledger, name, id string, want bool) {
	t.Helper()
	if got, err := l.Delivered(t.Context(), name, id); err != nil || got != want {
		t.Errorf("Delivered(%q, %.20q) = %t, %v; want %t", name, id, got, err, want)
	}
}

func mustMark(t *testing.T, l ledger, name, id string) {
	t.Helper()
	if err := l.Mark(t.Context(), name, id); err != nil {
		t.Errorf("Mark(%q, %.20q): %v", name, id, err)
	}
}

func TestMemoryLedgerIsBounded(t *testing.T) {
	l := sink.NewMemoryLedger()
	for i := range 20_001 {
		mustMark(t, l, "teams", fmt.Sprint(i))
	}
	mustBe(t, l, "teams", "0", false)
	mustBe(t, l, "teams", "1", true)
}

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
	h := http.Header{"X-Ms-Error-Code": {a.code}}
	body := "<Error><Code>" + a.code + "</Code><Message>" + r.URL.String() + "</Message></Error>"
	return &http.Response{StatusCode: a.status, Header: h, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

// TestLedgerErrors: they say what was attempted and where, and no secret.
func TestLedgerErrors(t *testing.T) {
	for name, c := range map[string]struct {
		connection  string
		status      int
		code        string
		secret      string
		look, write string
	}{
		"no right": {"AccountName=acct;AccountKey=" + accountKey, 403, "AuthorizationFailure", accountKey,
			`look up delivery of alert "a1" to teams in container "podwatch-ledger": storage answered 403 AuthorizationFailure (blob data role missing, key outdated, or network rules)`,
			`mark delivery of alert "a1" to teams in container "podwatch-ledger": storage answered 403 AuthorizationFailure (blob data role missing, key outdated, or network rules)`},
		"a signature": {"BlobEndpoint=https://acct.blob.core.windows.net;SharedAccessSignature=sv=2024-01-01&sig=PLANTED%2Bsig", 409, "AccountBeingCreated", "PLANTED",
			`look up delivery of alert "a1" to teams in container "podwatch-ledger": storage answered 409 AccountBeingCreated`,
			`mark delivery of alert "a1" to teams in container "podwatch-ledger": storage answered 409 AccountBeingCreated`},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := sink.NewBlobLedger(sink.Storage{ConnectionString: c.connection, Transport: answers{c.status, c.code, nil}})
			if err != nil {
				t.Fatal(err)
			}
			_, look := l.Delivered(t.Context(), "teams", "a1")
			write := l.Mark(t.Context(), "teams", "a1")
			for got, want := range map[error]string{look: c.look, write: c.write} {
				if got == nil || got.Error() != want {
					t.Errorf("got %v, want %s", got, want)
				}
				if strings.Contains(fmt.Sprintf("%v %+v %#v", got, got, got), c.secret) {
					t.Errorf("the secret is told: %v", got)
				}
			}
		})
	}
}

// TestUnreachableStorageTellsNoSignature: net/http puts the URL, and with it a
// shared access signature, into the error of a connection that fails.
func TestUnreachableStorageTellsNoSignature(t *testing.T) {
	l, err := sink.NewBlobLedger(sink.Storage{ConnectionString: "BlobEndpoint=http://127.0.0.1:1/acct;SharedAccessSignature=sv=1&sig=PLANTED%2Bsig"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = l.Delivered(t.Context(), "teams", "a1")
	if err == nil || strings.Contains(err.Error(), "PLANTED") || !strings.Contains(err.Error(), "refused") {
		t.Errorf("got %v, want a refused connection without the signature", err)
	}
}

type token struct{}

func (token) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "t0ken"}, nil
}

func TestStorageIsFoundByEachSetting(t *testing.T) {
	for name, c := range map[string]struct {
		storage sink.Storage
		host    string
	}{
		"connection string":   {sink.Storage{ConnectionString: "AccountName=acct;AccountKey=" + accountKey + ";EndpointSuffix=core.usgovcloudapi.net"}, "acct.blob.core.usgovcloudapi.net"},
		"development storage": {sink.Storage{ConnectionString: "UseDevelopmentStorage=true"}, "127.0.0.1:10000"},
		"with a semicolon":    {sink.Storage{ConnectionString: " usedevelopmentstorage=true; "}, "127.0.0.1:10000"},
		"account name":        {sink.Storage{AccountName: "acct1", Credential: token{}}, "acct1.blob.core.windows.net"},
		"service URI":         {sink.Storage{AccountName: "acct1", BlobServiceURI: "https://acct.blob.core.chinacloudapi.cn", Credential: token{}}, "acct.blob.core.chinacloudapi.cn"},
		"all of them":         {sink.Storage{ConnectionString: "UseDevelopmentStorage=true", AccountName: "acct1", Credential: token{}}, "127.0.0.1:10000"},
	} {
		t.Run(name, func(t *testing.T) {
			var asked []string
			c.storage.Transport = answers{404, "BlobNotFound", &asked}
			l, err := sink.NewBlobLedger(c.storage)
			if err != nil {
				t.Fatal(err)
			}
			if len(asked) != 0 {
				t.Errorf("opening the ledger asked for %q, want no I/O", asked)
			}
			mustBe(t, l, "teams", "a1", false)
			if len(asked) == 0 || !strings.HasPrefix(asked[0], "HEAD "+c.host+"/") || !strings.HasSuffix(asked[0], "/podwatch-ledger/teams/a1") {
				t.Errorf("asked for %q, want the blob at %s", asked, c.host)
			}
		})
	}
}

func TestStorageSettingsThatCannotWork(t *testing.T) {
	for name, c := range map[string]struct {
		storage sink.Storage
		want    string
	}{
		"nothing":               {sink.Storage{}, "no storage account is named"},
		"not a string of pairs": {sink.Storage{ConnectionString: "PLANTED"}, "connection string"},
		"no key":                {sink.Storage{ConnectionString: "AccountName=PLANTED"}, "connection string"},
		"a key that is none":    {sink.Storage{ConnectionString: "AccountName=a;AccountKey=PLANTED!"}, "connection string"},
		"an account's URL":      {sink.Storage{AccountName: "https://x", Credential: token{}}, "not the name of a storage account"},
		"no credential":         {sink.Storage{AccountName: "acct"}, "no credential"},
		"plain http":            {sink.Storage{BlobServiceURI: "http://example.com", Credential: token{}}, "plain http"},
		"plain http, loopback":  {sink.Storage{BlobServiceURI: "http://127.0.0.1:10000/x", Credential: token{}}, "https only"},
		"a signature":           {sink.Storage{BlobServiceURI: "https://x.blob.core.windows.net/?sig=PLANTED", Credential: token{}}, "query"},
	} {
		_, err := sink.NewBlobLedger(c.storage)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "PLANTED") {
			t.Errorf("%s: the setting is told: %v", name, err)
		}
	}
}

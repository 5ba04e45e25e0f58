package app

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

type credential struct {
	scopes []string
	err    error
}

func (c *credential) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	c.scopes = append(c.scopes, o.Scopes...)
	return azcore.AccessToken{Token: "t0ken", ExpiresOn: time.Now().Add(time.Hour)}, c.err
}

func TestTokens(t *testing.T) {
	c := &credential{}
	token, err := tokens(c, "https://monitor.azure.com/.default")(t.Context())
	if err != nil || token != "t0ken" || len(c.scopes) != 1 || c.scopes[0] != "https://monitor.azure.com/.default" {
		t.Errorf("token %q for %q (%v)", token, c.scopes, err)
	}
}

// TestTokenErrors: a credential's error contains the token service's whole answer,
// of which a code at most is repeated.
func TestTokenErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"Entra":            {errors.New("POST https://login.example/?x=s3cr3t\nAADSTS7000215: s3cr3t"), "AADSTS7000215"},
		"managed identity": {&azidentity.AuthenticationFailedError{RawResponse: &http.Response{StatusCode: 400}}, "the token service answered HTTP 400"},
		"none":             {errors.New("s3cr3t"), "no credential could be used; is the app's managed identity assigned, and AZURE_CLIENT_ID its client id?"},
	} {
		if _, err := tokens(&credential{err: tt.err}, "x")(t.Context()); err == nil || err.Error() != tt.want {
			t.Errorf("%s: error %v, want %s", name, err, tt.want)
		}
	}
}

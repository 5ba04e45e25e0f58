package app

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"podwatch/handler/internal/config"
	"podwatch/handler/internal/outbound"
)

// credential returns the one credential that all clients share, since each
// instance keeps tokens of its own. Making it does no I/O.
func (b *builder) credential() (azcore.TokenCredential, error) {
	if b.cred != nil {
		return b.cred, nil
	}
	cred, err := newCredential(b.cfg)
	if err != nil {
		return nil, fmt.Errorf("make the credential: %w", err)
	}
	b.cred = cred
	return cred, nil
}

// newCredential uses the managed identity alone where the platform offers one. The
// default chain, for a laptop, would first try whatever else the environment holds,
// such as a secret left in the settings.
func newCredential(cfg *config.Config) (azcore.TokenCredential, error) {
	options := policy.ClientOptions{Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: cfg.Cloud.Authority}}
	if !cfg.ManagedIdentity {
		return azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: options})
	}
	managed := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: options}
	if cfg.ClientID != "" {
		managed.ID = azidentity.ClientID(cfg.ClientID)
	}
	return azidentity.NewManagedIdentityCredential(managed)
}

// tokens returns the tokens of a credential for a scope. The credential keeps
// them until they expire.
func tokens(cred azcore.TokenCredential, scope string) outbound.Token {
	return func(ctx context.Context) (string, error) {
		token, err := cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{scope}})
		if err != nil {
			return "", tokenError(err)
		}
		return token.Token, nil
	}
}

// entraCode is the one part of a token service's answer that is short, public and
// can be looked up.
var entraCode = regexp.MustCompile(`\bAADSTS[0-9]{4,8}\b`)

// tokenError replaces a credential's error, whose text contains the token
// service's whole answer.
func tokenError(err error) error {
	var failed *azidentity.AuthenticationFailedError
	code := entraCode.FindString(err.Error())
	switch {
	case code != "":
		return errors.New(code)
	case errors.As(err, &failed) && failed.RawResponse != nil:
		return fmt.Errorf("the token service answered HTTP %d", failed.RawResponse.StatusCode)
	}
	return errors.New("no credential could be used; is the app's managed identity assigned, and AZURE_CLIENT_ID its client id?")
}

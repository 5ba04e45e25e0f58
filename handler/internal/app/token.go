package app

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"podwatch/handler/internal/outbound"
)

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

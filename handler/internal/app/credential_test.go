package app

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"podwatch/handler/internal/config"
)

// In Azure the platform's identity signs in, even where the environment has the
// variables of a developer's.
func TestInAzureTheManagedIdentitySignsIn(t *testing.T) {
	const clientID = "5d0c7c1e-2b7a-4f0d-9a61-3c4b8e1f0a11"
	for name, id := range map[string]string{"user-assigned": clientID, "system-assigned": ""} {
		t.Run(name, func(t *testing.T) {
			var asked []string
			platform := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked = append(asked, r.URL.Query().Get("client_id"))
				w.Header().Set("Content-Type", "application/json")
				fmt.Fprintf(w, `{"access_token":"platform","expires_on":"%d","resource":"x","token_type":"Bearer"}`, time.Now().Add(time.Minute).Unix()) // too short to be kept for the next run
			}))
			defer platform.Close()
			settings := map[string]string{
				"FUNCTIONS_CUSTOMHANDLER_PORT": "0", "IDENTITY_ENDPOINT": platform.URL, "IDENTITY_HEADER": "header", "AZURE_CLIENT_ID": id,
				"AZURE_CLIENT_SECRET": "a developer's", "AZURE_TENANT_ID": "0c1d2e3f-2b7a-4f0d-9a61-3c4b8e1f0a11",
				"HTTPS_PROXY": "http://127.0.0.1:1", // nothing leaves this machine
			}
			for name, value := range settings {
				t.Setenv(name, value)
			}
			cfg, err := config.Load(func(name string) string { return settings[name] }, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			cred, err := (&builder{cfg: cfg}).credential()
			if err != nil {
				t.Fatal(err)
			}
			token, err := cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://vault.example/.default"}})
			if err != nil || token.Token != "platform" || len(asked) != 1 || asked[0] != id {
				t.Errorf("%T: token %q, error %v, platform asked for identities %q; want one question for %q", cred, token.Token, err, asked, id)
			}
		})
	}
}

package main

import (
	"cmp"
	"fmt"
	"os"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/spf13/cobra"

	"podwatch/handler/cmd/podwatch/internal/azure"
	"podwatch/handler/cmd/podwatch/internal/deployment"
	"podwatch/handler/internal/config"
	"podwatch/handler/internal/outbound"
)

// signIn is the paragraph of the help about who asks Azure.
const signIn = `azidentity signs in: as "az login" did, or as a service principal, a workload or a
managed identity, whatever it finds. AZURE_AUTHORITY_HOST and ARM_ENDPOINT select
another cloud.`

// addTargetFlags adds the flags that name a deployment.
func addTargetFlags(cmd *cobra.Command, t *deployment.Target) {
	f := cmd.Flags()
	f.StringVar(&t.Subscription, "subscription", "", "id of the subscription (default: AZURE_SUBSCRIPTION_ID)")
	f.StringVar(&t.Group, "resource-group", "", "resource group, where the subscription has several podwatches")
	f.StringVar(&t.Location, "location", "", "region, where the subscription has several podwatches")
}

// azureClient returns the client of the cloud that the environment names, for a checked
// target. Progress goes to standard error. An empty --subscription, such as a variable
// that was not set, is a mistake and not a default.
func azureClient(cmd *cobra.Command, t *deployment.Target) (*azure.Client, error) {
	if !cmd.Flags().Changed("subscription") {
		t.Subscription = os.Getenv("AZURE_SUBSCRIPTION_ID")
	}
	if err := t.Check(); err != nil {
		return nil, usageError(err)
	}
	authority := os.Getenv("AZURE_AUTHORITY_HOST")
	where, err := config.CloudOf(authority)
	if err != nil {
		return nil, usageError(err)
	}
	arm, err := outbound.ParseService(cmp.Or(strings.TrimSpace(os.Getenv("ARM_ENDPOINT")), where.ARM))
	if err != nil {
		return nil, usageError(fmt.Errorf("ARM_ENDPOINT: %w", err))
	}
	cred, err := azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{
		ClientOptions: policy.ClientOptions{Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: where.Authority}},
	})
	if err != nil {
		return nil, fmt.Errorf("make the credential: %w", err)
	}
	return azure.New(azure.Options{Endpoint: arm, Credential: cred, Say: func(text string) { fmt.Fprintln(cmd.ErrOrStderr(), visible(text)) }}), nil
}

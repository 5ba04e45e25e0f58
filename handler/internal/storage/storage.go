// Package storage is Azure's storage account of the Functions host: small
// documents with compare-and-swap for package state, and queues.
//
// Opening an account does no I/O, so an account that is unavailable keeps no
// process from starting. Containers and queues are created when they are first
// written to. An error names what was attempted and what the service answered,
// and never an address: it may carry a signature.
package storage

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"

	"podwatch/handler/internal/config"
)

// An Account is a storage account. It is safe for concurrent use.
type Account struct {
	blobs  *service.Client
	queues *azqueue.ServiceClient
}

// Open returns the account that the settings name: by a connection string, or else
// by a name or the addresses of its services, for which cred makes the tokens.
func Open(s *config.Storage, cred azcore.TokenCredential) (*Account, error) {
	return open(s, cred, nil)
}

// open returns an account whose requests are made by the given transport; nil is
// the one of the SDK.
func open(s *config.Storage, cred azcore.TokenCredential, transport policy.Transporter) (*Account, error) {
	options := azcore.ClientOptions{
		Telemetry: policy.TelemetryOptions{ApplicationID: "podwatch"},
		Transport: transport,
		// Alerts wait for these requests: few tries, and soon.
		Retry: policy.RetryOptions{MaxRetries: 2, RetryDelay: 200 * time.Millisecond, MaxRetryDelay: 2 * time.Second, TryTimeout: 5 * time.Second},
	}
	if s.ConnectionString != "" {
		return openConnection(config.ExpandConnection(string(s.ConnectionString)), options)
	}
	blobs, err := serviceURL(s.BlobServiceURI, s.AccountName, "blob")
	if err != nil {
		return nil, err
	}
	queues, err := serviceURL(s.QueueServiceURI, s.AccountName, "queue")
	if err != nil {
		return nil, err
	}
	if cred == nil {
		return nil, errors.New("open storage account: it is named without a connection string, and there is no credential")
	}
	a := new(Account)
	if a.blobs, err = service.NewClient(blobs, cred, &service.ClientOptions{ClientOptions: options}); err != nil {
		return nil, fmt.Errorf("open storage account: %w", reason(err))
	}
	if a.queues, err = azqueue.NewServiceClient(queues, cred, &azqueue.ClientOptions{ClientOptions: options}); err != nil {
		return nil, fmt.Errorf("open storage account: %w", reason(err))
	}
	return a, nil
}

// Container returns a container of blobs, for what is too large for a document.
func (a *Account) Container(name string) *container.Client { return a.blobs.NewContainerClient(name) }

// openConnection does not repeat the SDK's errors: they may contain a part of the
// connection string.
func openConnection(connection string, options azcore.ClientOptions) (*Account, error) {
	blobs, err := service.NewClientFromConnectionString(connection, &service.ClientOptions{ClientOptions: options})
	if err != nil {
		return nil, errConnection
	}
	queues, err := azqueue.NewServiceClientFromConnectionString(connection, &azqueue.ClientOptions{ClientOptions: options})
	if err != nil {
		return nil, errConnection
	}
	return &Account{blobs, queues}, nil
}

var errConnection = errors.New("open storage account: the connection string lacks an account name, a valid key, or a signature with the address of its service")

// serviceURL returns the address of one service of the account.
func serviceURL(uri, account, service string) (string, error) {
	switch {
	case uri == "" && account == "":
		return "", fmt.Errorf("open storage account: neither the account nor its %s service is named", service)
	case uri == "":
		return "https://" + account + "." + service + ".core.windows.net/", nil
	}
	u, err := url.Parse(uri)
	switch {
	case err != nil || u.Host == "":
		return "", fmt.Errorf("open storage account: the address of the %s service is not a URL", service)
	case u.Scheme != "https":
		return "", fmt.Errorf("open storage account: the address of the %s service is not https, and tokens are sent over https only; use a connection string for Azurite", service)
	case u.RawQuery != "" || u.User != nil:
		return "", fmt.Errorf("open storage account: the address of the %s service has a query or a user; use a connection string for a signature", service)
	}
	return strings.TrimRight(u.String(), "/") + "/", nil
}

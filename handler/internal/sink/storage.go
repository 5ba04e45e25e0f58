package sink

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"

	"podwatch/handler/internal/outbound"
)

// Storage names the storage account of the Functions host, in the forms that
// its AzureWebJobsStorage settings have. A connection string goes first.
type Storage struct {
	ConnectionString string // AzureWebJobsStorage; "UseDevelopmentStorage=true" is Azurite on its usual ports

	AccountName    string // AzureWebJobsStorage__accountName, in the public cloud
	BlobServiceURI string // AzureWebJobsStorage__blobServiceUri; instead of AccountName, needed in other clouds
	// QueueServiceURI is AzureWebJobsStorage__queueServiceUri, for [Storage.Queue].
	QueueServiceURI string
	Credential      azcore.TokenCredential // with AccountName or the URIs

	Transport policy.Transporter // nil: the SDK's own
}

// developmentStorage is what UseDevelopmentStorage=true stands for. The account
// and its key are the same on every machine and printed in the manual.
const developmentStorage = "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;" +
	"AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;" +
	"BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1"

var accountName = regexp.MustCompile(`^[a-z0-9]{3,24}$`)

// Container returns a client of one blob container. It does no I/O, so that a
// storage account which is down does not keep the process from starting. The
// error says what is wrong with the settings and repeats none of them but names.
func (s Storage) Container(name string) (*container.Client, error) {
	options := &service.ClientOptions{ClientOptions: azcore.ClientOptions{
		Telemetry: policy.TelemetryOptions{ApplicationID: "podwatch"},
		Transport: s.Transport,
		// An alert waits for this: few tries, and soon.
		Retry: policy.RetryOptions{MaxRetries: 2, RetryDelay: 200 * time.Millisecond, MaxRetryDelay: 2 * time.Second, TryTimeout: 5 * time.Second},
	}}
	account, err := s.service(options)
	if err != nil {
		return nil, err
	}
	return account.NewContainerClient(name), nil
}

func (s Storage) service(options *service.ClientOptions) (*service.Client, error) {
	if s.ConnectionString != "" {
		account, err := service.NewClientFromConnectionString(s.connectionString(), options)
		if err != nil {
			return nil, fmt.Errorf("the storage connection string cannot be used: %w", newRedactor(s.secrets()).err(err))
		}
		return account, nil
	}
	uri := s.BlobServiceURI
	switch {
	case uri == "" && s.AccountName == "":
		return nil, errors.New("no storage account is named")
	case uri == "" && !accountName.MatchString(s.AccountName):
		return nil, fmt.Errorf("%q is not the name of a storage account (3 to 24 small letters and digits)", s.AccountName)
	case uri == "":
		uri = "https://" + s.AccountName + ".blob.core.windows.net"
	}
	u, err := outbound.ParseEndpoint(uri)
	if err != nil {
		return nil, fmt.Errorf("the blob service URI cannot be used: %w", err)
	}
	if !strings.HasPrefix(u.String(), "https://") {
		return nil, errors.New("the blob service URI cannot be used: a token is sent over https only; use a connection string for Azurite")
	}
	if u.Query() != "" {
		return nil, errors.New("the blob service URI cannot be used: it has a query; a signature belongs into a connection string")
	}
	if s.Credential == nil {
		return nil, errors.New("storage is named without connection string, and there is no credential")
	}
	account, err := service.NewClient(u.URL("/", nil), s.Credential, options)
	if err != nil {
		return nil, fmt.Errorf("open storage account: %w", err)
	}
	return account, nil
}

// connectionString spells out what the SDK does not know.
func (s Storage) connectionString() string {
	text := strings.TrimSpace(s.ConnectionString)
	if !strings.EqualFold(strings.Trim(text, "; "), "UseDevelopmentStorage=true") {
		return text
	}
	return developmentStorage
}

// secrets are the parts of the connection string that open the account.
func (s Storage) secrets() []string {
	secrets := []string{s.ConnectionString}
	for part := range strings.SplitSeq(s.ConnectionString, ";") {
		key, value, _ := strings.Cut(part, "=")
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "accountkey":
			secrets = append(secrets, value)
		case "sharedaccesssignature":
			secrets = append(secrets, value)
			if query, err := url.ParseQuery(strings.TrimPrefix(value, "?")); err == nil {
				secrets = append(secrets, query.Get("sig"))
			}
		}
	}
	return secrets
}

package config

import (
	"fmt"
	"strings"
)

// The account of Azurite, Microsoft's storage emulator. Every SDK knows it, and
// its key is public.
const (
	EmulatorAccount = "devstoreaccount1"
	EmulatorKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// EmulatorPort is the usual port of Azurite's blob service. Its queue and table
// services have the next two.
const EmulatorPort = 10000

// EmulatorConnection returns the connection string of an Azurite with the given
// addresses of its blob, queue and table services.
func EmulatorConnection(blob, queue, table string) string {
	return fmt.Sprintf("DefaultEndpointsProtocol=http;AccountName=%[1]s;AccountKey=%[2]s;BlobEndpoint=%[3]s/%[1]s;QueueEndpoint=%[4]s/%[1]s;TableEndpoint=%[5]s/%[1]s;",
		EmulatorAccount, EmulatorKey, blob, queue, table)
}

// ExpandConnection returns the connection string that UseDevelopmentStorage=true
// stands for, which the Go SDK does not know, and any other as it is.
func ExpandConnection(connection string) string {
	for part := range strings.SplitSeq(connection, ";") {
		if strings.EqualFold(strings.TrimSpace(part), "UseDevelopmentStorage=true") {
			at := func(service int) string { return fmt.Sprintf("http://127.0.0.1:%d", EmulatorPort+service) }
			return EmulatorConnection(at(0), at(1), at(2))
		}
	}
	return strings.TrimSpace(connection)
}

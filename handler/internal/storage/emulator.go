package storage

import (
	"fmt"
	"strings"
)

// The account of Azurite, Microsoft's storage emulator. Every SDK knows it, and
// its key is public.
const (
	emulatorAccount = "devstoreaccount1"
	emulatorKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// EmulatorPort is the usual port of Azurite's blob service. Its queue and table
// services have the next two.
const EmulatorPort = 10000

// Emulator returns the connection string of an Azurite that listens on the ports
// given for blobs, queues and tables.
func Emulator(ports [3]int) string {
	return fmt.Sprintf("DefaultEndpointsProtocol=http;AccountName=%[1]s;AccountKey=%[2]s;"+
		"BlobEndpoint=http://127.0.0.1:%[3]d/%[1]s;QueueEndpoint=http://127.0.0.1:%[4]d/%[1]s;TableEndpoint=http://127.0.0.1:%[5]d/%[1]s;",
		emulatorAccount, emulatorKey, ports[0], ports[1], ports[2])
}

// Expand returns the connection string that UseDevelopmentStorage=true stands for,
// which the Go SDK does not know, and any other as it is.
func Expand(connection string) string {
	for part := range strings.SplitSeq(connection, ";") {
		if strings.EqualFold(strings.TrimSpace(part), "UseDevelopmentStorage=true") {
			return Emulator([3]int{EmulatorPort, EmulatorPort + 1, EmulatorPort + 2})
		}
	}
	return strings.TrimSpace(connection)
}

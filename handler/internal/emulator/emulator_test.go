package emulator_test

import (
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"

	"podwatch/handler/internal/emulator"
)

// A container made in the first instance is in the second one, although the shell has
// settings for an Azurite of its own.
func TestDataOutlivesAnInstanceAndTheShellHasNoSay(t *testing.T) {
	t.Setenv("AZURITE_ACCOUNTS", "somebody:c2VjcmV0")
	t.Setenv("AZURITE_DB", "mysql://nowhere")
	local, err := emulator.FindLocal(".")
	if err != nil {
		t.Fatal(err)
	}
	data := t.TempDir()
	for instance := range 2 {
		a, err := emulator.Start(t.Context(), emulator.Options{Dir: local, Data: data})
		if err != nil {
			t.Fatal(err)
		}
		client, err := azblob.NewClientFromConnectionString(a.ConnectionString, nil)
		if err == nil && instance == 0 {
			_, err = client.CreateContainer(t.Context(), "kept", nil)
		}
		if err == nil {
			_, err = client.UploadBuffer(t.Context(), "kept", "blob", nil, nil)
		}
		a.Close()
		if err != nil {
			t.Errorf("instance %d: %v", instance+1, err)
		}
	}
}

func TestStartSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	if _, err := emulator.Start(t.Context(), emulator.Options{Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "make deps") {
		t.Errorf("err = %v", err)
	}
}

package deployment

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Parameters are what the parameters file gives the template, as far as it matters
// before a deployment. Nil means that the file leaves it to the template.
type Parameters struct {
	Name              string
	ResourceGroupName string
	Location          string
	Plan              string
	Clusters          []Cluster
	ExportActivityLog *bool
	UseTeams          *bool
}

// ReadParameters compiles a .bicepparam file, for which it needs the Bicep CLI, alone or
// in the Azure CLI, or reads one in JSON. The Teams address is kept out of it.
func ReadParameters(ctx context.Context, file string) (*Parameters, error) {
	text, err := os.ReadFile(file)
	if err == nil && filepath.Ext(file) != ".json" {
		text, err = compile(ctx, file)
	}
	if err != nil {
		return nil, fmt.Errorf("read the parameters file %s: %w", file, err)
	}
	var f struct {
		Parameters map[string]struct{ Value json.RawMessage }
	}
	p := &Parameters{Name: "podwatch", Plan: "flex"} // the template's defaults
	err = json.Unmarshal(text, &f)
	for name, to := range map[string]any{
		"name": &p.Name, "resourceGroupName": &p.ResourceGroupName, "location": &p.Location, "plan": &p.Plan,
		"clusters": &p.Clusters, "exportActivityLog": &p.ExportActivityLog, "useTeams": &p.UseTeams,
	} {
		if given := f.Parameters[name].Value; given != nil && err == nil {
			err = json.Unmarshal(given, to)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read the parameters file %s: %w", file, err)
	}
	return p, nil
}

// compile returns the parameters in JSON. The Bicep CLI in the Azure CLI is the same
// with other flags.
func compile(ctx context.Context, file string) ([]byte, error) {
	command := []string{"az", "bicep", "build-params", "--file", file, "--stdout"}
	if _, err := exec.LookPath("bicep"); err == nil {
		command = []string{"bicep", "build-params", file, "--stdout"}
	}
	out, err := run(ctx, command...)
	if err != nil {
		return nil, err
	}
	var compiled struct{ ParametersJSON string }
	if err := json.Unmarshal(out, &compiled); err != nil || compiled.ParametersJSON == "" {
		return nil, errors.New("the Bicep CLI printed something else than parameters")
	}
	return []byte(compiled.ParametersJSON), nil
}

// run runs a program without a terminal and without the Teams address.
func run(ctx context.Context, command ...string) ([]byte, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stderr = &stderr
	cmd.Env = slices.DeleteFunc(os.Environ(), func(entry string) bool { return strings.HasPrefix(entry, webhookSetting+"=") })
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(command[:min(2, len(command))], " "), err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}

var versionNumber = regexp.MustCompile(`\d+(?:\.\d+)+`)

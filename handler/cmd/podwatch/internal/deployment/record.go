package deployment

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"podwatch/handler/cmd/podwatch/internal/azure"
)

// A record is Azure's record of a deployment. Azure deletes old ones, and a failed run
// replaces a good one: it is how the latest run ended, and nothing else.
type record struct {
	Name       string
	Location   string
	Properties struct {
		ProvisioningState string
		Timestamp         time.Time
		Error             json.RawMessage
		Parameters        struct {
			Clusters struct{ Value []Cluster }
		}
	}
}

// RecordName returns the name of the deployment of a podwatch with that name, the
// beginning of all its resources' names, in a region. A deployment of one name can be
// in one region only.
func RecordName(name, location string) string { return name + "-" + region(location) }

// readRecord returns nil where there is none.
func readRecord(ctx context.Context, c *azure.Client, t Target, name string) (*record, error) {
	var r record
	err := c.Get(ctx, t.scope()+"/providers/Microsoft.Resources/deployments/"+url.PathEscape(RecordName(name, t.Location)), apiResources, nil, &r)
	if azure.NotFound(err) {
		return nil, nil
	}
	return &r, err
}

// finding is the line about a deployment that failed or is running, otherwise f.
func (r *record) finding(f Finding) Finding {
	switch r.Properties.ProvisioningState {
	case "Failed", "Canceled":
		wrapped, _ := json.Marshal(map[string]json.RawMessage{"error": r.Properties.Error})
		code, message := azure.Innermost(wrapped)
		cause := azure.ExplainText(azure.Deploying, code+" "+message)
		says := fmt.Sprintf("the latest deployment (%s, %s) %s", r.Name, stamp(r.Properties.Timestamp), strings.ToLower(r.Properties.ProvisioningState))
		if code != "" {
			says += fmt.Sprintf(": %s (%s: %s)", cause.What, code, message)
		}
		return failed(cause.Cure, "%s", says)
	case "Running", "Accepted":
		return waiting(r.Properties.Timestamp, "the deployment %s, which is running", r.Name)
	}
	return f
}

// name is the beginning of the names of the deployment's resources.
func (d *Deployment) name() string {
	if d.named != "" {
		return d.named
	}
	if parts := strings.Split(d.AppName(), "-"); len(parts) == 3 && parts[0] == "func" {
		return parts[1]
	}
	name := strings.TrimSuffix(strings.TrimPrefix(d.Group, "rg-"), "-"+d.Location)
	if name == "" || name == d.Group {
		return "podwatch"
	}
	return name
}

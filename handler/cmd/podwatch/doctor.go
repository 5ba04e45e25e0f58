package main

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"podwatch/handler/cmd/podwatch/internal/azure"
	"podwatch/handler/cmd/podwatch/internal/deployment"
	"podwatch/handler/internal/version"
)

// Exit statuses of doctor.
const (
	statusFailed  = 3
	statusWaiting = 4
)

func newDoctorCommand() *cobra.Command {
	var (
		target    deployment.Target
		options   deployment.Options
		before    bool
		file      string
		archive   string
		arguments string
		asJSON    bool
	)
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Examine the podwatch in Azure, or whether one can be deployed",
		Long: `doctor prints one page about a deployed podwatch. Each line is ok, waiting (for
something that comes by itself) or failed, with what to do about it.

It changes nothing. With --send it asks for a refresh of Key Vault references that
are not resolved, and puts a synthetic deletion, of a cluster with a name of its own,
through the event hub. The row must carry the version that was published last, and
the ledger must say that Teams accepted the card. The hub has 15 minutes to take the
deletion, its row 30 minutes, the card 5.

With --before it examines what a deployment needs, before anything is changed.

Exit status: 0 everything is ok; 3 a line failed; 4 none failed, and at least one is
waiting; 1 the page could not be made.

` + signIn,
		Example: `  podwatch doctor --subscription ID
  podwatch doctor --subscription ID --send
  podwatch doctor --subscription ID --before --location westeurope --parameters infra/my.bicepparam --package dist.zip`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := azureClient(cmd, &target)
			if err != nil {
				return err
			}
			var page *deployment.Page
			if before {
				page, err = examineBefore(cmd, client, target, file, archive, arguments)
			} else {
				page, err = deployment.Examine(cmd.Context(), client, target, options)
			}
			if err != nil {
				return err
			}
			if asJSON {
				err = json.NewEncoder(cmd.OutOrStdout()).Encode(page)
			} else {
				page.Write(cmd.OutOrStdout(), time.Now(), visible)
			}
			if err != nil {
				return err
			}
			switch page.State() {
			case deployment.Failed:
				return &exitError{statusFailed, errors.New("podwatch needs attention: see the lines that failed")}
			case deployment.Waiting:
				return &exitError{statusWaiting, errors.New("not everything is known yet: run doctor again later")}
			}
			return nil
		},
	}
	addTargetFlags(cmd, &target)
	f := cmd.Flags()
	f.BoolVar(&options.Send, "send", false, "send a synthetic deletion and wait for its row and its card")
	f.StringSliceVar(&options.Clusters, "cluster", nil, "resource id of a cluster in another subscription that should export; may be repeated")
	f.StringVar(&options.Version, "expect", version.String(), "version that the row must carry where another tool has published")
	f.BoolVar(&before, "before", false, "examine whether a deployment to --location can succeed")
	f.StringVar(&file, "parameters", "", "with --before: parameters file of the deployment")
	f.StringVar(&archive, "package", "", "with --before: package that will be published")
	f.StringVar(&arguments, "arguments", "", "with --before: file to write arguments for az deployment sub create to, one a line")
	f.BoolVar(&asJSON, "json", false, "print the page as one JSON object")
	cmd.MarkFlagsMutuallyExclusive("before", "send")
	return cmd
}

func examineBefore(cmd *cobra.Command, client *azure.Client, target deployment.Target, file, archive, arguments string) (*deployment.Page, error) {
	if target.Location == "" || file == "" {
		return nil, usageError(errors.New("--before needs --location and --parameters"))
	}
	parameters, err := deployment.ReadParameters(cmd.Context(), file)
	if err != nil {
		return nil, err
	}
	if target.Group != "" {
		parameters.ResourceGroupName = target.Group
	}
	page, needed, err := deployment.Before(cmd.Context(), client, deployment.Plans{
		Target: target, Parameters: parameters, Package: archive, HasAddress: os.Getenv("TEAMS_WEBHOOK_URL") != "",
	})
	if err != nil || arguments == "" {
		return page, err
	}
	lines := []string{"--name", deployment.RecordName(parameters.Name, target.Location)}
	for _, o := range needed {
		lines = append(lines, "--parameters", o.Name+"="+o.Value)
	}
	return page, os.WriteFile(arguments, []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"podwatch/handler/cmd/podwatch/internal/deployment"
)

func newDestroyCommand() *cobra.Command {
	var target deployment.Target
	var options deployment.DestroyOptions
	cmd := &cobra.Command{
		Use:   "destroy",
		Short: "Remove podwatch from Azure",
		Long: `destroy removes a deployed podwatch: the diagnostic settings of the subscription and
of clusters that export to its event hub, the roles of its identity, its resource
group, and the record of the deployment. It finds them by tag and by asking Azure,
also after a deployment that failed.

Each step is on its own. What could not be removed is printed with its cause, the
status is then 1, and destroy can be run again. The key vault stays recoverable under
its name for 90 days, and the next deployment recovers it; within 14 days the same
holds for the workspace with its rows.

` + signIn,
		Example: `  podwatch destroy --subscription ID --dry-run
  podwatch destroy --subscription ID --location westeurope`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := azureClient(cmd, &target)
			if err != nil {
				return err
			}
			options.Report = func(text string) { fmt.Fprintln(cmd.OutOrStdout(), visible(text)) }
			return deployment.Destroy(cmd.Context(), client, target, options)
		},
	}
	addTargetFlags(cmd, &target)
	f := cmd.Flags()
	f.StringSliceVar(&options.Clusters, "cluster", nil, "resource id of a cluster in another subscription that exports; may be repeated")
	f.BoolVar(&options.Exporters, "exporters", false, "remove only the diagnostic settings, and the roles outside the resource group")
	f.BoolVar(&options.DryRun, "dry-run", false, "print what would be removed")
	return cmd
}

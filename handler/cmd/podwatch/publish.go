package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"podwatch/handler/cmd/podwatch/internal/azure"
	"podwatch/handler/cmd/podwatch/internal/deployment"
)

func newPublishCommand() *cobra.Command {
	var target deployment.Target
	var previous bool
	cmd := &cobra.Command{
		Use:   "publish [PACKAGE]",
		Short: "Publish a package to the function app in Azure",
		Long: `publish brings a package of make package to run in the function app of a deployed
podwatch, on the Flex Consumption or the Premium plan. It ends with status 0 only
when Detect, Heartbeat and Redeliver are loaded, the host runs without errors, and
the handler of this package has logged its version. What passes by itself, such as a
role that does not act yet, is tried again for as long as that usually takes.

Interrupted, it can be run again. Each package is kept in the app's storage account;
--previous publishes the one that was published before the present one.

` + signIn,
		Example: `  podwatch publish --subscription ID dist.zip
  podwatch publish --subscription ID --previous`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 || previous == (len(args) == 1) {
				return errors.New("name one package, or --previous")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := azureClient(cmd, &target)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			var p *deployment.Package
			if !previous {
				if p, err = deployment.OpenPackage(args[0]); err != nil {
					return err
				}
			}
			d, err := deployment.Find(ctx, client, target)
			if err != nil {
				return err
			}
			if previous {
				if p, err = d.Previous(ctx); err != nil {
					return err
				}
			}
			if err := d.Publish(ctx, p); err != nil {
				return withCure(err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s runs in %s\n", visible(p.Version), visible(d.AppName()))
			return nil
		},
	}
	addTargetFlags(cmd, &target)
	cmd.Flags().BoolVar(&previous, "previous", false, "publish the package that was published before the present one")
	return cmd
}

// withCure adds what to do about an error of Azure.
func withCure(err error) error {
	if failure, ok := errors.AsType[*azure.Failure](err); ok && failure.Cure != "" {
		return fmt.Errorf("%w\ndo: %s", err, failure.Cure)
	}
	return err
}

package main

import (
	"cmp"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"podwatch/handler/cmd/podwatch/internal/hub"
)

// toolGroup is the consumer group that the deployment makes for this tool: a
// reader must not share one with the app.
const toolGroup = "podwatch-tool"

// hubFlags are the flags of a command that reads a hub if it is asked to.
type hubFlags struct {
	connection hub.Connection
	group      string

	given func(flag string) bool
}

// unnamed is what --event-hub is without a name: the setting has it.
const unnamed = "EVENT_HUB_NAME"

func (o *hubFlags) flags(cmd *cobra.Command, hubUsage, groupUsage string) {
	addHubFlags(cmd, &o.connection)
	flag := cmd.Flags().Lookup("event-hub")
	flag.NoOptDefVal, flag.Usage = unnamed, hubUsage
	cmd.Flags().StringVar(&o.group, "consumer-group", toolGroup, groupUsage)
	o.given = cmd.Flags().Changed
}

// wanted reports whether a hub is to be read.
func (o *hubFlags) wanted() bool { return o.given != nil && o.given("event-hub") }

// needless is the error about a flag that makes sense with a hub only: those of all
// commands and others.
func (o *hubFlags) needless(others ...string) error {
	for _, name := range append([]string{"namespace", "connection-string", "consumer-group"}, others...) {
		if o.given(name) {
			return fmt.Errorf("--%s is about a hub: add --event-hub", name)
		}
	}
	return nil
}

// resolve completes the connection: by --event-hub=NAME, or --event-hub NAME, of which
// the flag parser takes the name for an argument, and by the settings.
func (o *hubFlags) resolve(args []string) error {
	switch named := o.connection.Hub != unnamed; {
	case named && len(args) > 0:
		return fmt.Errorf("two names for the hub: %q and %q", o.connection.Hub, args[0])
	case len(args) > 0:
		o.connection.Hub = args[0]
	case !named:
		o.connection.Hub = ""
	}
	o.connection = withSettings(o.connection, os.Getenv)
	return o.connection.Validate()
}

// addHubFlags adds the flags that name an event hub.
func addHubFlags(cmd *cobra.Command, c *hub.Connection) {
	flags := cmd.Flags()
	flags.StringVar(&c.Hub, "event-hub", "", "name of the event hub (default: EVENT_HUB_NAME)")
	flags.StringVar(&c.ConnectionString, "connection-string", "", "connection string of the namespace or hub (default: EventHub)")
	flags.StringVar(&c.Namespace, "namespace", "", "host name of the namespace, to sign in by identity (default: EventHub__fullyQualifiedNamespace)")
	cmd.MarkFlagsMutuallyExclusive("connection-string", "namespace")
}

// withSettings fills what the flags leave open from the app settings. A flag
// that names a namespace replaces the whole of the settings' connection.
func withSettings(c hub.Connection, getenv func(string) string) hub.Connection {
	settings := hub.ConnectionFrom(getenv)
	if c.ConnectionString == "" && c.Namespace == "" {
		c.ConnectionString, c.Namespace = settings.ConnectionString, settings.Namespace
	}
	c.Hub = cmp.Or(c.Hub, settings.Hub)
	return c
}

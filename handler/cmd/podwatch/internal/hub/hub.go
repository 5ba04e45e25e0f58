// Package hub puts message bodies into an Event Hub and takes them out again:
// a [Sender], a bounded [Read] of what a hub retains, and [Consume], which
// follows a hub with checkpoints. It is what podwatch's tool uses; in Azure the
// Functions host consumes the hub.
//
// Delivery is at least once. A position or checkpoint moves past a message only
// after the callback returned nil for it, so a failure or a killed process
// repeats messages and never skips one. No error, log line or String method
// carries a key of the connection string.
package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azeventhubs/v2"

	"podwatch/handler/internal/invocation"
)

const applicationID = "podwatch"

// A Connection is which hub to talk to, and as whom: by a connection string
// or by a namespace and an Entra identity. Exactly one of the two must be set.
type Connection struct {
	// ConnectionString is a secret. With UseDevelopmentEmulator=true it reaches
	// the local stand-in or Microsoft's emulator, without TLS.
	ConnectionString string

	// Namespace is the host name of the namespace, NAME.servicebus.windows.net.
	// azidentity's default chain signs in (environment, workload or managed
	// identity, az login ...).
	Namespace string

	// Hub is the event hub. It may be empty when the connection string has an
	// EntityPath, and must not contradict it.
	Hub string

	// Retry bounds the attempts of one operation; the zero value is the
	// client's default: three retries, 4 s doubling.
	Retry azeventhubs.RetryOptions
}

// String names the hub and hides the secret.
func (c Connection) String() string {
	if r, err := c.resolve(); err == nil {
		return r.namespace + "/" + r.hub
	}
	return "unset connection"
}

// GoString and LogValue keep %#v and log records as discreet as String.
func (c Connection) GoString() string     { return c.String() }
func (c Connection) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Validate reports what is missing or contradictory. It does no I/O.
func (c Connection) Validate() error {
	_, err := c.resolve()
	return err
}

// resolved is a connection whose parts have been checked. hub is always set;
// argument is what the client wants beside the connection string.
type resolved struct {
	namespace, hub, argument string
	plain                    bool // no TLS: an emulator
}

func (c Connection) resolve() (resolved, error) {
	switch {
	case c.ConnectionString == "" && c.Namespace == "":
		return resolved{}, errors.New("connect to event hub: neither a connection string nor a namespace is set")
	case c.ConnectionString != "" && c.Namespace != "":
		return resolved{}, errors.New("connect to event hub: both a connection string and a namespace are set; leave one out")
	case c.Namespace != "":
		return c.resolveNamespace()
	}

	props, err := azeventhubs.ParseConnectionString(c.ConnectionString)
	if err != nil {
		// The cause quotes parts of the string, and a string that does not
		// parse may hold its key anywhere.
		return resolved{}, errors.New("connect to event hub: the connection string cannot be read; it should look like " +
			"Endpoint=sb://NAMESPACE.servicebus.windows.net/;SharedAccessKeyName=NAME;SharedAccessKey=KEY")
	}
	r := resolved{namespace: props.FullyQualifiedNamespace, hub: c.Hub, argument: c.Hub, plain: props.Emulator}
	if props.EntityPath != nil {
		if c.Hub != "" && !strings.EqualFold(c.Hub, *props.EntityPath) {
			return resolved{}, fmt.Errorf("connect to event hub %q: the connection string is for %q", c.Hub, *props.EntityPath)
		}
		r.hub, r.argument = *props.EntityPath, ""
	}
	if r.hub == "" {
		return resolved{}, errors.New("connect to event hub: no hub is named, and the connection string has no EntityPath")
	}
	return r, nil
}

func (c Connection) resolveNamespace() (resolved, error) {
	if strings.ContainsAny(c.Namespace, "/:; =") || !strings.Contains(c.Namespace, ".") {
		// Not quoted: what was given may be a connection string.
		return resolved{}, errors.New("connect to event hub: the namespace must be a host name such as NAME.servicebus.windows.net")
	}
	if c.Hub == "" {
		return resolved{}, errors.New("connect to event hub: no hub is named")
	}
	return resolved{namespace: c.Namespace, hub: c.Hub, argument: c.Hub}, nil
}

// reachWithin is how long Reach waits for a hub on this machine.
const reachWithin = 1500 * time.Millisecond

// Local returns the address of a hub on this machine.
func (c Connection) Local() (address string, ok bool) {
	r, err := c.resolve()
	if err != nil {
		return "", false
	}
	host, port, err := net.SplitHostPort(r.namespace)
	if err != nil {
		host, port = r.namespace, "5671"
		if r.plain {
			port = "5672"
		}
	}
	ip := net.ParseIP(host)
	return net.JoinHostPort(host, port), host == "localhost" || ip != nil && ip.IsLoopback()
}

// Reach reports a hub that is absent, if it would be on this machine: the client tries
// for most of a minute without an error. It returns nil for any other hub.
func (c Connection) Reach(ctx context.Context) error {
	address, ok := c.Local()
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, reachWithin)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("connect to event hub %s: nothing answers at %s on this machine: start the hub there, "+
			"or name another one (docs/local.md): %w", c, address, err)
	}
	return conn.Close()
}

// ConnectionFrom reads the app settings of the Event Hub trigger, which the
// tool shares: EventHub, EventHub__fullyQualifiedNamespace and EVENT_HUB_NAME.
// The exact name EventHub wins over the identity form, as in the host.
func ConnectionFrom(getenv func(string) string) Connection {
	c := Connection{ConnectionString: getenv("EventHub"), Hub: getenv("EVENT_HUB_NAME")}
	if c.ConnectionString == "" {
		c.Namespace = getenv("EventHub__fullyQualifiedNamespace")
	}
	return c
}

func (c Connection) producer() (*azeventhubs.ProducerClient, resolved, error) {
	o := &azeventhubs.ProducerClientOptions{ApplicationID: applicationID, RetryOptions: c.Retry}
	return open(c, func(r resolved) (*azeventhubs.ProducerClient, error) {
		return azeventhubs.NewProducerClientFromConnectionString(c.ConnectionString, r.argument, o)
	}, func(r resolved, cred azcore.TokenCredential) (*azeventhubs.ProducerClient, error) {
		return azeventhubs.NewProducerClient(r.namespace, r.hub, cred, o)
	})
}

func (c Connection) consumer(group string) (*azeventhubs.ConsumerClient, resolved, error) {
	o := &azeventhubs.ConsumerClientOptions{ApplicationID: applicationID, RetryOptions: c.Retry}
	return open(c, func(r resolved) (*azeventhubs.ConsumerClient, error) {
		return azeventhubs.NewConsumerClientFromConnectionString(c.ConnectionString, r.argument, group, o)
	}, func(r resolved, cred azcore.TokenCredential) (*azeventhubs.ConsumerClient, error) {
		return azeventhubs.NewConsumerClient(r.namespace, r.hub, group, cred, o)
	})
}

// open makes a client in the way that c asks for. It does no I/O.
func open[T any](c Connection, byString func(resolved) (T, error), byIdentity func(resolved, azcore.TokenCredential) (T, error)) (client T, r resolved, err error) {
	if r, err = c.resolve(); err != nil {
		return client, r, err
	}
	if c.ConnectionString != "" {
		client, err = byString(r)
		return client, r, err
	}
	cred, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		return client, r, fmt.Errorf("connect to event hub: %w", err)
	}
	client, err = byIdentity(r, cred)
	return client, r, err
}

// A Message is one item of a hub, as its sender wrote it. Its number counts up by one
// within a partition, its time is the hub's.
type Message = invocation.Message

// A Partition is where a batch of messages comes from.
type Partition = invocation.Partition

func newMessage(ev *azeventhubs.ReceivedEventData) Message {
	m := Message{Body: body(ev), Sequence: ev.SequenceNumber, Offset: ev.Offset}
	if ev.EnqueuedTime != nil {
		m.Enqueued = ev.EnqueuedTime.UTC()
	}
	return m
}

// body joins what the client does not: a body in several data sections, or one
// sent as an AMQP value by another kind of client.
func body(ev *azeventhubs.ReceivedEventData) []byte {
	if ev.Body != nil || ev.RawAMQPMessage == nil {
		return ev.Body
	}
	raw := ev.RawAMQPMessage.Body
	switch v := raw.Value.(type) {
	case string:
		return []byte(v)
	case []byte:
		return v
	}
	return slices.Concat(raw.Data...)
}

func newMessages(events []*azeventhubs.ReceivedEventData) []Message {
	messages := make([]Message, len(events))
	for i, ev := range events {
		messages[i] = newMessage(ev)
	}
	return messages
}

// Unauthorized reports whether the hub refused the identity: a role is missing, or new.
func Unauthorized(err error) bool {
	var hubErr *azeventhubs.Error
	var status interface{ RPCCode() int } // a refused claim, which the client does not always classify
	return errors.As(err, &hubErr) && hubErr.Code == azeventhubs.ErrorCodeUnauthorizedAccess ||
		errors.As(err, &status) && status.RPCCode() == http.StatusUnauthorized
}

// explain adds what an operator can do about an error of the client.
func explain(err error) error {
	var hubErr *azeventhubs.Error
	switch {
	case errors.As(err, &hubErr) && hubErr.Code == azeventhubs.ErrorCodeOwnershipLost:
		return fmt.Errorf("another consumer owns this consumer group; use one of your own: %w", err)
	case Unauthorized(err):
		return fmt.Errorf("not allowed; sending needs the role Azure Event Hubs Data Sender, reading Azure Event Hubs Data Receiver: %w", err)
	}
	return err
}

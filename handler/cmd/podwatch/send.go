package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"podwatch/handler/cmd/podwatch/internal/hub"
)

// maxBody bounds what is read into memory as one message. It is far above what
// a hub accepts, so that the hub's own limit is the one that gets reported.
const maxBody = 64 << 20

func newSendCommand() *cobra.Command {
	var (
		connection hub.Connection
		options    hub.SendOptions
		lines      bool
	)
	cmd := &cobra.Command{
		Use:   "send FILE...",
		Short: "Put message bodies into an event hub",
		Long: `send puts message bodies into an event hub, so that what follows it (the Functions
app in Azure, or podwatch run --event-hub) handles them like exported logs.

Each FILE is one message body; with --lines each line of it is. A dash reads
standard input. The hub comes from the flags or else from the app settings in the
environment: EventHub (a connection string) or EventHub__fullyQualifiedNamespace,
and EVENT_HUB_NAME. With a namespace, azidentity signs in: as "az login" did, or
as the machine's identity; it needs the role Azure Event Hubs Data Sender.

Prefer the setting EventHub to --connection-string: other users of a machine can
see a command line.`,
		Example: `  podwatch send --namespace NAME.servicebus.windows.net --event-hub podwatch-logs deletion.json
  zcat export.jsonl.gz | podwatch send --lines --rate 200 -`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("name a file to send, or - for standard input")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, files []string) error {
			c := withSettings(connection, os.Getenv)
			if err := c.Validate(); err != nil {
				return usageError(err)
			}
			return send(cmd.Context(), c, options, files, lines, cmd.InOrStdin(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	addHubFlags(cmd, &connection)
	flags.BoolVar(&lines, "lines", false, "every line of a file is a message; empty lines are left out")
	flags.Float64Var(&options.Rate, "rate", 0, "messages a second (0: as fast as the hub takes them)")
	flags.StringVar(&options.Partition, "partition", "", "send to this partition")
	flags.StringVar(&options.Key, "key", "", "partition key: equal keys go to the same partition, in order")
	cmd.MarkFlagsMutuallyExclusive("partition", "key")
	return cmd
}

// send reads the files and puts their messages into the hub. A message that is
// too large is reported and left out; the error counts them in the end.
func send(ctx context.Context, c hub.Connection, o hub.SendOptions, files []string, lines bool, stdin io.Reader, stderr io.Writer) error {
	start := time.Now()
	status := newStatusLine(stderr)
	o.Progress = func(s hub.Sent) {
		status.show(func() string {
			return fmt.Sprintf("sent %d messages, %s, %.0f a second", s.Messages, byteCount(s.Bytes), float64(s.Messages)/time.Since(start).Seconds())
		})
	}
	sender, err := hub.NewSender(c, o)
	if err != nil {
		return usageError(err)
	}
	defer sender.Close(context.WithoutCancel(ctx))

	left := 0
	add := func(name string, body []byte) error {
		err := sender.Add(ctx, body)
		if _, ok := errors.AsType[*hub.TooLargeError](err); ok {
			status.clear()
			fmt.Fprintf(stderr, "podwatch: %s: %v; left out\n", name, err)
			left++
			return nil
		}
		return err
	}
	for _, file := range files {
		if err = addFile(file, lines, stdin, add); err != nil {
			break
		}
	}
	if err == nil {
		err = sender.Flush(ctx)
	}
	status.clear()
	s := sender.Sent()
	fmt.Fprintf(stderr, "sent %d messages, %s, in %d batches to %s in %s\n",
		s.Messages, byteCount(s.Bytes), s.Batches, c, time.Since(start).Round(time.Millisecond))
	if err == nil && left > 0 {
		err = fmt.Errorf("send: %d messages were too large for the hub", left)
	}
	return err
}

// addFile hands the messages of one file to add.
func addFile(file string, lines bool, stdin io.Reader, add func(name string, body []byte) error) error {
	in, name, err := openInput(file, stdin)
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	defer in.Close()
	if !lines {
		body, err := io.ReadAll(io.LimitReader(in, maxBody+1))
		if err != nil {
			return fmt.Errorf("send: %w", fileError(err))
		}
		if len(body) > maxBody {
			return fmt.Errorf("send %s: larger than %s; for one message a line add --lines", name, byteCount(maxBody))
		}
		return add(name, body)
	}
	scanner := bufio.NewScanner(in)
	scanner.Buffer(make([]byte, 0, 64<<10), maxBody)
	number := 1
	for ; scanner.Scan(); number++ {
		if len(scanner.Bytes()) == 0 {
			continue
		}
		if err := add(fmt.Sprintf("%s:%d", name, number), scanner.Bytes()); err != nil {
			return err
		}
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("send %s:%d: %w", name, number, err)
	}
	return nil
}

// A statusLine shows how long work is getting on: on a terminal one line that
// is written over every second, elsewhere a line every ten seconds. Work that
// ends sooner shows nothing. Not safe for concurrent use.
type statusLine struct {
	w        io.Writer
	terminal bool
	every    time.Duration
	last     time.Time
	shown    bool
}

func newStatusLine(w io.Writer) *statusLine {
	s := &statusLine{w: w, every: 10 * time.Second, last: time.Now()}
	if isTerminal(w) {
		s.terminal, s.every = true, time.Second
	}
	return s
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (s *statusLine) show(text func() string) {
	if time.Since(s.last) < s.every {
		return
	}
	s.last = time.Now()
	if s.terminal {
		fmt.Fprintf(s.w, "\r\033[K%s", text())
		s.shown = true
		return
	}
	fmt.Fprintln(s.w, text())
}

// clear takes the line away so that other text can follow.
func (s *statusLine) clear() {
	if s.shown {
		fmt.Fprint(s.w, "\r\033[K")
		s.shown = false
	}
}

// byteCount writes a size as people read it.
func byteCount(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", n)
}

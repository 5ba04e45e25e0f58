package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"podwatch/handler/internal/event"
	"podwatch/handler/internal/kql"
	"podwatch/handler/internal/rule"
)

func newMatchCommand() *cobra.Command {
	var query, typesFile string
	cmd := &cobra.Command{
		Use:   "match --query QUERY",
		Short: "Try a KQL query on documents from standard input",
		Long: `Match reads one JSON document a line from standard input and prints true or false
for each: whether the query matches it. Use it to try a rule's query or an
exception before it is deployed.

Queries are written in KQL as Kibana reads it. What trips people up:

  event.outcome:Success                     exact, case included
  event.outcome:(Success or success)        two values; "a:x or y" would search y
                                            in all fields
  azure.resource.name:prod-*                the star is a wildcard outside quotes,
                                            plain text inside
  user.name:"Jane Doe"                      quote what holds : ( ) < > " * { } \
  user.name:*                               the field has a value; not user.name:*
                                            if it has none
  not user.name:kubelet and risk_score > 47 not, and, or need blanks around them

A condition holds if any element of an array meets it. Nested objects and dotted
keys are the same: {"event":{"outcome":"x"}} and {"event.outcome":"x"}.

What a value means depends on the field's type. Without --types every field is a
keyword, so 5.0 is not 5 and 10 sorts before 9. With --types, a file such as

  {"source.ip": "ip", "risk_score": "long", "@timestamp": "date"}

gives the types (keyword, wildcard, text, ip, long, double, boolean, date,
flattened, object, nested); fields that it leaves out go by the JSON value. With
the name of a log, such as --types azure.signinlogs, types are those of podwatch's
own table, and fields that events of the log never have are pointed out.

Oddities of the query are pointed out on standard error. A query or types file
that is wrong makes the exit status 2. A line that is no JSON object ends the
run with status 1, after the lines before it are answered. Blank lines are
skipped.`,
		Example: `  podwatch match --query 'event.outcome:(Success or success)' < events.jsonl
  echo '{"source":{"ip":"10.1.2.3"}}' | podwatch match --query 'source.ip:10.0.0.0/8' --types types.json
  jq -c '.records[]' export.json | podwatch match --query 'not callerIpAddress:*' | sort | uniq -c`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unexpected %q: documents come from standard input, and the query needs quotes around it", args[0])
			}
			if !cmd.Flags().Changed("query") {
				return errors.New("give the query to try with --query")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := compileQuery(query, typesFile, cmd.ErrOrStderr())
			if err != nil {
				return usageError(err)
			}
			in := cmd.InOrStdin()
			if in == os.Stdin {
				// There is nothing to clean up, and a read from a terminal
				// cannot be cancelled: let Ctrl-C end the process.
				signal.Reset(os.Interrupt, syscall.SIGTERM)
			}
			return matchLines(q, in, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVarP(&query, "query", "q", "", "the KQL query; an empty one matches everything")
	cmd.Flags().StringVar(&typesFile, "types", "", "file with the types of fields (a JSON object, field to type), or the name of a log")
	return cmd
}

// compileQuery compiles the query by the types in a file, if one is named, and
// writes what is odd about it to w. What is merely unportable to Elastic's rule
// checker is left to the check command.
func compileQuery(query, typesFile string, w io.Writer) (*kql.Query, error) {
	o := kql.Options{Type: func(string) kql.Type { return kql.TypeKeyword }}
	var known kql.Options
	dataset := ""
	switch {
	case slices.Contains(event.Datasets(), typesFile):
		dataset = typesFile
		o.Type = rule.FieldType
		known = o
	case typesFile != "":
		types, err := readTypes(typesFile)
		if err != nil {
			return nil, err
		}
		o.Type = func(field string) kql.Type { return types[field] }
		known = o
	}
	n, err := kql.Parse(query)
	if err != nil {
		return nil, fmt.Errorf("parse query: %w", err)
	}
	for _, warning := range kql.Lint(query, known) {
		if !strings.HasPrefix(warning.Code, "portable-") {
			fmt.Fprintf(w, "podwatch: query: line %d, column %d: %s [%s]\n", warning.Line, warning.Column, warning.Msg, warning.Code)
		}
	}
	for _, c := range kql.Conditions(n) {
		if nearest, missing := event.Missing(dataset, "", c.Field); dataset != "" && c.Field != "" && missing {
			hint := ""
			if nearest != "" {
				hint = "; is " + nearest + " meant?"
			}
			line, column := rule.Position([]byte(query), c.Offset)
			fmt.Fprintf(w, "podwatch: query: line %d, column %d: no event of %s has %s%s [missing-field]\n", line, column, dataset, c.Field, hint)
		}
	}
	return kql.Compile(n, o), nil
}

// readTypes reads a JSON object, field to type.
func readTypes(file string) (map[string]kql.Type, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read types: %w", fileError(err))
	}
	var names map[string]string
	if err := json.Unmarshal(data, &names); err != nil {
		return nil, fmt.Errorf("read types %q: %w", file, err)
	}
	types := make(map[string]kql.Type, len(names))
	var mistakes []error
	for field, name := range names {
		typ, err := kql.ParseType(name)
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("read types %q: field %q: %w", file, field, err))
		}
		types[field] = typ
	}
	return types, errors.Join(mistakes...)
}

// matchLines answers the documents of in, one a line. Answers are written when
// no further input is at hand, so that a pipe gets each in time.
func matchLines(q *kql.Query, in io.Reader, out io.Writer) error {
	r := bufio.NewReaderSize(in, 64<<10)
	w := bufio.NewWriter(out)
	for line := 1; ; line++ {
		data, readErr := r.ReadBytes('\n')
		if data = bytes.TrimSpace(data); len(data) > 0 {
			doc, err := decodeDocument(data)
			if err != nil {
				return errors.Join(w.Flush(), fmt.Errorf("read document on line %d: %w", line, err))
			}
			fmt.Fprintln(w, q.Match(doc))
		}
		if readErr != nil || r.Buffered() == 0 {
			if err := w.Flush(); err != nil {
				return fmt.Errorf("write answers: %w", err)
			}
		}
		if readErr == io.EOF {
			return nil
		}
		if readErr != nil {
			return fmt.Errorf("read documents: %w", readErr)
		}
	}
}

// decodeDocument reads one JSON object, keeping numbers as they are written.
func decodeDocument(data []byte) (kql.Map, error) {
	if data[0] != '{' {
		return nil, errors.New("not a JSON object")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var doc kql.Map
	if err := d.Decode(&doc); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, errors.New("the JSON object is cut off; a document must stand on one line")
		}
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("more than one JSON object on the line")
	}
	return doc, nil
}

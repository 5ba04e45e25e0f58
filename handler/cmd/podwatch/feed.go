package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
)

// A feedOptions is what podwatch feed makes: records of deletions.
type feedOptions struct {
	who, pod, cluster, namespace, kind string
	times, pagePort                    int
}

// kinds are the deletions that feed can make: what a cluster with Arc leaves in the
// activity log, and the verbs of an AKS cluster's audit log.
var kinds = []string{"arc", "delete", "deletecollection", "eviction"}

func newFeedCommand() *cobra.Command {
	o := new(feedOptions)
	cmd := &cobra.Command{
		Use:   "feed [FILE...]",
		Short: "Feed a deletion, or files, to podwatch run",
		Long: `Feed gives the record of a pod deletion that has just happened to the podwatch run
on this machine, and prints what came of it: alerted and how many cards, held for
the summary of a storm, suppressed by an exception, routine, repeat, no match or
unreadable. With --times it feeds as many, each a deletion of its own: more than
20 groups of alerts in a minute are a storm. With files it feeds those, in any form
that podwatch replay reads; "-" is standard input.

--kind arc is the deletion that an Arc-enabled cluster leaves in the activity log;
delete, deletecollection and eviction are those of an AKS cluster in its kube-audit
log. --who is a sign-in name, the object id of a service principal, or a name that
Kubernetes knows, such as system:serviceaccount:ci:runner.

The exit status is 1 if something was unreadable or no run answers.`,
		Example: `  podwatch feed
  podwatch feed --kind eviction --who system:serviceaccount:ci:runner --namespace shop
  podwatch feed --times 30 --cluster aks-shop-01
  podwatch feed exports/yesterday.json`,
		Args: o.check,
		RunE: o.feed,
	}
	f := cmd.Flags()
	f.StringVar(&o.who, "who", "robin.vale@example.com", "who deletes")
	f.StringVar(&o.pod, "pod", "cart-0", "name of the pod")
	f.StringVar(&o.cluster, "cluster", "", "name of the cluster (default arc-plant-07, or aks-shop-01)")
	f.StringVar(&o.namespace, "namespace", "shop", "namespace of the pod")
	f.StringVar(&o.kind, "kind", kinds[0], "kind of the deletion: "+strings.Join(kinds, ", "))
	f.IntVar(&o.times, "times", 1, "number of deletions")
	f.IntVar(&o.pagePort, "page-port", defaultPagePort, "port of the run's page")
	_ = cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(kinds, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	return cmd
}

func (o *feedOptions) check(cmd *cobra.Command, args []string) error {
	switch {
	case !slices.Contains(kinds, o.kind):
		return fmt.Errorf("--kind %q is none of %s", o.kind, strings.Join(kinds, ", "))
	case o.times < 1 || o.times > 100_000:
		return fmt.Errorf("--times %d is not between 1 and 100000", o.times)
	case o.pagePort < 1 || o.pagePort > 65535:
		return fmt.Errorf("--page-port %d is no port", o.pagePort)
	}
	if len(args) > 0 {
		for _, name := range []string{"who", "pod", "cluster", "namespace", "kind", "times"} {
			if cmd.Flags().Changed(name) {
				return fmt.Errorf("--%s is about a deletion that feed makes: leave out the files", name)
			}
		}
	}
	return nil
}

// feed feeds the files, or the deletions one after another, and prints what came of
// them.
func (o *feedOptions) feed(cmd *cobra.Command, files []string) error {
	out, unread := cmd.OutOrStdout(), 0
	give := func(label string, body io.Reader) error {
		came, err := o.post(cmd.Context(), body)
		if err != nil {
			return err
		}
		unread += came.Verdicts[unreadable.String()]
		_, err = fmt.Fprintf(out, "%s%s\n", label, came)
		return err
	}
	for _, name := range files {
		in, label, err := openInput(name, cmd.InOrStdin())
		if err != nil {
			return fmt.Errorf("feed: %w", err)
		}
		defer in.Close()
		if err := give(label+": ", in); err != nil {
			return err
		}
	}
	for n := 0; len(files) == 0 && n < o.times; n++ {
		if err := give("", bytes.NewReader(o.record(time.Now().UTC(), n))); err != nil {
			return err
		}
	}
	if unread > 0 {
		return fmt.Errorf("%s could not be read", count(unread, "record", "records"))
	}
	return nil
}

// post gives a message to the run on this machine, never through a proxy.
func (o *feedOptions) post(ctx context.Context, body io.Reader) (came outcome, err error) {
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(o.pagePort))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+feedPath, body)
	if err != nil {
		return came, err
	}
	req.Header.Set("Content-Type", feedFormat)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return came, ctx.Err()
		}
		return came, fmt.Errorf("no podwatch run answers on %s (%w): start one, or name the port of its page with --page-port", address, errors.Unwrap(err))
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	switch {
	case err != nil:
		return came, fmt.Errorf("feed: %w", err)
	case resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusMethodNotAllowed:
		return came, fmt.Errorf("what answers on %s is no podwatch run, or an older one: name the port of its page with --page-port", address)
	case resp.StatusCode != http.StatusOK:
		return came, fmt.Errorf("podwatch run could not take it: %s", strings.TrimSpace(string(answer)))
	}
	if err := json.Unmarshal(answer, &came); err != nil {
		return came, fmt.Errorf("feed: the answer of %s is not that of podwatch run: %w", address, err)
	}
	return came, nil
}

// record is the n-th deletion, as a diagnostic setting exports it.
func (o *feedOptions) record(at time.Time, n int) []byte {
	const subscription = "9B1F4E62-7C35-4D8A-8F20-6AD1C2E9B703"
	pod := o.pod
	if n > 0 {
		pod = fmt.Sprintf("%s-%d", o.pod, n)
	}
	record := map[string]any{"time": at.Format(time.RFC3339Nano)}
	if o.kind == "arc" {
		cluster := cmp.Or(o.cluster, "arc-plant-07")
		record["resourceId"] = "/SUBSCRIPTIONS/" + subscription + "/RESOURCEGROUPS/RG-EDGE-PROD/PROVIDERS/MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/" +
			strings.ToUpper(cluster+"/namespaces/"+o.namespace+"/pods/"+pod)
		record["operationName"], record["category"], record["resultType"] = "MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/DELETE", "Delete", "Success"
		record["callerIpAddress"], record["correlationId"] = "203.0.113.80", uuid.NewString()
		record["identity"] = map[string]any{"claims": claimsOf(o.who)}
		record["properties"] = map[string]any{"entity": strings.ToLower("/subscriptions/"+subscription+"/resourceGroups/rg-edge-prod/providers/Microsoft.Kubernetes/connectedClusters/") +
			cluster + "/namespaces/" + o.namespace + "/pods/" + pod}
	} else {
		record["resourceId"] = "/SUBSCRIPTIONS/" + subscription + "/RESOURCEGROUPS/RG-AKS-PROD/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/" +
			strings.ToUpper(cmp.Or(o.cluster, "aks-shop-01"))
		record["operationName"], record["category"] = "Microsoft.ContainerService/managedClusters/diagnosticLogs/Read", "kube-audit"
		record["properties"] = map[string]any{"log": o.audit(at, pod), "stream": "stdout", "pod": "kube-apiserver-podwatch"}
	}
	text, err := json.Marshal(record)
	if err != nil {
		panic(err) // text and maps of text
	}
	return text
}

// claimsOf are the claims of a token by the caller's name.
func claimsOf(who string) map[string]string {
	const objectID = "http://schemas.microsoft.com/identity/claims/objectidentifier"
	if id, err := uuid.Parse(who); err == nil {
		return map[string]string{"idtyp": "app", "appid": id.String(), objectID: id.String()}
	}
	if strings.Contains(who, "@") {
		return map[string]string{"idtyp": "user", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn": who}
	}
	return map[string]string{"name": who}
}

// audit is the event of the API server, as text.
func (o *feedOptions) audit(at time.Time, pod string) string {
	uri := "/api/v1/namespaces/" + o.namespace + "/pods"
	verb := o.kind
	object := map[string]string{"resource": "pods", "namespace": o.namespace, "apiVersion": "v1"}
	if o.kind != "deletecollection" {
		uri += "/" + pod
		object["name"] = pod
	}
	code := 200
	if o.kind == "eviction" {
		uri, verb, code, object["subresource"] = uri+"/eviction", "create", 201, "eviction"
	}
	groups := []string{"system:authenticated"}
	if strings.HasPrefix(o.who, "system:serviceaccount:") {
		groups = append(groups, "system:serviceaccounts")
	}
	moment := at.Format("2006-01-02T15:04:05.000000Z")
	text, err := json.Marshal(map[string]any{
		"kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": uuid.NewString(), "stage": "ResponseComplete",
		"requestURI": uri, "verb": verb, "user": map[string]any{"username": o.who, "groups": groups}, "sourceIPs": []string{"203.0.113.80"},
		"userAgent": "kubectl/v1.31.2 (linux/amd64) kubernetes/6ba8b1f", "objectRef": object,
		"responseStatus": map[string]any{"metadata": map[string]any{}, "code": code}, "requestReceivedTimestamp": moment, "stageTimestamp": moment,
	})
	if err != nil {
		panic(err) // text, maps and lists of text
	}
	return string(text)
}

package faulttest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"podwatch/handler/internal/storage"
)

// Planted secrets. None is a word that could stand anywhere by chance.
const (
	plantedSignature = "pLaNtEdWebhookSignature-0123456789abcdef"
	plantedToken     = "pLaNtEdBearerToken-0123456789abcdef"
)

// TestNoSecretLeavesTheProcess provokes every kind of failure with secrets in the
// settings, and looks for them in all that the handler says and sends: console,
// answers, cards and rows, queue messages and blobs.
func TestNoSecretLeavesTheProcess(t *testing.T) {
	t.Parallel()
	// What stands for Graph, ARM and Log Analytics repeats what it was sent.
	var tokens atomic.Int32
	failing := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("Authorization"), plantedToken) {
			tokens.Add(1)
		}
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `{"error":{"code":"Forbidden","message":"no right for %s with %s"}}`, r.URL, r.Header.Get("Authorization"))
	}))
	defer failing.Close()
	trusted := filepath.Join(t.TempDir(), "trusted.pem")
	if err := os.WriteFile(trusted, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: failing.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}

	acts := []act{refuse, busy, gone, cut, lose, pass}
	w := start(t, func(n int, p point) act {
		switch p.kind {
		case "sink":
			return acts[n%len(acts)]
		case "storage", "output":
			if n%4 == 0 {
				return []act{refuse, cut}[n/4%2]
			}
		}
		return pass
	}, map[string]string{
		"LOG_LEVEL": "debug", "GRAPH_LOOKUPS": "on", "ACTIVITY_LOOKUPS": "on",
		"GRAPH_ENDPOINT": failing.URL, "ARM_ENDPOINT": failing.URL,
		"IDENTITY_ENDPOINT": identityEndpoint(t), "IDENTITY_HEADER": plantedToken, "SSL_CERT_FILE": trusted,
		"AZURE_CLIENT_SECRET": plantedToken, "AZURE_TENANT_ID": "5d0c7c1e-2b7a-4f0d-9a61-3c4b8e1f0a11",
	})
	hook, err := url.Parse(w.settings["TEAMS_WEBHOOK_URL"])
	if err != nil {
		t.Fatal(err)
	}
	query := hook.Query()
	query.Set("sig", plantedSignature)
	hook.RawQuery = query.Encode()
	w.settings["TEAMS_WEBHOOK_URL"] = hook.String()
	w.restart()

	for n := range 12 {
		d := kubeDeletion(t, podName(n), fmt.Sprintf("caller%d@example.com", n), "AKS-1", n)
		w.deliver("0", messages(body(d.records[0]), `{"records": [not JSON, "delete"`)...)
	}
	_ = w.beat() // it may fail
	answers := provoke(t, w.address())
	// Nothing answers at all any more: refused connections have errors of their own.
	w.settings["TEAMS_WEBHOOK_URL"] = "http://127.0.0.1:1/workflows/x/triggers/manual/paths/invoke?api-version=1&sig=" + plantedSignature
	w.settings["LOG_ANALYTICS_ENDPOINT"] = failing.URL
	at := parts(w.settings["AzureWebJobsStorage"])
	w.settings["AzureWebJobsStorage"] = connection(at["AccountName"], at["AccountKey"], "http://127.0.0.1:1", strings.TrimSuffix(at["QueueEndpoint"], "/"+at["AccountName"]))
	w.restart()
	d := kubeDeletion(t, podName(99), "robin@example.com", "AKS-1", 99)
	w.deliver("0", messages(body(d.records[0]))...)
	_ = w.beat() // it fails
	if n := tokens.Load(); n < 3 {
		t.Errorf("the planted token was used %d times, want by Graph, ARM and Log Analytics", n)
	}

	left := map[string]string{"answers": answers}
	w.mu.Lock()
	left["console"], left["cards and rows"] = w.console.String(), w.sent.String()
	w.mu.Unlock()
	for _, queue := range []string{storage.UndeliveredQueue, storage.PoisonQueue} {
		left["queue "+queue] = strings.Join(w.peek(queue), "\n")
	}
	for _, container := range []string{"podwatch-state", "podwatch-ledger", "unreadable-messages"} {
		for _, name := range w.list(container, "") {
			left["blobs of "+container] += name + "\n" + string(w.read(container, name)) + "\n"
		}
	}
	for _, where := range []string{"console", "cards and rows", "blobs of unreadable-messages", "answers"} {
		if left[where] == "" {
			t.Errorf("nothing was found in %s: the test looks at nothing", where)
		}
	}
	secrets := map[string]string{"webhook signature": plantedSignature, "token": plantedToken, "storage key": at["AccountKey"]}
	for where, said := range left {
		for what, secret := range secrets {
			for _, form := range []string{secret, url.QueryEscape(secret), strings.ToLower(secret), hex.EncodeToString([]byte(secret))} {
				if i := strings.Index(said, form); i >= 0 {
					t.Errorf("the %s is in %s: %.300q", what, where, said[max(0, i-150):])
				}
			}
		}
	}
	for _, failure := range []string{"a sink did not take alerts", "storage is unavailable"} {
		if !strings.Contains(left["console"], failure) {
			t.Errorf("the console does not say %q: the failure was not provoked", failure)
		}
	}
}

// identityEndpoint hands out a planted token, as App Service does.
func identityEndpoint(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":%q,"expires_on":"%d","resource":"x","token_type":"Bearer"}`, plantedToken, time.Now().Add(time.Hour).Unix())
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// provoke asks the handler for errors and returns its answers.
func provoke(t *testing.T, address string) string {
	t.Helper()
	client := &http.Client{Timeout: time.Minute}
	defer client.CloseIdleConnections()
	var said strings.Builder
	for _, h := range hostileRequests() {
		req, err := http.NewRequest(http.MethodPost, "http://"+address, h.body())
		if err != nil {
			t.Fatal(err)
		}
		req.URL.Path = h.path
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&said, "%s %v\n%s\n", resp.Status, resp.Header, answer)
	}
	return said.String()
}

// TestARefusalToStartTellsNoSecret: settings that are wrong are told by name.
func TestARefusalToStartTellsNoSecret(t *testing.T) {
	t.Parallel()
	const secret = plantedSignature
	for name, settings := range map[string][]string{
		"a webhook over plain http":    {"TEAMS_WEBHOOK_URL=http://example.com/x?sig=" + secret},
		"a webhook that is no URL":     {"TEAMS_WEBHOOK_URL=" + secret},
		"a webhook of somebody else's": {"TEAMS_WEBHOOK_URL=https://example.com/x?sig=" + secret},
		"a webhook with a bad port":    {"TEAMS_WEBHOOK_URL=https://x.logic.azure.com:" + secret + "/"},
		"a webhook in half":            {"TEAMS_WEBHOOK_URL=https://x.logic.azure.com/%zz" + secret},
		"a key that is none":           {"AzureWebJobsStorage=AccountName=a;AccountKey=" + secret + "!"},
		"a connection string in half":  {"AzureWebJobsStorage=" + secret},
		"a signature in a service URI": {"AzureWebJobsStorage__blobServiceUri=https://x.blob.core.windows.net/?sig=" + secret},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, filepath.Join(staged(t, false), "handler"))
			cmd.Env = append(settings, "FUNCTIONS_CUSTOMHANDLER_PORT=0")
			said, err := cmd.CombinedOutput()
			if err == nil || ctx.Err() != nil {
				t.Fatalf("the handler starts: %v, %s", err, said)
			}
			setting, _, _ := strings.Cut(settings[0], "=")
			setting, _, _ = strings.Cut(setting, "__")
			if strings.Contains(string(said), secret) || !strings.Contains(string(said), setting) {
				t.Errorf("it says %q; want the name of the setting and not its value", said)
			}
		})
	}
}

// TestOnlyLoopbackIsServed looks at what the system knows of the handler's port.
func TestOnlyLoopbackIsServed(t *testing.T) {
	t.Parallel()
	w := start(t, nil, nil)
	_, port, err := net.SplitHostPort(w.address())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		file, err := os.Open(table)
		if err != nil {
			continue // no IPv6 here
		}
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			fields := strings.Fields(lines.Text())
			if len(fields) < 4 || fields[3] != "0A" || !strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", n)) {
				continue // not listening, or elsewhere
			}
			if found++; !strings.HasPrefix(fields[1], "0100007F:") {
				t.Errorf("%s: the handler listens on %s, which is not 127.0.0.1", table, fields[1])
			}
		}
		file.Close()
	}
	if found == 0 {
		t.Error("the handler's port is in no table: the test looks at nothing")
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if ip, ok := a.(*net.IPNet); ok && !ip.IP.IsLoopback() && !ip.IP.IsLinkLocalUnicast() {
			conn, err := net.DialTimeout("tcp", net.JoinHostPort(ip.IP.String(), port), 2*time.Second)
			if err == nil {
				conn.Close()
				t.Errorf("the handler can be reached at %s", ip.IP)
			}
		}
	}
}

// TestALogLineCannotBeForged: what a record or a request carries stays inside a
// JSON string of its line.
func TestALogLineCannotBeForged(t *testing.T) {
	t.Parallel()
	w := start(t, func(_ int, p point) act {
		if p.what == "teams" {
			return reject
		}
		return pass
	}, map[string]string{"LOG_LEVEL": "debug"})
	const forged = "x\n{\"level\":\"INFO\",\"msg\":\"forged\"}\r\nwarn\u2028\x1b[2J"
	d := kubeDeletion(t, podName(1), forged, "AKS-1", 1)
	w.deliver("0\nforged", messages(body(strings.ReplaceAll(d.records[0], "AKS-1", "AKS\\n{forged")), forged)...)
	w.enqueue(storage.UndeliveredQueue, text(object{"AlertId": forged, "RuleId": forged, "RuleName": forged}))
	w.until("two dead letters", func() bool { letters, _ := w.dead(); return len(letters) == 2 })
	req, err := http.NewRequest(http.MethodPost, "http://"+w.address()+"/"+url.PathEscape(forged), strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	lines := bufio.NewScanner(bytes.NewReader(w.console.Bytes()))
	lines.Buffer(nil, 1<<20)
	n := 0
	for lines.Scan() {
		n++
		var entry struct{ Msg string }
		if err := json.Unmarshal(lines.Bytes(), &entry); err != nil || entry.Msg == "forged" || strings.ContainsAny(lines.Text(), "\x1b\r") {
			t.Errorf("a line that podwatch did not write: %q", lines.Text())
		}
	}
	if n < 4 {
		t.Errorf("%d lines: the test looks at nothing", n)
	}
}

// The handler of the tests of `podwatch run`: for each invocation of Detect it
// writes one row to the ingestion endpoint that its settings name. It logs a
// warning and a line that would steer a terminal.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

func main() {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1) // as the handler does
	}()
	fmt.Println(`{"level":"WARN","msg":"odd"}`)
	fmt.Println(`{"level":"INFO","msg":"usual"}`)
	fmt.Fprintln(os.Stderr, "warning: \x1b[2J\u202e")
	http.HandleFunc("GET /{$}", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("POST /{function}", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		if r.PathValue("function") != "Detect" {
			io.WriteString(w, "{}")
			return
		}
		url := os.Getenv("LOG_ANALYTICS_ENDPOINT") + "/dataCollectionRules/" + os.Getenv("LOG_ANALYTICS_RULE_ID") +
			"/streams/" + os.Getenv("LOG_ANALYTICS_STREAM") + "?api-version=2023-01-01"
		if hook := os.Getenv("TEAMS_WEBHOOK_URL"); !strings.HasPrefix(hook, "http://127.0.0.1:") {
			http.Error(w, "the webhook of the environment is still set", http.StatusInternalServerError)
			return
		}
		resp, err := http.Post(url, "application/json", strings.NewReader(`[{"AlertId":"a1","RuleName":"Pods deleted","Severity":"medium","CallerName":"Dana Ortiz"}]`))
		if err != nil || resp.StatusCode != http.StatusNoContent {
			http.Error(w, "no row", http.StatusInternalServerError)
			return
		}
		resp.Body.Close()
		io.WriteString(w, "{}")
	})
	fmt.Fprintln(os.Stderr, http.ListenAndServe("127.0.0.1:"+os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT"), nil))
	os.Exit(1)
}

package devhost

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"mime"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// maxAdminBody bounds an admin request; an Event Hub message is at most 1 MiB.
const maxAdminBody = 16 << 20

// Serve serves handler on l until ctx ends, to this machine only: l must be on
// loopback, and requests under another name are refused, since a page of some
// web site can make a browser send requests to loopback under a name of its own
// that resolves there. Connections are cut at the end, so streams end, too.
func Serve(ctx context.Context, l net.Listener, handler http.Handler, log *slog.Logger) error {
	server := &http.Server{
		Handler:           localOnly(handler),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func localOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		ip := net.ParseIP(strings.Trim(host, "[]"))
		if !strings.EqualFold(host, "localhost") && (ip == nil || !ip.IsLoopback()) {
			http.Error(w, "this address serves loopback only", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// adminInvoke begins an invocation and answers at once: the outcome is only in
// the log. A content type that a web form cannot send keeps other sites out.
func (h *Host) adminInvoke(w http.ResponseWriter, r *http.Request) {
	// The host's routes, too, compare names without case.
	i := slices.IndexFunc(h.app.Functions, func(fn *Function) bool { return strings.EqualFold(fn.Name, r.PathValue("name")) })
	if i < 0 {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	fn := h.app.Functions[i]
	if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media != "application/json" {
		http.Error(w, "send Content-Type: application/json", http.StatusUnsupportedMediaType)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAdminBody))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	var request *struct {
		Input string `json:"input"`
	}
	if err := json.Unmarshal(body, &request); err != nil || request == nil {
		http.Error(w, `send {"input": "<text>"}; a message body must be quoted as one JSON string`, http.StatusBadRequest)
		return
	}
	if !h.begin() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	go func() {
		defer h.work.Done()
		_ = h.invoke(h.ctx, fn, func(t try) []byte { return encodeAdmin(t, request.Input) }) // logged there
	}()
	w.WriteHeader(http.StatusAccepted)
}

func (h *Host) adminHost(w http.ResponseWriter, _ *http.Request) {
	errs := []string{}
	for _, name := range slices.Sorted(maps.Keys(h.app.Broken)) {
		errs = append(errs, name+": "+h.app.Broken[name])
	}
	pid, starts := h.worker.state()
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(map[string]any{ // the client is gone if this fails
		"id": h.id, "state": "Running", "version": hostVersion, "versionDetails": "podwatch local stand-in",
		"processUptime": time.Since(h.began).Milliseconds(), "errors": errs,
		"handler": map[string]int{"processId": pid, "starts": starts},
	})
}

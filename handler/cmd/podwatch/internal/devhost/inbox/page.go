package inbox

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"time"
)

//go:embed page
var pageFiles embed.FS

// policy lets the page run its own scripts and nothing else. Markup can come
// into being only through the renderer's own Trusted Types policies, and no
// picture or font is fetched from anywhere.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; " +
	"trusted-types adaptivecards#markdownPassthroughPolicy adaptivecards#restoreContentsPolicy adaptivecards#deprecatedExportedFunctionPolicy"

// keepAlive is how often an idle stream says that it is alive.
const keepAlive = 15 * time.Second

// servePage adds the page and the interface behind it.
func (b *Inbox) servePage() {
	files, err := fs.Sub(pageFiles, "page")
	if err != nil {
		panic(err) // the folder is part of the executable
	}
	static := http.FileServerFS(files)
	b.mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		guard(w)
		static.ServeHTTP(w, r)
	})
	b.mux.HandleFunc("GET /adaptivecards.js", func(w http.ResponseWriter, r *http.Request) {
		guard(w)
		src, err := os.ReadFile(b.o.renderer())
		if err != nil {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
		_, _ = w.Write(src)
	})
	b.mux.HandleFunc("GET /api/info", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, map[string]any{"feed": b.o.Feed, "counts": b.Counts()})
	})
	b.mux.HandleFunc("DELETE /api/entries", func(w http.ResponseWriter, _ *http.Request) {
		b.Clear()
		w.WriteHeader(http.StatusNoContent)
	})
	b.mux.HandleFunc("GET /api/stream", b.stream)
}

func guard(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// stream sends each entry as an event, from the id of Last-Event-ID on, and an
// event "clear" when all were forgotten.
func (b *Inbox) stream(w http.ResponseWriter, r *http.Request) {
	guard(w)
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w).Flush
	after, _ := strconv.Atoi(r.Header.Get("Last-Event-ID"))
	b.mu.Lock()
	if after > b.last { // the page is older than this process
		after = 0
	}
	cleared := b.cleared
	b.mu.Unlock()
	alive := time.NewTicker(keepAlive)
	defer alive.Stop()
	fmt.Fprint(w, "retry: 500\n: podwatch\n\n")
	for {
		b.mu.Lock()
		changed, forgotten := b.changed, b.cleared
		var fresh []Entry
		for _, e := range b.entries {
			if e.ID > after {
				fresh = append(fresh, e)
			}
		}
		b.mu.Unlock()
		if forgotten != cleared {
			cleared = forgotten
			fmt.Fprint(w, "event: clear\ndata: {}\n\n")
		}
		for _, e := range fresh {
			after = e.ID
			line, err := json.Marshal(e)
			if err != nil {
				continue // Data was checked to be JSON
			}
			fmt.Fprintf(w, "id: %d\ndata: %s\n\n", e.ID, line)
		}
		if flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-changed:
		case <-alive.C:
			fmt.Fprint(w, ": alive\n\n")
		}
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	guard(w)
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(v) // the client is gone if this fails
}

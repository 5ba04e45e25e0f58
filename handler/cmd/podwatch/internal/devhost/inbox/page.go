package inbox

import (
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
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

// keepAlive is how often an idle stream sends a comment.
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
		w.Header().Set("Content-Type", "text/javascript; charset=utf-8") // whatever this machine calls it
		http.ServeFile(w, r, filepath.Join(b.o.Modules, "adaptivecards", "dist", "adaptivecards.min.js"))
	})
	b.mux.HandleFunc("GET /api/info", func(w http.ResponseWriter, _ *http.Request) {
		guard(w)
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_ = json.NewEncoder(w).Encode(map[string]any{"counts": b.Counts()}) // the client is gone if this fails
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

// stream sends an event "run" that names this inbox, each entry as an event, behind
// the one of Last-Event-ID if that was an entry of this inbox, an event "clear" when all
// were forgotten, and "held" when it changes.
func (b *Inbox) stream(w http.ResponseWriter, r *http.Request) {
	guard(w)
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w).Flush
	after := 0
	if run, id, _ := strings.Cut(r.Header.Get("Last-Event-ID"), "."); run == b.run {
		after, _ = strconv.Atoi(id) // it was ours
	}
	b.mu.Lock()
	cleared := b.cleared
	if after <= cleared {
		cleared = 0 // forgotten while the page was not connected, perhaps
	}
	b.mu.Unlock()
	told := Held{}
	alive := time.Tick(keepAlive)
	fmt.Fprint(w, "retry: 500\n")
	send(w, "run", map[string]string{"id": b.run, "feed": b.o.Feed})
	for {
		b.mu.Lock()
		changed, forgotten, held, fresh := b.changed, b.cleared, b.held, b.since(after)
		b.mu.Unlock()
		if forgotten != cleared {
			cleared = forgotten
			send(w, "clear", struct{}{})
		}
		if held != told {
			told = held
			send(w, "held", held)
		}
		for _, e := range fresh {
			after = e.ID
			fmt.Fprintf(w, "id: %s.%d\n", b.run, e.ID)
			send(w, "message", e)
		}
		if flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-changed:
		case <-alive:
			fmt.Fprint(w, ": alive\n\n")
		}
	}
}

// send writes one event. v can be marshalled: an entry's data was checked to be JSON.
func send(w io.Writer, event string, v any) {
	line, _ := json.Marshal(v)
	fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, line)
}

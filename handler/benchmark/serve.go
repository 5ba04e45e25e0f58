package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync/atomic"

	"podwatch/handler/internal/server"
)

// A contestant answers invocations, and counts the records that match.
type contestant struct {
	http.Handler
	matches *atomic.Int64 // in the last invocation
	plain   bool          // its connections are net/http's alone, which read 4 KiB at a time
}

// contestants are all that can be served, by name.
var contestants = map[string]func() (contestant, error){
	"read-only": func() (contestant, error) {
		c := peer(nothing)
		c.plain = true
		return c, nil
	},
	"read-ahead": func() (contestant, error) { return peer(nothing), nil },
	"podwatch":   newPodwatch,
	"handler":    newHandler,
	"decode-all": func() (contestant, error) { return peer(decodeAll), nil },
	"gojq":       newGojq,
	"gjson":      func() (contestant, error) { return peer(countGjson), nil },
	"sonic":      func() (contestant, error) { return peer(countSonic), nil },
	"falco":      func() (contestant, error) { return peer(new(falco).count), nil },
}

// nothing is what is counted in a body that is only read.
func nothing([]byte) (int, error) { return 0, nil }

// peer reads the body of each invocation into a buffer that is kept, as podwatch's
// is, and counts in it.
func peer(count func(body []byte) (int, error)) contestant {
	c := contestant{matches: new(atomic.Int64)}
	buffers := make(chan *bytes.Buffer, 4)
	c.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		buffer := new(bytes.Buffer)
		select {
		case buffer = <-buffers:
			buffer.Reset()
		default:
		}
		_, err := buffer.ReadFrom(r.Body)
		found := 0
		if err == nil {
			found, err = count(buffer.Bytes())
		}
		select {
		case buffers <- buffer:
		default:
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		c.matches.Store(int64(found))
		_, _ = io.WriteString(w, "{}")
	})
	return c
}

// serve serves a contestant: it prints its address and ends with standard input.
func serve(name string) error {
	build, ok := contestants[name]
	if !ok {
		return fmt.Errorf("no contestant %q", name)
	}
	c, err := build()
	if err != nil {
		return fmt.Errorf("build contestant %q: %w", name, err)
	}
	mux := http.NewServeMux()
	mux.Handle("POST /Detect", c)
	mux.HandleFunc("GET /matches", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, c.matches.Load()) })
	mux.HandleFunc("GET /goroutines", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, runtime.NumGoroutine()) })
	mux.HandleFunc("POST /collect", func(http.ResponseWriter, *http.Request) { runtime.GC() })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if !c.plain {
		listener = server.ReadAhead(listener)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	fmt.Println(listener.Addr())
	return http.Serve(listener, mux)
}

package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"podwatch/handler/internal/logtest"
)

// buildExecutable builds the handler as `make package` does.
func buildExecutable(b *testing.B) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "handler")
	build := exec.CommandContext(b.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// An executed is the executable at work, with the console as its sink.
type executed struct {
	cmd   *exec.Cmd
	url   string
	after time.Duration // from exec to the first answered GET /
}

func execute(b *testing.B, path string) *executed {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(address)
	cmd := exec.CommandContext(b.Context(), path)
	cmd.Env = []string{"FUNCTIONS_CUSTOMHANDLER_PORT=" + port}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	for time.Since(start) < 10*time.Second {
		if response, err := client.Get("http://" + address + "/"); err == nil {
			response.Body.Close()
			return &executed{cmd, "http://" + address, time.Since(start)}
		}
		time.Sleep(200 * time.Microsecond) // as a host asks again and again
	}
	b.Fatal("the handler does not answer")
	return nil
}

func (e *executed) end() {
	_ = e.cmd.Process.Kill()
	_ = e.cmd.Wait()
}

// memory is a figure of the process in bytes: VmRSS is what it takes now, VmHWM the
// most that it has taken.
func (e *executed) memory(b *testing.B, figure string) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", e.cmd.Process.Pid))
	if err != nil {
		b.Skip("only Linux tells what a process takes")
	}
	m := regexp.MustCompile(figure + `:\s+(\d+) kB`).FindSubmatch(text)
	kib, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		b.Fatal(err)
	}
	return kib * 1024
}

// BenchmarkStart is the time from exec to the first answered GET /, and what the
// process takes then.
func BenchmarkStart(b *testing.B) {
	path := buildExecutable(b)
	var times, memory []float64
	for b.Loop() {
		e := execute(b, path)
		times = append(times, e.after.Seconds()*1000)
		memory = append(memory, e.memory(b, "VmRSS")/(1<<20))
		e.end()
	}
	slices.Sort(times)
	b.ReportMetric(times[len(times)/2], "median-ms")
	b.ReportMetric(times[len(times)-1], "max-ms")
	b.ReportMetric(slices.Max(memory), "MiB")
	b.ReportMetric(0, "ns/op")
}

// chunks is a body of unknown length that arrives in chunks of 1,024 bytes, as the
// host sends it.
type chunks struct{ io.Reader }

func (c chunks) Read(p []byte) (int, error) { return c.Reader.Read(p[:min(len(p), 1024)]) }

// BenchmarkPeakMemory is how far the process grows over one invocation, against the
// size of its body.
func BenchmarkPeakMemory(b *testing.B) {
	path := buildExecutable(b)
	for _, matching := range logtest.Shares {
		body := logtest.Batch("kube-audit", 64<<20, matching.Nth)
		b.Run("matching="+matching.Name, func(b *testing.B) {
			most := 0.0
			for b.Loop() {
				e := execute(b, path)
				before := e.memory(b, "VmRSS")
				response, err := http.Post(e.url+"/Detect", "application/json", chunks{bytes.NewReader(body)})
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, response.Body)
				response.Body.Close()
				if response.StatusCode != http.StatusOK {
					b.Fatal(response.Status)
				}
				most = max(most, e.memory(b, "VmHWM")-before)
				e.end()
			}
			b.ReportMetric(most/float64(len(body)), "peak/body")
			b.ReportMetric(0, "ns/op")
		})
	}
}

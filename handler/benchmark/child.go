package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A child is a contestant in a process of its own.
type child struct {
	name    string
	address string
	cmd     *exec.Cmd
	stdin   io.Closer
}

// start starts a contestant, with two processors.
func start(ctx context.Context, name string, env ...string) (*child, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, "-serve", name)
	cmd.Env = append(append(os.Environ(), "GOMAXPROCS=2"), env...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start contestant %q: %w", name, err)
	}
	c := &child{name: name, cmd: cmd, stdin: stdin}
	address, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("contestant %q does not serve: %w", name, err), c.end())
	}
	c.address = strings.TrimSpace(address)
	return c, nil
}

func (c *child) end() error { return errors.Join(c.stdin.Close(), c.cmd.Wait()) }

// number asks the contestant for one of its figures.
func (c *child) number(figure string) (int, error) {
	response, err := http.Get("http://" + c.address + "/" + figure)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(text))
}

// collect lets the contestant collect its garbage while it is not timed.
func (c *child) collect() error {
	response, err := http.Post("http://"+c.address+"/collect", "", nil)
	if err == nil {
		err = response.Body.Close()
	}
	return err
}

var resident = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)

// rss returns the resident memory of the process in bytes. It needs Linux.
func (c *child) rss() (int, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	found := resident.FindSubmatch(status)
	if found == nil {
		return 0, errors.New("the process status has no VmRSS")
	}
	kib, err := strconv.Atoi(string(found[1]))
	return kib << 10, err
}

// A line is a connection to a contestant.
type line struct {
	conn    net.Conn
	answers *bufio.Reader
}

func (c *child) dial() (*line, error) {
	conn, err := net.Dial("tcp", c.address)
	if err != nil {
		return nil, err
	}
	return &line{conn, bufio.NewReader(conn)}, nil
}

// post sends an encoded request and reads the answer.
func (l *line) post(request []byte) error {
	if _, err := l.conn.Write(request); err != nil {
		return err
	}
	response, err := http.ReadResponse(l.answers, nil)
	if err != nil {
		return err
	}
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("answer %s: %.200s", response.Status, bytes.TrimSpace(answer))
	}
	return err
}

// chunked is a request with body, in chunks of 1,024 bytes as the host sends it. It
// is encoded before, so that sending costs all contestants the same and little.
func chunked(body []byte) []byte {
	request := []byte("POST /Detect HTTP/1.1\r\nHost: x\r\nContent-Type: application/json; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n")
	for chunk := range slices.Chunk(body, 1024) {
		request = fmt.Appendf(request, "%x\r\n%s\r\n", len(chunk), chunk)
	}
	return append(request, "0\r\n\r\n"...)
}

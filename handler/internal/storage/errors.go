package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"syscall"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
)

// failed describes a request that failed: what was attempted, with what.
func failed(attempt, name string, err error) error {
	return fmt.Errorf("%s %s: %w", attempt, strconv.Quote(name), reason(err))
}

// reason keeps of an error what is known to hold no address and no secret. The
// SDK's own text contains the URL, and with it a shared access signature.
func reason(err error) error {
	var answer *azcore.ResponseError
	var lookup *net.DNSError
	var noToken interface{ NonRetriable() }
	var network net.Error
	switch {
	case errors.As(err, &answer):
		return refusal(answer)
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded
	case errors.As(err, &lookup):
		return errors.New("the storage account's host name cannot be resolved")
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("storage refused the connection")
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return errors.New("storage ended the connection")
	case errors.As(err, &network) && network.Timeout():
		return errors.New("storage timed out")
	case errors.As(err, &noToken):
		return errors.New("no token for storage: the identity is missing or not usable here")
	}
	return errors.New("storage is unreachable")
}

// refusal returns status and code of an answer, and what the usual cause is.
func refusal(answer *azcore.ResponseError) error {
	text := "storage answered " + strconv.Itoa(answer.StatusCode)
	if code := answer.ErrorCode; len(code) <= longestCode && plainCode.MatchString(code) {
		text += " " + code
	}
	if answer.StatusCode == http.StatusForbidden {
		text += " (data role missing, key outdated, or network rules)"
	}
	return errors.New(text)
}

// plainCode matches the service's error codes, and no text that something in between
// wrote.
var plainCode = regexp.MustCompile(`^[A-Za-z0-9]+$`)

const longestCode = 80

// absent reports whether what was asked for does not exist.
func absent(err error) bool {
	answer, ok := errors.AsType[*azcore.ResponseError](err)
	return ok && answer.StatusCode == http.StatusNotFound
}

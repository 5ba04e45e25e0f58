package azure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// An Error is a request that failed: the innermost cause that the answer names.
type Error struct {
	What    string // the request: "GET /subscriptions/..."
	Status  int    // HTTP status; 0: no answer
	Code    string // of Azure: "AuthorizationFailed"
	Message string // as Azure or the SCM site puts it, one line
	Text    string // the whole answer, for Explain
	Err     error  // as azcore has it
}

func (e *Error) Error() string {
	text := e.What
	if e.Status != 0 {
		text += fmt.Sprintf(": HTTP %d", e.Status)
	}
	if e.Code != "" {
		text += " " + e.Code
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// Unwrap returns azcore's error.
func (e *Error) Unwrap() error { return e.Err }

// Status returns the HTTP status of an error, or 0.
func Status(err error) int {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Status
	}
	return 0
}

// NotFound reports whether what was asked for does not exist.
func NotFound(err error) bool { return Status(err) == http.StatusNotFound }

// maxMessage bounds what is repeated of an answer, in bytes.
const maxMessage = 600

// Wrap makes an *Error of azcore's, and leaves others as they are.
func Wrap(err error) error {
	var answer *azcore.ResponseError
	if !errors.As(err, &answer) {
		return err
	}
	e := &Error{Status: answer.StatusCode, Code: answer.ErrorCode, Err: err}
	if answer.RawResponse != nil {
		e.What = answer.RawResponse.Request.Method + " " + scopePath.ReplaceAllString(answer.RawResponse.Request.URL.Path, "")
		if body, err := runtime.Payload(answer.RawResponse); err == nil {
			e.Text = string(body)
		}
	}
	if code, message := Innermost([]byte(e.Text)); message != "" {
		e.Code, e.Message = code, message
	} else {
		e.Message = e.Text
	}
	e.Message = oneLine(e.Message)
	return e
}

// scopePath is what the paths of all resources of a deployment have in common.
var scopePath = regexp.MustCompile(`(?i)^/subscriptions/[^/]+/(resourceGroups/[^/]+/)?providers/`)

func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxMessage {
		s = strings.ToValidUTF8(s[:maxMessage], "") + " ..."
	}
	return s
}

// Innermost returns the deepest code and message of an error of Azure Resource
// Manager. A deployment has the cause of its failure in details of details, and
// there as JSON in the text of a message.
func Innermost(text []byte) (code, message string) {
	var e struct {
		Error   json.RawMessage
		Code    string
		Message string
		Details []json.RawMessage
		Inner   json.RawMessage `json:"innererror"` // of queries
	}
	if json.Unmarshal(text, &e) != nil {
		return "", ""
	}
	for _, inner := range append(e.Details, e.Error, e.Inner, []byte(e.Message)) {
		if code, message := Innermost(inner); message != "" {
			return code, message
		}
	}
	return e.Code, e.Message
}

// unreached describes why there was no answer, without repeating addresses.
func unreached(err error) string {
	var dns *net.DNSError
	var failed *azidentity.AuthenticationFailedError
	switch {
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.As(err, &dns):
		return "the host name was not found"
	case errors.As(err, &failed):
		return "no token: sign in again with az login; " + oneLine(err.Error())
	}
	return oneLine(err.Error())
}

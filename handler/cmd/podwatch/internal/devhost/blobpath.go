package devhost

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"
)

var pathExpression = regexp.MustCompile(`\{[^{}]*\}`)

// blobPath fills in the expressions of a path: {rand-guid} and {DateTime:FORMAT}. Each
// makes a value of its own: two {rand-guid} differ.
func blobPath(path string, now time.Time) (container, name string, err error) {
	full := pathExpression.ReplaceAllStringFunc(path, func(expression string) string {
		kind, format, _ := strings.Cut(strings.Trim(expression, "{}"), ":")
		switch {
		case strings.EqualFold(expression, "{rand-guid}"):
			return uuid.NewString()
		case strings.EqualFold(kind, "DateTime"):
			layout, wrong := dotnetLayout(format)
			err = errors.Join(err, wrong)
			return now.UTC().Format(layout)
		}
		err = errors.Join(err, fmt.Errorf("%s: this stand-in knows {rand-guid} and {DateTime:FORMAT} only", expression))
		return ""
	})
	container, name, ok := strings.Cut(full, "/")
	switch {
	case err != nil:
	case !ok || container == "" || name == "":
		err = errors.New("it is not container/name")
	case strings.ContainsAny(full, "{}"):
		err = errors.New("braces do not pair")
	}
	if err != nil {
		return "", "", fmt.Errorf("path %q: %w", path, err)
	}
	return container, name, nil
}

// dotnetLayout translates the custom date formats that paths use.
func dotnetLayout(format string) (string, error) {
	translated := strings.NewReplacer("yyyy", "2006", "MM", "01", "dd", "02", "HH", "15", "mm", "04", "ss", "05").Replace(format)
	if strings.ContainsFunc(translated, func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' && r != 'T'
	}) || format == "" {
		return "", fmt.Errorf("date format %q: this stand-in knows yyyy, MM, dd, HH, mm and ss", format)
	}
	return translated, nil
}

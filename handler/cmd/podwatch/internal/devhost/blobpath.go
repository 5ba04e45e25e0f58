package devhost

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"
)

var pathExpression = regexp.MustCompile(`\{([^{}]*)\}`)

// checkBlobPath finds at start what the host would refuse at start.
func checkBlobPath(path string) error {
	container, name, ok := strings.Cut(path, "/")
	if !ok || container == "" || name == "" {
		return fmt.Errorf("path %q is not container/name", path)
	}
	if strings.ContainsAny(pathExpression.ReplaceAllString(path, ""), "{}") {
		return fmt.Errorf("path %q: braces do not pair", path)
	}
	for _, m := range pathExpression.FindAllStringSubmatch(path, -1) {
		if name, format, ok := strings.Cut(m[1], ":"); ok && strings.EqualFold(name, "DateTime") {
			if _, err := dotnetLayout(format); err != nil {
				return fmt.Errorf("path %q: %w", path, err)
			}
		}
	}
	return nil
}

// blobPath fills in the expressions of a path. Each makes a value of its own:
// two {rand-guid} differ. metadata is the invocation's binding data.
func blobPath(path string, now time.Time, metadata map[string]any) (container, name string, err error) {
	full := pathExpression.ReplaceAllStringFunc(path, func(m string) string {
		value, e := expression(strings.Trim(m, "{}"), now, metadata)
		if e != nil && err == nil {
			err = fmt.Errorf("path %q: %w", path, e)
		}
		return value
	})
	container, name, _ = strings.Cut(full, "/")
	return container, name, err
}

func expression(text string, now time.Time, metadata map[string]any) (string, error) {
	name, format, hasFormat := strings.Cut(text, ":")
	switch {
	case strings.EqualFold(name, "rand-guid"):
		if hasFormat {
			return "", fmt.Errorf("format %q: this stand-in knows rand-guid without a format", format)
		}
		return uuid.NewString(), nil
	case strings.EqualFold(name, "DateTime"):
		if !hasFormat {
			return now.UTC().Format("2006-01-02T15-04-05Z"), nil
		}
		layout, err := dotnetLayout(format)
		return now.UTC().Format(layout), err
	}
	var value any = metadata
	for part := range strings.SplitSeq(name, ".") {
		value = member(value, part)
	}
	switch v := value.(type) {
	case string:
		var inner string
		if json.Unmarshal([]byte(v), &inner) == nil { // a string in metadata is JSON text in JSON text
			return inner, nil
		}
		return v, nil
	case float64, json.Number, bool:
		return fmt.Sprint(v), nil
	}
	return "", fmt.Errorf("no value for {%s}", text)
}

// member looks a name up without case, as the host's binding data does.
func member(object any, name string) any {
	members, _ := object.(map[string]any)
	for key, value := range members {
		if strings.EqualFold(key, name) {
			return value
		}
	}
	return nil
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

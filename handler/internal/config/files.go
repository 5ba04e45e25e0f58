package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// ExecutableDir is the folder of the running executable, beside which rules and
// exceptions are looked for; "." if the system does not report it.
func ExecutableDir() string {
	path, err := os.Executable()
	if err != nil {
		return "."
	}
	return filepath.Dir(path)
}

// Files returns a Config in which only the files of rules and exceptions are set,
// as [Load] finds them.
func Files(getenv func(string) string, dir string) (*Config, error) {
	l := &loader{dir: dir}
	var mistakes []error
	for _, s := range settings {
		if s.name == "RULES_DIR" || s.name == "EXCEPTIONS_FILE" {
			if err := s.read(l, strings.TrimSpace(getenv(s.name))); err != nil {
				mistakes = append(mistakes, fmt.Errorf("%s: %w", s.name, err))
			}
		}
	}
	return &l.Config, errors.Join(mistakes...)
}

// nearMiss matches names that are hardly meant for anything else.
var nearMiss = map[string]*regexp.Regexp{
	"rules":           regexp.MustCompile(`(?i)^rules?$`),
	"exceptions.yaml": regexp.MustCompile(`(?i)^exceptions?\.ya?ml(\.txt)?$`),
}

// besideExecutable returns value, which must then exist, or the default name in
// the folder of the executable if there is something of that name.
func (l *loader) besideExecutable(value, name string) (string, error) {
	if value != "" {
		_, err := os.Stat(value)
		return value, err
	}
	entries, _ := os.ReadDir(l.dir) // without it there is nothing beside the executable
	path := filepath.Join(l.dir, name)
	_, err := os.Stat(path)
	for _, e := range entries {
		switch {
		case e.Name() == name && err != nil:
			l.Overlooked = append(l.Overlooked, path+" (a link to what does not exist)")
		case e.Name() != name && nearMiss[name].MatchString(e.Name()) && !l.same(e.Name(), name):
			l.Overlooked = append(l.Overlooked, filepath.Join(l.dir, e.Name())+" (not read; the name is "+name+")")
		}
	}
	slices.Sort(l.Overlooked)
	if err != nil {
		return "", nil
	}
	return path, nil
}

// same reports whether two names are one file, as where names ignore case.
func (l *loader) same(a, b string) bool {
	infoA, errA := os.Stat(filepath.Join(l.dir, a))
	infoB, errB := os.Stat(filepath.Join(l.dir, b))
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

package rule

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"podwatch/handler/rules"
)

// A Source is a place with rule files: .toml, .ndjson and .json, in folders as
// deep as they go. Files and folders whose name starts with a dot are left out.
type Source struct {
	name    string // what is put before a file's path in messages
	fsys    fs.FS
	root    string // file or folder in fsys
	builtIn bool
}

// BuiltIn is the rules that podwatch brings along. A rule of another source
// with the same id takes the place of a built-in one.
func BuiltIn() Source { return Source{name: "built-in", fsys: rules.FS, root: ".", builtIn: true} }

// Path is the rule file or the folder at name.
func Path(name string) Source {
	dir, file := filepath.Split(filepath.Clean(name))
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		dir, file = filepath.Clean(name), "."
	}
	return Source{name: filepath.Clean(dir), fsys: os.DirFS(filepath.Clean(dir)), root: file}
}

// FS is the rule files in fsys; name is put before their paths in messages.
func FS(name string, fsys fs.FS) Source { return Source{name: name, fsys: fsys, root: "."} }

// file is how messages call the file at p.
func (s Source) file(p string) string {
	if s.name == "." || s.name == "" {
		return filepath.FromSlash(p)
	}
	return filepath.Join(s.name, filepath.FromSlash(p))
}

// files returns the paths of the rule files in s, sorted, and what else is there
// that somebody may take for one.
func (s Source) files() (files, unread []string, err error) {
	err = fs.WalkDir(s.fsys, s.root, func(p string, d fs.DirEntry, err error) error {
		hidden := p != s.root && strings.HasPrefix(d.Name(), ".")
		switch {
		case err != nil:
			return err
		case d.IsDir() && hidden:
			return fs.SkipDir
		case d.IsDir():
			return nil
		case s.linksToFolder(p, d):
			unread = append(unread, s.file(p)+" (a linked folder)")
		case p == s.root || isRuleFile(p) && !hidden:
			files = append(files, p)
		case !s.builtIn && !slices.ContainsFunc(caseFiles, func(c caseFile) bool { return c.name == d.Name() }) && path.Ext(p) != ".md":
			unread = append(unread, s.file(p))
		}
		return nil
	})
	if err != nil {
		name := s.root
		if at := (*fs.PathError)(nil); errors.As(err, &at) {
			name = at.Path
		}
		return nil, nil, fmt.Errorf("read rules %q: %w", s.file(name), bare(err))
	}
	slices.Sort(files)
	return files, unread, nil
}

func (s Source) linksToFolder(p string, d fs.DirEntry) bool {
	if d.Type()&fs.ModeSymlink == 0 {
		return false
	}
	info, err := fs.Stat(s.fsys, p)
	return err == nil && info.IsDir()
}

func isRuleFile(p string) bool {
	return slices.Contains([]string{".toml", ".ndjson", ".json"}, path.Ext(p))
}

// maxFileSize bounds what is read of a rule file. All of Elastic's rules in one
// export take about a third of it.
const maxFileSize = 64 << 20

// read returns the content of the file at p.
func (s Source) read(p string) (src []byte, err error) {
	f, err := s.fsys.Open(p)
	if err == nil {
		defer f.Close()
		src, err = io.ReadAll(io.LimitReader(f, maxFileSize+1))
	}
	if err == nil && len(src) > maxFileSize {
		err = fmt.Errorf("larger than %d MiB", maxFileSize>>20)
	}
	if err != nil {
		return nil, fmt.Errorf("read rule file %q: %w", s.file(p), bare(err))
	}
	return src, nil
}

// bare takes off the path that a file system puts before an error: it lacks the
// folder of the source.
func bare(err error) error {
	if at := (*fs.PathError)(nil); errors.As(err, &at) {
		return at.Err
	}
	return err
}

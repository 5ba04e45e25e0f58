package rule_test

import (
	"io/fs"
	"testing/fstest"
)

// files is a folder of rule files in memory, by name.
type files map[string]string

func (f files) Open(name string) (fs.File, error) {
	m := fstest.MapFS{}
	for name, content := range f {
		m[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return m.Open(name)
}

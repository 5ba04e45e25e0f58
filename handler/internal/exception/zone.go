package exception

import (
	"archive/zip"
	_ "embed"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"
)

// zoneinfo is lib/time/zoneinfo.zip of the Go distribution, release 1.26. Zones
// come from it alone: what a machine has installed, and how its file system
// compares names, must not decide whether an exception is valid.
//
//go:embed zoneinfo.zip
var zoneinfo string

var openZones = sync.OnceValues(func() (*zip.Reader, error) {
	return zip.NewReader(strings.NewReader(zoneinfo), int64(len(zoneinfo)))
})

func loadZone(name string) (*time.Location, error) {
	zones, err := openZones()
	if err != nil {
		return nil, err
	}
	data, err := fs.ReadFile(zones, name)
	if err != nil {
		return nil, fmt.Errorf("load time zone: %w", err)
	}
	return time.LoadLocationFromTZData(name, data)
}

package hub

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// positions remember the last handled message of each partition in a small JSON
// file. The zero name keeps nothing. Not safe for concurrent use.
type positions struct {
	name  string
	saved time.Time
	dirty bool
	file  positionFile
}

type positionFile struct {
	Namespace     string              `json:"namespace"`
	Hub           string              `json:"hub"`
	ConsumerGroup string              `json:"consumerGroup"`
	Partitions    map[string]position `json:"partitions"`
}

type position struct {
	Sequence int64     `json:"sequence"` // of the last message that was handled
	Enqueued time.Time `json:"enqueued"` // before the hub was created: the position is of an earlier hub
}

func loadPositions(name string, source Partition) (*positions, error) {
	p := &positions{name: name, file: positionFile{
		Namespace:     source.Namespace,
		Hub:           source.Hub,
		ConsumerGroup: source.ConsumerGroup,
		Partitions:    map[string]position{},
	}}
	if name == "" {
		return p, nil
	}
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, fmt.Errorf("position file: %w", err)
	}
	var f positionFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("position file %q: %w", name, err)
	}
	if !strings.EqualFold(f.Namespace, source.Namespace) || !strings.EqualFold(f.Hub, source.Hub) || !strings.EqualFold(f.ConsumerGroup, source.ConsumerGroup) {
		return nil, fmt.Errorf("position file %q belongs to %s/%s, consumer group %s; remove it or name another file", name, f.Namespace, f.Hub, f.ConsumerGroup)
	}
	if f.Partitions != nil {
		p.file.Partitions = f.Partitions
	}
	return p, nil
}

func (p *positions) set(partition string, m Message) {
	p.file.Partitions[partition] = position{Sequence: m.Sequence, Enqueued: m.Enqueued}
	p.dirty = true
}

// save writes the file at most once a second, or now. The old file stays whole
// until the new one is.
func (p *positions) save(now bool) error {
	if p.name == "" || !p.dirty || (!now && time.Since(p.saved) < time.Second) {
		return nil
	}
	data, err := json.MarshalIndent(p.file, "", "  ")
	if err != nil {
		return fmt.Errorf("position file %q: %w", p.name, err)
	}
	temp, err := os.CreateTemp(filepath.Dir(p.name), filepath.Base(p.name)+".*")
	if err != nil {
		return fmt.Errorf("position file: %w", err)
	}
	_, err = temp.Write(append(data, '\n'))
	err = errors.Join(err, temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), p.name)
	}
	if err != nil {
		os.Remove(temp.Name())
		return fmt.Errorf("position file: %w", err)
	}
	p.saved, p.dirty = time.Now(), false
	return nil
}

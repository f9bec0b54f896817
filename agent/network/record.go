package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
)

// A record is the durable form of an endpoint. It is written whole, once, and never changed.
type record struct {
	Version  int       `json:"version"` // of this format
	ID       string    `json:"id"`
	Mode     Mode      `json:"mode"`
	Slot     int       `json:"slot,omitempty"` // 0 for Host, which has none
	Bindings []Binding `json:"bindings,omitempty"`
}

const (
	recordVersion = 1
	recordSuffix  = ".json"
)

// records is the folder of them. Its caller lets one goroutine at a time write a given ID.
type records struct{ dir string }

func (r records) path(id string) string { return filepath.Join(r.dir, id+recordSuffix) }

func (r records) write(rec record) error {
	data, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	return writeFile(r.path(rec.ID), data)
}

func (r records) remove(id string) error {
	if err := os.Remove(r.path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// read returns all records. One that cannot be read was torn by a crash of the machine; the kernel objects that it
// stood for are gone with that kernel, so it is dropped with a warning.
func (r records) read(log *slog.Logger) (map[string]record, error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, err
	}
	all := make(map[string]record)
	for _, e := range entries {
		path := filepath.Join(r.dir, e.Name())
		id, ok := strings.CutSuffix(e.Name(), recordSuffix)
		if !ok {
			if err := os.Remove(path); err != nil { // what a crash left of writeFile
				return nil, err
			}
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var rec record
		if err := json.Unmarshal(data, &rec); err != nil || rec.ID != id {
			log.Warn("dropping an unreadable network record", "path", path, "error", err)
			if err := os.Remove(path); err != nil {
				return nil, err
			}
			continue
		}
		if rec.Version > recordVersion {
			return nil, fmt.Errorf("%s has format %d, which a newer Havn wrote", path, rec.Version)
		}
		all[id] = rec
	}
	return all, nil
}

// writeFile replaces the file at once: a reader finds the old content or the new.
func writeFile(path string, data []byte) error {
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

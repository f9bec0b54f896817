package volume

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/moby/locker"

	"havn/protocol"
)

// Config says which Store to open.
type Config struct {
	DataDir     string // survives a reboot
	RuntimeDir  string // does not
	FileSystems FileSystems
}

// Store keeps the volumes of one node. All methods may be called at the same time.
type Store struct {
	shared  string // folder of the shared volumes
	mounts  string // folder of what is mounted
	systems FileSystems
	locks   *locker.Locker // by folder: one at a time makes, fills or gives up a volume
}

// Task is whose volumes are meant.
type Task struct {
	ID  string // a name that a file can have
	Dir string // the folder of the task's own volumes, which somebody deletes after Release
}

// Place is where a volume is on the host.
type Place struct {
	Path string
	// Fresh places are filled from an image while they are empty; see Fill.
	Fresh bool

	volume string // the folder of the volume, which is locked
	mark   string // there while it is being filled
	ours   bool   // what is in it came from the image or the task, so that it may be emptied
}

// New returns the store; nothing is made before it is needed.
func New(c Config) *Store {
	return &Store{
		shared: filepath.Join(c.DataDir, "volumes"), mounts: filepath.Join(c.RuntimeDir, "v"),
		systems: c.FileSystems, locks: locker.New(),
	}
}

// Provide makes or mounts the volume for the task, or finds it, and says where it is. It can be called again at any
// time, and must be after a reboot. Errors are in Docker's words where Docker has some.
func (s *Store) Provide(ctx context.Context, t Task, v protocol.Volume) (Place, error) {
	switch v.Type {
	case "", "host":
		if v.Host != nil && v.Host.SourcePath != "" {
			return hostPath(v.Name, v.Host.SourcePath)
		}
		return s.local(filepath.Join(t.Dir, fileName(v.Name)), record{Name: v.Name})
	case "docker":
		if v.Docker == nil {
			return Place{}, fmt.Errorf("volume %q has no docker volume configuration", v.Name)
		}
		return s.docker(ctx, t, v.Name, *v.Docker)
	case "efs":
		if v.EFS == nil {
			return Place{}, fmt.Errorf("volume %q has no EFS volume configuration", v.Name)
		}
		return s.efs(ctx, t, v.Name, *v.EFS)
	}
	return Place{}, fmt.Errorf("volume %q is of the type %q, which this node does not know", v.Name, v.Type)
}

// Anonymous makes the volume that an image declares at a path, for one container. It is a folder below dir, which
// somebody deletes with the container.
func (s *Store) Anonymous(dir, path string) (Place, error) {
	return s.local(filepath.Join(dir, fileName(path)), record{Name: path})
}

// hostPath is a folder of the operator's. What is not there becomes a folder; it can also be a file, or a socket.
func hostPath(name, path string) (Place, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return Place{}, fmt.Errorf("cannot make the folder of volume %q: %w", name, err)
		}
	}
	return Place{Path: path}, nil
}

// local makes a folder of ours.
func (s *Store) local(dir string, rec record) (Place, error) {
	s.locks.Lock(dir)
	defer s.locks.Unlock(dir) //nolint:errcheck // fails only where it is not locked
	return makeLocal(dir, rec)
}

func makeLocal(dir string, rec record) (Place, error) {
	data := filepath.Join(dir, "_data")
	if err := os.MkdirAll(data, 0o755); err != nil {
		return Place{}, fmt.Errorf("cannot make the folder of volume %q: %w", rec.Name, err)
	}
	if err := writeRecord(dir, rec); err != nil {
		return Place{}, fmt.Errorf("cannot record volume %q: %w", rec.Name, err)
	}
	return Place{Path: data, Fresh: true, volume: dir, mark: filepath.Join(dir, "filling"), ours: true}, nil
}

func (s *Store) docker(ctx context.Context, t Task, name string, d protocol.DockerVolume) (Place, error) {
	if d.Driver != "" && d.Driver != "local" {
		return Place{}, fmt.Errorf("create %s: error looking up volume plugin %s: plugin %q not found: this node has the driver local alone",
			name, d.Driver, d.Driver)
	}
	dir, at := filepath.Join(t.Dir, fileName(name)), point(filepath.Join(s.mounts, "t", t.ID, fileName(name)))
	if d.Scope == "shared" {
		dir, at = filepath.Join(s.shared, fileName(name)), point(filepath.Join(s.mounts, "s", fileName(name)))
	}
	s.locks.Lock(dir)
	defer s.locks.Unlock(dir) //nolint:errcheck // fails only where it is not locked
	rec, err := readRecord(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if d.Scope == "shared" && !d.Autoprovision {
			return Place{}, fmt.Errorf("get %s: no such volume", name)
		}
		rec, err = record{Name: name, Options: d.DriverOpts, Labels: d.Labels}, nil
		if len(rec.Options) > 0 { // before a volume that can never be mounted is there
			_, err = rec.mount(ctx)
		}
	}
	if err != nil {
		return Place{}, fmt.Errorf("create %s: %w", name, err)
	}
	// A shared volume is as it was made, whatever another task says of it.
	place, err := makeLocal(dir, rec)
	if err != nil {
		return Place{}, err
	}
	if d.Scope == "shared" {
		if err := markUser(dir, t.ID); err != nil {
			return Place{}, fmt.Errorf("cannot record a user of volume %q: %w", name, err)
		}
	}
	if len(rec.Options) == 0 {
		return place, nil
	}
	target, anew, err := at.ensure(func() (call, error) { return rec.mount(ctx) })
	if err != nil {
		return Place{}, fmt.Errorf("failed to mount local volume: %w", err)
	}
	if anew && rec.inMemory() { // with nothing in it
		if err := ignoreMissing(os.Remove(place.mark)); err != nil {
			return Place{}, err
		}
	}
	place.Path, place.ours = target, rec.inMemory() && d.Scope != "shared"
	if !place.ours && place.half() {
		return Place{}, place.halfError()
	}
	return place, nil
}

// Release gives up what the task has: its mounts, and its share in shared volumes. It is no error if there is nothing.
func (s *Store) Release(t Task) error {
	if err := removePoints(filepath.Join(s.mounts, "t", t.ID)); err != nil {
		return err
	}
	shared, err := readNames(s.shared)
	if err != nil {
		return err
	}
	for _, name := range shared {
		if err := s.releaseShared(name, t.ID); err != nil {
			return fmt.Errorf("cannot give up volume %q: %w", name, err)
		}
	}
	return nil
}

func (s *Store) releaseShared(name, task string) error {
	dir := filepath.Join(s.shared, name)
	s.locks.Lock(dir)
	defer s.locks.Unlock(dir) //nolint:errcheck // fails only where it is not locked
	users, err := readNames(filepath.Join(dir, "users"))
	if err != nil {
		return err
	}
	if len(users) == 1 && users[0] == task {
		if err := point(filepath.Join(s.mounts, "s", name)).remove(); err != nil {
			return err
		}
	}
	return ignoreMissing(os.Remove(filepath.Join(dir, "users", task)))
}

// Leave unmounts everything, for when no container runs. Whoever needs it again is provided with it again.
func (s *Store) Leave() error {
	tasks, err := readNames(filepath.Join(s.mounts, "t"))
	if err != nil {
		return err
	}
	for _, t := range tasks {
		if err := removePoints(filepath.Join(s.mounts, "t", t)); err != nil {
			return err
		}
	}
	if err := removePoints(filepath.Join(s.mounts, "s")); err != nil {
		return err
	}
	return errors.Join(ignoreMissing(os.Remove(filepath.Join(s.mounts, "t"))), ignoreMissing(os.Remove(s.mounts)))
}

// record is what is known of a volume, on disk. It is written once.
type record struct {
	Version int               `json:"version"`
	Name    string            `json:"name"`
	Options map[string]string `json:"options,omitempty"` // of Docker's driver local
	Labels  map[string]string `json:"labels,omitempty"`  // for people and tools
}

const recordVersion = 1

func readRecord(dir string) (record, error) {
	var rec record
	data, err := os.ReadFile(filepath.Join(dir, "volume.json"))
	if err != nil {
		return rec, err
	}
	if err := json.Unmarshal(data, &rec); err != nil {
		return rec, fmt.Errorf("cannot read the record of the volume: %w", err)
	}
	if rec.Version != recordVersion {
		return rec, fmt.Errorf("the record of the volume has format %d, which this Havn does not know", rec.Version)
	}
	return rec, nil
}

// writeRecord writes it whole or not at all, unless the machine itself crashes.
func writeRecord(dir string, rec record) error {
	path := filepath.Join(dir, "volume.json")
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	rec.Version = recordVersion
	data, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func markUser(dir, task string) error {
	users := filepath.Join(dir, "users")
	if err := os.MkdirAll(users, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(users, task), nil, 0o600)
}

func readNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// fileName is the name itself where it can be a file's, as ECS's are, or else stands for it.
func fileName(name string) string {
	ok := name != "" && len(name) <= 200
	for _, c := range []byte(name) {
		ok = ok && ('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_')
	}
	if ok {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])
}

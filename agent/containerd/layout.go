package containerd

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"havn/protocol"
)

// The data folder:
//
//	containerd/                      the engine's root: content, metadata, snapshots
//	containerd.sock                  a link to the engine's socket
//	tasks/TASK/task.json             which task this is, and its containers
//	tasks/TASK/containers/CONTAINER/ hosts, hostname, resolv.conf of a container; started, once it was; its image's volumes
//	tasks/TASK/firelens/             what the task's log router finds: its configuration, and socket/ for its socket
//	tasks/TASK/volumes/VOLUME/       a volume that lives with the task; volumes/VOLUME/ is a shared one: see agent/volume
//	logs/TASK/CONTAINER.log          what a container wrote (.log.1 ... before that): havn/agent/logging/jsonfile
//	logs/TASK/CONTAINER.log-cursor   how far that is shipped

// containerID is the container's ID in the runtime.
func containerID(taskARN, container string) string {
	sum := sha256.Sum256([]byte(taskARN + "\x00" + container))
	return hex.EncodeToString(sum[:])
}

// TaskID is the last part of a task's ARN, which names its folders and cgroup.
func TaskID(arn string) string { return fileName(arn[strings.LastIndexByte(arn, '/')+1:]) }

// LogPath is the newest file of what a container wrote to stdout and stderr.
func LogPath(dataDir, taskARN, container string) string {
	return filepath.Join(dataDir, "logs", TaskID(taskARN), fileName(container)+".log")
}

// fileName makes a name safe to be that of a file. ECS's own names are already.
func fileName(name string) string {
	ok := name != "" && len(name) <= 200 && name[0] != '.'
	for _, c := range []byte(name) {
		ok = ok && ('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.')
	}
	if ok {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])
}

func (r *Runtime) taskDir(arn string) string { return filepath.Join(r.dataDir, "tasks", TaskID(arn)) }

func (r *Runtime) containerDir(arn, container string) string {
	return filepath.Join(r.taskDir(arn), "containers", fileName(container))
}

// taskRecord is what task.json holds. It is written before anything else is made for a task, so that whatever there is
// of a task can be found without the agent's journal.
type taskRecord struct {
	Version    int      `json:"version"`
	ARN        string   `json:"arn"`
	Containers []string `json:"containers"`
}

const taskRecordVersion = 1

func (t taskRecord) containerIDs() []string {
	var ids []string
	for _, name := range t.Containers {
		ids = append(ids, containerID(t.ARN, name))
	}
	return ids
}

func (r *Runtime) recordTask(task *protocol.Task) error {
	rec := taskRecord{Version: taskRecordVersion, ARN: task.ARN}
	if len(task.Containers) == 0 {
		return nil // not more than is recorded
	}
	for _, c := range task.Containers {
		rec.Containers = append(rec.Containers, c.Name)
	}
	data, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	path := filepath.Join(r.taskDir(task.ARN), "task.json")
	if now, err := os.ReadFile(path); err == nil && string(now) == string(data) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return err
	}
	return replaceFile(path, data)
}

// readTaskRecord returns the zero record if there is none that can be read.
func readTaskRecord(dir string) (taskRecord, error) {
	var rec taskRecord
	data, err := os.ReadFile(filepath.Join(dir, "task.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return rec, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &rec)
	}
	if err == nil && rec.Version != taskRecordVersion {
		err = fmt.Errorf("version %d is not known", rec.Version)
	}
	return rec, err
}

// replaceFile writes the file whole or not at all, unless the machine itself crashes. Several may do so at a time.
func replaceFile(path string, data []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = temp.Write(data)
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		os.Remove(temp.Name())
	}
	return err
}

func startedMark(dir string) string { return filepath.Join(dir, "started") }

// startedAt returns the zero time if the container was not started.
func startedAt(dir string) (time.Time, error) {
	info, err := os.Stat(startedMark(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

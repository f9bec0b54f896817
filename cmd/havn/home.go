package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// home is a data folder and what is in it. Everything that a Havn owns on a machine has a name derived
// from the folder's path, so that two Havns with two folders never touch each other.
//
//	havn.lock      held (a file lock) for as long as the server or node runs; its pid
//	identity.json  the region and account of its state, for ever; not there for a node alone
//	server.json    where the running server listens, its pid and region; written when it is ready
//	credentials    the root access key of this Havn, made at first start, mode 0600
//	havn.log       what a detached server says
//	etcd/          the state, unless --etcd names a cluster
//	logstore/      the log events of CloudWatch Logs; not there before the first
//	node/          the agent's journal and the network's notes
//	containerd/    images and containers
//	logs/          what containers print: logs/TASK/CONTAINER.log
type home struct{ dir string }

const defaultDataDir = "/var/lib/havn"

func openHome(dir string) (home, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return home{}, fmt.Errorf("cannot find data folder: %w", err)
	}
	return home{abs}, nil
}

func (h home) path(elem ...string) string {
	return filepath.Join(append([]string{h.dir}, elem...)...)
}

// name is short and as good as unique on a machine: it is in bridge, table and cgroup names.
func (h home) name() string {
	sum := sha256.Sum256([]byte(h.dir))
	return hex.EncodeToString(sum[:4])
}

// runtimeDir is for sockets: a path short enough for a socket's address (108 bytes), gone at reboot.
func (h home) runtimeDir() string { return "/run/havn/" + h.name() }

// errRunning is returned by lock where another process holds the folder.
var errRunning = errors.New("already running")

// lockPatience is how long lock waits. The process that had the folder may have been killed while it started a program:
// until that has begun, it has a copy of the lock.
const lockPatience = time.Second

// waitForLock locks the file, or returns errRunning after lockPatience.
func waitForLock(f *os.File) error {
	end := time.After(lockPatience)
	again := time.NewTicker(lockPatience / 100)
	defer again.Stop()
	for {
		whole := unix.Flock_t{Type: unix.F_WRLCK}
		err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &whole)
		if held := errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES); !held {
			return err
		}
		select {
		case <-again.C:
		case <-end:
			return errRunning
		}
	}
}

// lock makes the folder and holds it until the process ends, however it ends.
func (h home) lock() (*os.File, error) {
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make data folder: %w", err)
	}
	f, err := os.OpenFile(h.path("havn.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open lock: %w", err)
	}
	if err := waitForLock(f); err != nil {
		f.Close()
		if errors.Is(err, errRunning) {
			return nil, err
		}
		return nil, fmt.Errorf("cannot lock %s: %w", h.dir, err)
	}
	if err := f.Truncate(0); err != nil {
		return nil, fmt.Errorf("cannot write lock: %w", err)
	}
	if _, err := fmt.Fprintln(f, os.Getpid()); err != nil {
		return nil, fmt.Errorf("cannot write lock: %w", err)
	}
	return f, nil
}

// holder is the pid of the process that holds the folder.
func (h home) holder() (int, error) {
	content, err := os.ReadFile(h.path("havn.lock"))
	if err != nil {
		return 0, fmt.Errorf("cannot find the running process: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		return 0, fmt.Errorf("cannot find the running process in %s: %w", h.path("havn.lock"), err)
	}
	return pid, nil
}

// running reports whether a process holds the folder now. It asks without taking the lock, so that it
// never stands in the way of a process that starts.
func (h home) running() bool {
	f, err := os.OpenFile(h.path("havn.lock"), os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	whole := unix.Flock_t{Type: unix.F_WRLCK}
	return unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &whole) == nil && whole.Type != unix.F_UNLCK
}

// serverInfo is what other commands need to find the server.
type serverInfo struct {
	PID      int    `json:"pid"`
	Endpoint string `json:"endpoint"`
	Region   string `json:"region"`
	// Rests: it understands restSignal, which would end an older Havn.
	Rests     bool      `json:"rests"`
	Account   string    `json:"account"`
	Version   string    `json:"version"`
	StartedAt time.Time `json:"startedAt"`
	Flags     []string  `json:"flags,omitempty"`
}

func (h home) writeServer(info serverInfo) error { return h.writeJSON("server.json", info) }

// server tells where the server of this folder is. It fails with a hint where none runs.
func (h home) server() (serverInfo, error) {
	var info serverInfo
	if !h.running() {
		return info, fmt.Errorf("no Havn runs with data folder %s; start one with: havn up --detach --data-dir %s", h.dir, h.dir)
	}
	if err := h.readJSON("server.json", &info); err != nil {
		return info, fmt.Errorf("the Havn of %s is still starting, or is a node alone: %w", h.dir, err)
	}
	return info, nil
}

// accessKey is a pair of AWS-shaped credentials.
type accessKey struct {
	AccessKeyID     string `json:"accessKeyId"`
	SecretAccessKey string `json:"secretAccessKey"`
}

// rootKey reads the root access key, and makes it if the folder is new.
func (h home) rootKey() (accessKey, error) {
	var key accessKey
	err := h.readJSON("credentials", &key)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	id, secret := make([]byte, 10), make([]byte, 30)
	rand.Read(id)
	rand.Read(secret)
	key.AccessKeyID = "AKIA" + base32.StdEncoding.EncodeToString(id)
	key.SecretAccessKey = strings.NewReplacer("+", "a", "/", "b").Replace(base64.StdEncoding.EncodeToString(secret))
	return key, h.writeJSON("credentials", key)
}

// cookieKey is what the load balancers seal their cookies of stickiness with, made at the first start: clients stay with
// their targets over a restart.
func (h home) cookieKey() ([]byte, error) {
	var key []byte
	err := h.readJSON("cookie-key", &key)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	key = make([]byte, 32)
	rand.Read(key)
	return key, h.writeJSON("cookie-key", key)
}

// readRootKey reads the root access key of a folder that has one.
func (h home) readRootKey() (accessKey, error) {
	var key accessKey
	if err := h.readJSON("credentials", &key); err != nil {
		return key, fmt.Errorf("cannot read this Havn's credentials (has it been started once?): %w", err)
	}
	return key, nil
}

func (h home) readJSON(name string, v any) error {
	content, err := os.ReadFile(h.path(name))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(content, v); err != nil {
		return fmt.Errorf("cannot read %s: %w", h.path(name), err)
	}
	return nil
}

// writeJSON replaces the file whole or not at all.
func (h home) writeJSON(name string, v any) error {
	content, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(h.dir, name+".*")
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", name, err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(append(content, '\n'))
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), h.path(name))
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", h.path(name), err)
	}
	return nil
}

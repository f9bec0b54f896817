package containerd

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"havn/agent/logging/jsonfile"
	"havn/agent/network"
	"havn/lifecycle"
	"havn/protocol"
)

// binaries is where the shim and runc are, built from this module.
var binaries string

func TestMain(m *testing.M) {
	if order := os.Getenv(childOrder); order != "" {
		obey(order)
	}
	if os.Getuid() != 0 {
		fmt.Println("containers need root: not tested")
		os.Exit(0)
	}
	dir, err := os.MkdirTemp("", "havn-bin-")
	if err != nil {
		panic(err)
	}
	binaries = dir
	for _, args := range [][]string{
		{"build", "-o", filepath.Join(dir, shimName), "havn/cmd/havn-shim"},
		{"build", "-o", filepath.Join(dir, initName), "havn/cmd/havn-init"},
		{"build", "-tags", "seccomp", "-o", filepath.Join(dir, runcName), "github.com/opencontainers/runc"},
	} {
		if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
			fmt.Printf("go %v: %v\n%s", args, err, out)
			os.Exit(1)
		}
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// node is a Runtime with all that it needs, for a test.
type node struct {
	*Runtime
	tb     testing.TB
	config Config
	net    network.Config
	logs   *syncBuffer
}

func newNode(tb testing.TB) *node {
	tb.Helper()
	n := makeNode(tb)
	n.open()
	tb.Cleanup(n.destroy)
	return n
}

// makeNode only chooses names and folders.
func makeNode(tb testing.TB) *node {
	var id [4]byte
	rand.Read(id[:])
	n := &node{tb: tb, logs: new(syncBuffer)}
	n.config = Config{
		DataDir: tb.TempDir(), Name: hex.EncodeToString(id[:]),
		ShimPath: filepath.Join(binaries, shimName), RuncPath: filepath.Join(binaries, runcName), InitPath: filepath.Join(binaries, initName),
		Log: slog.New(slog.NewTextHandler(n.logs, nil)),
	}
	n.config.RuntimeDir = filepath.Join("/run/havn", n.config.Name)
	n.net = network.Config{StateDir: filepath.Join(n.config.RuntimeDir, "n"), Name: n.config.Name, Log: n.config.Log}
	return n
}

func (n *node) open() {
	n.tb.Helper()
	net, err := network.Open(context.Background(), n.net)
	if err != nil {
		n.tb.Fatal(err)
	}
	n.config.Network = net
	if n.Runtime, err = Open(context.Background(), n.config); err != nil {
		n.tb.Fatal(err)
	}
}

func (n *node) close() {
	n.Runtime.Close()
	n.config.Network.Close()
}

func (n *node) destroy() {
	if err := n.Runtime.Destroy(context.Background()); err != nil {
		n.tb.Errorf("cannot destroy: %v", err)
	}
	if err := n.config.Network.Destroy(context.Background()); err != nil {
		n.tb.Errorf("cannot destroy the network: %v", err)
	}
	os.Remove(n.net.StateDir)
	if err := os.Remove(n.config.RuntimeDir); err != nil {
		n.tb.Errorf("something is left under /run: %v", err)
	}
	if n.tb.Failed() {
		n.tb.Logf("log:\n%s", n.logs)
	}
}

// within bounds a test's patience, not what is tested.
func within(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	tb.Cleanup(cancel)
	return ctx
}

func (n *node) do(task *protocol.Task, v lifecycle.Verb, container string) lifecycle.Result {
	return n.Perform(within(n.tb), task, lifecycle.Effect{Verb: v, Container: container, Grace: 10 * time.Second})
}

// must performs an effect that has to succeed.
func (n *node) must(task *protocol.Task, v lifecycle.Verb, container string) lifecycle.Result {
	n.tb.Helper()
	r := n.do(task, v, container)
	if r.Reason != "" || r.Canceled {
		n.tb.Fatalf("%s %s: %s (canceled %v)", v, container, r.Reason, r.Canceled)
	}
	return r
}

// run brings all containers of the task to running.
func (n *node) run(task *protocol.Task) {
	n.tb.Helper()
	n.must(task, lifecycle.Connect, "")
	for _, c := range task.Containers {
		n.must(task, lifecycle.Pull, c.Name)
		n.must(task, lifecycle.Create, c.Name)
		n.must(task, lifecycle.Start, c.Name)
	}
}

// clean removes all that there is of the task.
func (n *node) clean(task *protocol.Task) {
	n.tb.Helper()
	for _, c := range task.Containers {
		n.must(task, lifecycle.Remove, c.Name)
	}
	n.must(task, lifecycle.Disconnect, "")
	n.must(task, lifecycle.Discard, "")
}

// output is what the container wrote.
func (n *node) output(task *protocol.Task, container string) string {
	n.tb.Helper()
	var all strings.Builder
	for r := jsonfile.NewReader(LogPath(n.config.DataDir, task.ARN, container), jsonfile.Position{}); ; {
		line, err := r.Next()
		if errors.Is(err, io.EOF) {
			r.Close()
			return all.String()
		}
		if err != nil {
			n.tb.Fatal(err)
		}
		all.Write(line.Log)
	}
}

var taskNumber int

// oneTask is a task with one container, named c, of the image.
func oneTask(image string, command ...string) *protocol.Task {
	taskNumber++
	return &protocol.Task{
		ARN:         fmt.Sprintf("arn:aws:ecs:us-east-1:000000000000:task/default/%032x", taskNumber),
		NetworkMode: "none",
		Containers:  []protocol.Container{{Name: "c", Image: image, Command: command, Essential: true}},
	}
}

// file is a file of a layer: a folder without content, or a link.
type file struct {
	name, content string
	mode          int64
	link          string
}

func layerOf(tb testing.TB, files ...file) v1.Layer {
	tb.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.content)), Typeflag: tar.TypeReg}
		switch {
		case f.link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, f.link
		case f.content == "":
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			tb.Fatal(err)
		}
		io.WriteString(w, f.content)
	}
	w.Close()
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		tb.Fatal(err)
	}
	return layer
}

// busybox is an image with a shell and its tools, and two users.
func busybox(tb testing.TB, change func(*v1.ConfigFile)) v1.Image {
	tb.Helper()
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		tb.Skip("there is no /bin/busybox to make images of: install busybox-static")
	}
	files := []file{
		{name: "bin/", mode: 0o755}, {name: "tmp/", mode: 0o1777}, {name: "etc/", mode: 0o755},
		{name: "bin/busybox", content: string(program), mode: 0o755},
		{name: "etc/passwd", content: "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/home/web:/bin/sh\n", mode: 0o644},
		{name: "etc/group", content: "root:x:0:\nweb:x:1000:\nstaff:x:50:web\n", mode: 0o644},
		{name: "noexec", content: "not a program\n", mode: 0o644},
		{name: "nonsense", content: "no format\n", mode: 0o755},
	}
	for _, applet := range []string{"sh", "sleep", "cat", "id", "env", "ls", "dd", "hostname", "pwd", "touch", "true", "ping", "tail", "nc"} {
		files = append(files, file{name: "bin/" + applet, link: "busybox"})
	}
	img, err := mutate.AppendLayers(empty.Image, layerOf(tb, files...))
	if err != nil {
		tb.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		tb.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config = v1.Config{Cmd: []string{"sleep", "1000000"}, Env: []string{"PATH=/bin", "FROM=image"}}
	if change != nil {
		change(config)
	}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		tb.Fatal(err)
	}
	return img
}

func archiveOf(tb testing.TB, ref string, img v1.Image) *bytes.Buffer {
	tb.Helper()
	tag, err := name.NewTag(ref)
	if err != nil {
		tb.Fatal(err)
	}
	var b bytes.Buffer
	if err := tarball.Write(tag, img, &b); err != nil {
		tb.Fatal(err)
	}
	return &b
}

// load puts an image on the node, as havn image load does.
func (n *node) load(ref string, img v1.Image) {
	n.tb.Helper()
	if _, err := n.Images().LoadArchive(within(n.tb), archiveOf(n.tb, ref, img)); err != nil {
		n.tb.Fatal(err)
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

package containerd

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"golang.org/x/sys/unix"

	"havn/lifecycle"
	"havn/protocol"
)

// said runs the task's only container to its end and returns what it wrote.
func (n *node) said(task *protocol.Task) string {
	n.tb.Helper()
	n.run(task)
	r := n.must(task, lifecycle.Wait, "c")
	n.must(task, lifecycle.Remove, "c") // whose end waits for the log
	out := n.output(task, "c")
	if r.ExitCode != 0 {
		n.tb.Errorf("exit code %d: %s", r.ExitCode, out)
	}
	n.clean(task)
	return out
}

// refused tries to create the task's only container and returns why that failed.
func (n *node) refused(task *protocol.Task) string {
	n.tb.Helper()
	n.must(task, lifecycle.Connect, "")
	r := n.do(task, lifecycle.Create, "c")
	if r.Reason == "" {
		n.tb.Errorf("it was created")
	}
	n.clean(task)
	return r.Reason
}

// On Nix, and others, /etc is made of links to anywhere, which begin at the image's root. Also the folder is a link, and
// an upper layer hides what is in a lower one.
func TestAccountsBehindLinks(t *testing.T) {
	n := newNode(t)
	n.load("old:latest", busybox(t, nil))
	for _, test := range []struct {
		name, user, want string
		layers           [][]file
	}{
		{"absolute", "nix:wheel", "uid=77(nix) gid=88(wheel)", [][]file{{
			{name: "nix/store/", mode: 0o755},
			{name: "nix/store/passwd", content: "nix:x:77:77::/:/bin/sh\n", mode: 0o644},
			{name: "nix/store/group", content: "wheel:x:88:\n", mode: 0o644},
			{name: "etc/passwd", link: "/nix/store/passwd"}, {name: "etc/group", link: "/nix/store/group"}}}},
		{"too many dots, over two layers", "nix", "uid=77(nix)", [][]file{
			{{name: "nix/", mode: 0o755}, {name: "nix/passwd", content: "nix:x:77:0::/:/bin/sh\n", mode: 0o644}},
			{{name: "etc/passwd", link: "../../../../nix/passwd"}}}},
		{"the folder", "nix", "uid=77(nix)", [][]file{
			{{name: "static/", mode: 0o755}, {name: "static/passwd", content: "nix:x:77:0::/:/bin/sh\n", mode: 0o644},
				{name: "etc", link: "/static"}}}},
		{"nowhere, for a number", "5", "uid=5", [][]file{{{name: "etc/passwd", link: "/nowhere"}, {name: "etc/group", link: "group"}}}},
		{"no folder above", "5:6", "uid=5 gid=6", [][]file{{{name: "etc/passwd", link: "/bin/busybox/passwd"}}}},
		{"removed above", "5", "uid=5", [][]file{{{name: "etc/.wh.passwd", content: "x", mode: 0o644}}}},
	} {
		img := busybox(t, func(c *v1.ConfigFile) { c.Config.User = test.user })
		for _, files := range test.layers {
			var err error
			if img, err = mutate.AppendLayers(img, layerOf(t, files...)); err != nil {
				t.Fatal(err)
			}
		}
		n.load("links:latest", img)
		task := oneTask("links", "id")
		n.must(task, lifecycle.Connect, "")
		if r := n.do(task, lifecycle.Create, "c"); r.Reason != "" {
			t.Errorf("%s: %s", test.name, r.Reason)
			n.clean(task)
			continue
		}
		n.clean(task)
		if out := n.said(oneTask("links", "id")); !strings.Contains(out, test.want) {
			t.Errorf("%s: %q is not in %q", test.name, test.want, out)
		}
	}
	img, err := mutate.AppendLayers(busybox(t, nil), layerOf(t, file{name: "etc/passwd", link: "/etc/group"}, file{name: "etc/group", link: "passwd"}))
	if err != nil {
		t.Fatal(err)
	}
	n.load("circle:latest", img)
	named := oneTask("circle")
	named.Containers[0].DockerConfig = &protocol.DockerConfig{Config: `{"User":"web"}`}
	if why := n.refused(named); !strings.Contains(why, "unable to find user web: ") {
		t.Errorf("a circle: %s", why)
	}
}

func TestAVolumeCanBeAFileOrASocket(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", busybox(t, nil))
	dir := t.TempDir()
	config, missing := filepath.Join(dir, "config"), filepath.Join(dir, "not", "there")
	if err := os.WriteFile(config, []byte("from a file\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	task := oneTask("web", "sh", "-c", "cat /in/config; test -S /run/s && echo a socket; test -d /dir && echo a folder")
	for name, at := range map[string][2]string{"f": {config, "/in/config"}, "s": {l.Addr().String(), "/run/s"}, "d": {missing, "/dir"}} {
		task.Volumes = append(task.Volumes, protocol.Volume{Name: name, Host: &protocol.HostVolume{SourcePath: at[0]}})
		task.Containers[0].MountPoints = append(task.Containers[0].MountPoints, protocol.MountPoint{SourceVolume: name, ContainerPath: at[1]})
	}
	if out := n.said(task); out != "from a file\na socket\na folder\n" {
		t.Errorf("%q", out)
	}
}

func TestMountsDoNotHideEachOther(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", busybox(t, nil))
	dir := t.TempDir()
	task := oneTask("web", "sh", "-c", "ls /a/b /a; ls /etc; cat /etc/hosts /etc/resolv.conf; ls /dev/shm")
	c := &task.Containers[0]
	c.DockerConfig = &protocol.DockerConfig{Config: `{"Hostname":"shop"}`}
	for _, path := range []string{"/a/b/c", "/a/b/", "/dev/shm", "/etc/resolv.conf", "/a", "/etc"} {
		name := strings.Trim(strings.ReplaceAll(path, "/", "-"), "-")
		source := filepath.Join(dir, name)
		if path == "/etc/resolv.conf" {
			os.WriteFile(source, []byte("the user's own\n"), 0o644)
		} else {
			os.Mkdir(source, 0o755)
			os.WriteFile(filepath.Join(source, "is-"+name), nil, 0o644)
		}
		task.Volumes = append(task.Volumes, protocol.Volume{Name: name, Host: &protocol.HostVolume{SourcePath: source}})
		c.MountPoints = append(c.MountPoints, protocol.MountPoint{SourceVolume: name, ContainerPath: path})
	}
	out := n.said(task)
	for _, want := range []string{"is-a\n", "is-a-b\n", "c\n", "is-etc\n", "localhost", "shop", "the user's own\n", "is-dev-shm\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in the output:\n%s", want, out)
		}
	}

	double := oneTask("web")
	double.Volumes = []protocol.Volume{{Name: "v"}}
	double.Containers[0].MountPoints = []protocol.MountPoint{{SourceVolume: "v", ContainerPath: "/v"}, {SourceVolume: "v", ContainerPath: "/v/"}}
	if why, want := n.refused(double), "CannotCreateContainerError: Error response from daemon: Duplicate mount point: /v Cause: two volumes are mounted at \"/v\" (bad-mount)"; why != want {
		t.Errorf("reason %q", why)
	}
}

func TestAnEmptyEntryPointIsNone(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", busybox(t, func(c *v1.ConfigFile) { c.Config.Entrypoint = []string{"/nonexistent"} }))
	task := oneTask("web", "id", "-u")
	task.Containers[0].EntryPoint = &[]string{""}
	if out := n.said(task); out != "0\n" {
		t.Errorf("%q", out)
	}
	task = oneTask("web")
	task.Containers[0].EntryPoint = &[]string{""}
	if why := n.refused(task); !strings.Contains(why, "no command specified") {
		t.Errorf("without a command: %s", why)
	}
}

func TestLabels(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", busybox(t, nil))
	given := map[string]string{
		"shop": "yes", "empty": "", "containerd.io/gc.expire": "2001-01-01T00:00:00Z", "containerd.io/restart.status": "stopped",
		"long": strings.Repeat("x", 100_000), strings.Repeat("k", 5000): "v", labelTask: "of nobody",
	}
	config, err := json.Marshal(protocol.ContainerConfig{Labels: given})
	if err != nil {
		t.Fatal(err)
	}
	task := oneTask("web", "true")
	task.ClusterARN = "arn:aws:ecs:us-east-1:000000000000:cluster/shop"
	task.Containers[0].DockerConfig = &protocol.DockerConfig{Config: string(config)}
	n.run(task)
	record, err := n.containers.Get(within(t), containerID(task.ARN, "c"))
	if err != nil {
		t.Fatal(err)
	}
	kept := make(map[string]string)
	if err := json.Unmarshal(record.Extensions[extensionLabels].GetValue(), &kept); err != nil {
		t.Fatal(err)
	}
	for key, want := range given {
		if got, ok := kept[key]; !ok || got != want {
			t.Errorf("label %.40q: %.40q, %v", key, got, ok)
		}
	}
	for key, want := range map[string]string{"shop": "yes", labelTask: task.ARN, "containerd.io/gc.expire": "", "com.amazonaws.ecs.cluster": "shop"} {
		if got := record.Labels[key]; got != want {
			t.Errorf("containerd's label %s is %q", key, got)
		}
	}
	n.clean(task)

	nameless := oneTask("web")
	nameless.Containers[0].DockerConfig = &protocol.DockerConfig{Config: `{"Labels":{"":"v"}}`}
	if why := n.refused(nameless); !strings.Contains(why, `a label with the value "v" has no name`) {
		t.Errorf("reason %q", why)
	}
}

// Environment values are secrets as often as not.
func TestOthersCannotReadAContainersEnvironment(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", busybox(t, nil))
	secret := "s3cret-" + n.config.Name
	task := oneTask("web")
	task.Containers[0].Environment = map[string]string{"PASSWORD": secret}
	n.run(task)
	defer n.clean(task)
	found := 0
	for _, root := range []string{n.config.RuntimeDir, n.config.DataDir} {
		filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
			if err == nil && strings.Contains(path, "/rootfs/") {
				return filepath.SkipDir
			}
			if err != nil || !info.Mode().IsRegular() {
				return nil
			}
			data, err := os.ReadFile(path)
			if err != nil || !strings.Contains(string(data), secret) {
				return nil
			}
			found++
			cat := exec.Command("cat", path)
			cat.Dir = "/"
			cat.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			if out, err := cat.Output(); err == nil && strings.Contains(string(out), secret) {
				t.Errorf("anybody can read %s", path)
			}
			return nil
		})
	}
	if found == 0 {
		t.Error("the environment was found nowhere: this test looks at the wrong places")
	}
}

func TestHostnamesThatCannotBe(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", busybox(t, nil))
	for _, name := range []string{"a\n10.0.0.1 bank.example", "a b", "a_b", strings.Repeat("x", 64), "a..b"} {
		config, err := json.Marshal(protocol.ContainerConfig{Hostname: name})
		if err != nil {
			t.Fatal(err)
		}
		task := oneTask("web")
		task.Containers[0].DockerConfig = &protocol.DockerConfig{Config: string(config)}
		if why := n.refused(task); !strings.HasPrefix(why, "CannotCreateContainerError: ") || !strings.Contains(why, "hostname") {
			t.Errorf("%q: reason %q", name, why)
		}
	}
}

func TestLoadLeavesRoomOnTheDisk(t *testing.T) {
	small := t.TempDir()
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=96m"); err != nil {
		t.Skipf("cannot make a small disk: %v", err)
	}
	n := makeNode(t)
	n.config.DataDir = filepath.Join(small, "data")
	n.open()
	t.Cleanup(func() {
		n.destroy()
		unix.Unmount(small, unix.MNT_DETACH)
	})
	noise := make([]byte, 40<<20) // which does not compress
	rand.NewChaCha8([32]byte{}).Read(noise)
	big, err := mutate.AppendLayers(busybox(t, nil), layerOf(t, file{name: "noise", content: string(noise), mode: 0o644}))
	if err != nil {
		t.Fatal(err)
	}
	// As another process does it, which does not know the node's folders.
	images, err := Dial(filepath.Join(n.config.DataDir, socketName))
	if err != nil {
		t.Fatal(err)
	}
	defer images.Close()
	_, err = images.LoadArchive(within(t), archiveOf(t, "big:1", big))
	if err == nil || err.Error() != "cannot load the archive: cannot write: no space left on device" {
		t.Errorf("error %v", err)
	}
	if list, err := images.ListImages(within(t)); err != nil || len(list) > 0 {
		t.Errorf("it left images: %v, %v", list, err)
	}
}

// A Create that is cancelled may have begun to make a process. Remove must not look before it is there.
func TestRemoveWaitsForACancelledCreate(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", busybox(t, nil))
	for range 12 {
		task := oneTask("web")
		n.must(task, lifecycle.Connect, "")
		ctx, cancel := context.WithCancel(context.Background())
		created := make(chan lifecycle.Result)
		go func() { created <- n.Perform(ctx, task, lifecycle.Effect{Verb: lifecycle.Create, Container: "c"}) }()
		// Until it holds the container. How far it comes then is up to chance, and each time another moment.
		id := containerID(task.ARN, "c")
		for held := false; !held; {
			n.making.mu.Lock()
			_, held = n.making.busy[id]
			n.making.mu.Unlock()
			select {
			case r := <-created:
				t.Fatalf("it was never seen: %+v", r)
			default:
			}
		}
		for range rand.IntN(400) {
			os.Stat(bundles(n.config.RuntimeDir))
		}
		cancel()
		n.must(task, lifecycle.Remove, "c")
		<-created
		n.clean(task)
	}
	n.noLeaks()
}

// containerd can lose a container that it could not clear away in time. It is ended all the same.
func TestWhatContainerdForgotIsEnded(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", busybox(t, nil))
	task := oneTask("web")
	n.must(task, lifecycle.Connect, "")
	n.must(task, lifecycle.Create, "c")
	id := containerID(task.ARN, "c")
	group := n.cgroups.path(task.ARN, id)
	if pids, err := n.cgroups.processes(group); err != nil || len(pids) != 1 {
		t.Fatalf("processes %v, %v", pids, err)
	}
	sockets, err := filepath.Glob(filepath.Join(shimSockets(n.config.RuntimeDir), "*"))
	if err != nil || len(sockets) != 1 {
		t.Fatalf("sockets %v, %v", sockets, err)
	}
	shim := n.shimOf(task)
	if err := n.endForgotten(task.ARN, id); err != nil {
		t.Fatal(err)
	}
	if pids, err := n.cgroups.processes(group); err != nil || len(pids) > 0 {
		t.Errorf("processes %v, %v", pids, err)
	}
	if left := n.shims(); len(left) > 0 {
		t.Errorf("the shim %d stays", shim)
	}
	n.clean(task)
	n.noLeaks()
}

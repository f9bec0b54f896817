package volume

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"havn/protocol"
)

// world is a Store with its folders, for a test that mounts.
type world struct {
	*Store
	t         *testing.T
	data, run string
}

func newWorld(t *testing.T, systems FileSystems) *world {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounts need root")
	}
	w := &world{t: t, data: t.TempDir(), run: t.TempDir()}
	w.Store = New(Config{DataDir: w.data, RuntimeDir: w.run, FileSystems: systems})
	t.Cleanup(func() {
		if err := w.Leave(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) task(id string) Task {
	return Task{ID: id, Dir: filepath.Join(w.data, "tasks", id, "volumes")}
}

func (w *world) provide(id string, v protocol.Volume) Place {
	w.t.Helper()
	p, err := w.Provide(context.Background(), w.task(id), v)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (w *world) release(id string) {
	w.t.Helper()
	if err := w.Release(w.task(id)); err != nil {
		w.t.Fatal(err)
	}
}

// mounted counts what is mounted in the world.
func (w *world) mounted() int {
	w.t.Helper()
	infos, err := mountinfo.GetMounts(mountinfo.PrefixFilter(w.run))
	if err != nil {
		w.t.Fatal(err)
	}
	return len(infos)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

func docker(name, scope string, autoprovision bool, options ...string) protocol.Volume {
	d := &protocol.DockerVolume{Scope: scope, Autoprovision: autoprovision}
	for _, o := range options {
		name, value, _ := strings.Cut(o, ":")
		if d.DriverOpts == nil {
			d.DriverOpts = map[string]string{}
		}
		d.DriverOpts[name] = value
	}
	return protocol.Volume{Name: name, Type: "docker", Docker: d}
}

func efs(id, root string) protocol.Volume {
	return protocol.Volume{Name: "e", Type: "efs", EFS: &protocol.EFSVolume{FileSystemID: id, RootDirectory: root}}
}

func TestASharedVolumeStays(t *testing.T) {
	w := newWorld(t, nil)
	if _, err := w.Provide(context.Background(), w.task("a"), docker("cache", "shared", false)); err == nil || err.Error() != "get cache: no such volume" {
		t.Errorf("without autoprovision: %v", err)
	}
	v := docker("cache", "shared", true)
	v.Docker.Labels = map[string]string{"team": "shop"}
	p := w.provide("a", v)
	write(t, filepath.Join(p.Path, "f"), "kept")
	if again := w.provide("b", docker("cache", "shared", false, "type:tmpfs", "device:tmpfs")); again.Path != p.Path {
		t.Errorf("another's is at %s", again.Path)
	}
	w.release("a")
	w.release("b")
	if read(filepath.Join(p.Path, "f")) != "kept" {
		t.Error("it is gone")
	}
	if text := read(filepath.Join(w.data, "volumes", "cache", "volume.json")); text != `{"version":1,"name":"cache","labels":{"team":"shop"}}` {
		t.Errorf("the record is %s", text)
	}
}

func TestATmpfsIsSharedUntilItsLastUserGoes(t *testing.T) {
	w := newWorld(t, nil)
	v := docker("fast", "shared", true, "type:tmpfs", "device:tmpfs", "o:size=1m,mode=0700")
	a, b := w.provide("a", v), w.provide("b", v)
	if a != b || w.mounted() != 1 {
		t.Fatalf("%v and %v, %d mounts", a, b, w.mounted())
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(a.Path, &fs); err != nil || fs.Type != unix.TMPFS_MAGIC || int64(fs.Blocks)*fs.Bsize != 1<<20 {
		t.Errorf("%+v, %v", fs, err)
	}
	write(t, filepath.Join(a.Path, "f"), "x")
	w.release("a")
	if read(filepath.Join(b.Path, "f")) != "x" {
		t.Error("the other user lost it")
	}
	w.release("b")
	w.release("b")
	if w.mounted() != 0 {
		t.Error("it is still mounted")
	}
	own := docker("fast", "task", false, "type:tmpfs", "device:tmpfs")
	if a, b := w.provide("a", own), w.provide("b", own); a.Path == b.Path || w.mounted() != 2 {
		t.Errorf("two tasks share %s", a.Path)
	}
}

// What the operator has is not touched: by no release, and not where what he has is mounted anew below.
func TestNothingIsDeletedThroughAMount(t *testing.T) {
	folder := t.TempDir()
	inner := filepath.Join(folder, "inner")
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, FileSystems{"fs-1": {Path: folder}})
	if err := unix.Mount("tmpfs", inner, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(inner, unix.MNT_DETACH)
	// As it is on a machine with systemd: what is unmounted in one place is unmounted in the other.
	if err := unix.Mount("", inner, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(folder, "f"), "outer")
	write(t, filepath.Join(inner, "f"), "inner")
	for _, v := range []protocol.Volume{
		efs("fs-1", "/"),
		docker("e", "task", false, "type:none", "device:"+folder, "o:rbind"),
		docker("e", "shared", true, "type:none", "device:"+folder, "o:rbind,ro"),
	} {
		p := w.provide("a", v)
		if read(filepath.Join(p.Path, "f")) != "outer" || read(filepath.Join(p.Path, "inner", "f")) != "inner" {
			t.Errorf("%+v does not show the folder", v)
		}
		err := os.WriteFile(filepath.Join(p.Path, "new"), nil, 0o600)
		if readOnly := v.Docker != nil && v.Docker.Scope == "shared"; readOnly != (err != nil) {
			t.Errorf("%+v: written, %v", v, err)
		}
		w.release("a")
		if err := os.RemoveAll(w.task("a").Dir); err != nil {
			t.Error(err)
		}
		if read(filepath.Join(folder, "f")) != "outer" || read(filepath.Join(inner, "f")) != "inner" || w.mounted() != 0 {
			t.Errorf("after %+v the folder is not what it was", v)
		}
	}
}

// Whatever a kill leaves, the next Provide makes it whole, once.
func TestWhatAKillLeaves(t *testing.T) {
	folder := t.TempDir()
	v := docker("v", "task", false, "type:none", "device:"+folder, "o:bind,ro")
	for name, leave := range map[string]func(w *world, target string){
		"nothing":                 func(*world, string) {},
		"a folder":                func(_ *world, target string) { os.MkdirAll(target, 0o711) },
		"a mount, not read-only":  func(w *world, target string) { bind(w.t, folder, target) },
		"two mounts":              func(w *world, target string) { bind(w.t, folder, target); bind(w.t, folder, target) },
		"a whole mount":           func(w *world, _ string) { w.provide("a", v) },
		"a mark, after a reboot":  func(w *world, target string) { os.MkdirAll(target, 0o711); point(filepath.Dir(target)).mark() },
		"a mount without a mark":  func(w *world, target string) { w.provide("a", v); os.Remove(point(filepath.Dir(target)).done()) },
		"a task that is given up": func(w *world, _ string) { w.provide("a", v); w.release("a") },
	} {
		w := newWorld(t, nil)
		target := filepath.Join(w.run, "v", "t", "a", "v", "m")
		leave(w, target)
		w.Store = New(Config{DataDir: w.data, RuntimeDir: w.run})
		p := w.provide("a", v)
		if p.Path != target || w.mounted() != 1 || os.WriteFile(filepath.Join(p.Path, "f"), nil, 0o600) == nil {
			t.Errorf("%s: %s, %d mounts, or it can be written", name, p.Path, w.mounted())
		}
		leave(w, target)
		w.release("a")
		if left, _ := readNames(filepath.Join(w.run, "v", "t")); w.mounted() != 0 || len(left) > 0 {
			t.Errorf("%s: %d mounts and %v are left", name, w.mounted(), left)
		}
	}
}

func (p point) mark() { os.WriteFile(p.done(), nil, 0o600) }

func bind(t *testing.T, from, to string) {
	os.MkdirAll(to, 0o711)
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
}

func TestARootDirectoryStaysInside(t *testing.T) {
	folder := t.TempDir()
	os.MkdirAll(filepath.Join(folder, "a", "b"), 0o755)
	os.MkdirAll(filepath.Join(folder, "etc"), 0o755)
	write(t, filepath.Join(folder, "f"), "root")
	write(t, filepath.Join(folder, "a", "b", "f"), "b")
	write(t, filepath.Join(folder, "etc", "f"), "ours")
	os.Symlink("/etc", filepath.Join(folder, "link"))
	os.Symlink("../../../../..", filepath.Join(folder, "a", "up"))
	w := newWorld(t, FileSystems{"fs-1": {Path: folder}, "fsap-2": {Path: filepath.Join(folder, "a", "b")}})
	for root, want := range map[string]string{
		"": "root", "/": "root", "/a/b": "b", "a/b/": "b", "/..": "root", "/a/../../..": "root",
		"/link": "ours", "/a/up": "root", "/a/up/etc": "ours",
	} {
		if p := w.provide("a", efs("fs-1", root)); read(filepath.Join(p.Path, "f")) != want {
			t.Errorf("%s leads to %q", root, read(filepath.Join(p.Path, "f")))
		}
		w.release("a")
	}
	point := efs("fs-1", "/")
	point.EFS.TransitEncryption = "ENABLED" // nothing goes over a network
	point.EFS.AuthorizationConfig = &protocol.EFSAuthorization{AccessPointID: "fsap-2"}
	if p := w.provide("a", point); read(filepath.Join(p.Path, "f")) != "b" {
		t.Error("the access point is not what the operator says")
	}
	w.release("a")
	for root, want := range map[string]string{"/none": "cannot find the root directory /none", "/f": "not a directory"} {
		if _, err := w.Provide(context.Background(), w.task("a"), efs("fs-1", root)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", root, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t, FileSystems{"fs-2": {Host: "nas", Path: "/x"}})
	encrypted, iam, point, driver := efs("fs-2", "/"), efs("fs-2", "/"), efs("fs-2", "/"), docker("v", "task", false)
	encrypted.EFS.TransitEncryption = "ENABLED"
	iam.EFS.AuthorizationConfig = &protocol.EFSAuthorization{IAM: "ENABLED"}
	point.EFS.AuthorizationConfig = &protocol.EFSAuthorization{AccessPointID: "fsap-3"}
	driver.Docker.Driver = "rexray/ebs"
	for _, test := range []struct {
		volume protocol.Volume
		want   string
	}{
		{efs("fs-1", "/"), "start its Havn with --efs fs-1=HOST:/EXPORT or --efs fs-1=/FOLDER"},
		{point, "--efs fsap-3="},
		{encrypted, "--efs fs-2=nas:/x,xprtsec=tls"},
		{iam, "IAM authorization, which NFS does not have"},
		{driver, `create v: error looking up volume plugin rexray/ebs: plugin "rexray/ebs" not found`},
		{docker("v", "task", false, "device:/x"), `missing required option: "type"`},
		{docker("v", "task", false, "type:none", "o:bind"), `missing required option: "device"`},
		{docker("v", "shared", true, "colour:red"), `invalid option: "colour"`},
		{docker("v", "task", false, "size:1g"), "quota size requested but no quota support"},
		{docker("v", "task", false, "type:none", "device:/nonexistent", "o:bind"), "failed to mount local volume: mount /nonexistent:"},
		{docker("w", "task", false, "type:nonsense", "device:x", "o:username=u,password=secret"),
			"type: nonsense, data: username=u,password=********: no such device"},
		{protocol.Volume{Name: "v", Type: "ebs"}, `of the type "ebs", which this node does not know`},
	} {
		if _, err := w.Provide(context.Background(), w.task("a"), test.volume); err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v; want %q", err, test.want)
		}
	}
	w.release("a")
	if left, _ := readNames(filepath.Join(w.data, "volumes")); len(left) > 0 || w.mounted() > 0 {
		t.Errorf("left: %v", left)
	}
}

// There is no NFS server here, and perhaps no client in the kernel; what mount(2) would be given is looked at instead.
func TestWhatNFSIsMountedWith(t *testing.T) {
	for text, want := range map[string]string{
		"fs-1=nas:/vol": "nas:/vol/a vers=4.1,rsize=1048576,wsize=1048576,hard,timeo=600,retrans=2,noresvport,addr=10.0.0.9",
		"fs-1=[fd00::1]:/,nfsvers=3,soft,nolock,_netdev": "[fd00::1]:/a rsize=1048576,wsize=1048576,timeo=600,retrans=2,noresvport,nfsvers=3,soft,nolock,addr=10.0.0.9",
	} {
		_, e, err := ParseFileSystem(text)
		if err != nil {
			t.Fatal(err)
		}
		m := e.nfs("10.0.0.9", "/a")
		if got := m.Source + " " + strings.Join(m.Options, ","); m.Type != "nfs" || got != want {
			t.Errorf("%s:\n%s\nwant\n%s", text, got, want)
		}
	}
	lookUp := func(_ context.Context, host string) (string, error) {
		if host != "nas.lan" {
			return "", fmt.Errorf("unknown host %s", host)
		}
		return "10.0.0.9", nil
	}
	c, err := mountOf(context.Background(), map[string]string{"type": "nfs", "device": ":/vol", "o": "addr=nas.lan,rw,nfsvers=4"}, lookUp)
	if err != nil || c.mount.Source != ":/vol" || !slices.Equal(c.mount.Options, []string{"addr=10.0.0.9", "rw", "nfsvers=4"}) {
		t.Errorf("%+v, %v", c.mount, err)
	}
	if _, err := mountOf(context.Background(), map[string]string{"type": "nfs", "device": ":/vol", "o": "addr=no"}, lookUp); err == nil {
		t.Error("an address that there is not")
	}
}

func TestAServerThatDoesNotAnswerIsNamed(t *testing.T) {
	w := newWorld(t, FileSystems{"fs-1": {Host: "127.0.0.1", Path: "/", Options: []string{"port=1"}}})
	_, err := w.Provide(context.Background(), w.task("a"), efs("fs-1", "/"))
	if err == nil || !strings.Contains(err.Error(), "cannot mount what stands for fs-1: the NFS server does not answer: dial tcp 127.0.0.1:1: connect: connection refused") {
		t.Errorf("%v", err)
	}
}

func TestParseFileSystem(t *testing.T) {
	for _, text := range []string{"", "fs-1", "fs-1=", "fs-1=nas", "fs-1=:/x", "vol-1=/x", "fs-=/x", "/x", "fs-1=nas:x"} {
		if _, e, err := ParseFileSystem(text); err == nil {
			t.Errorf("%q was taken: %+v", text, e)
		}
	}
	if err := (FileSystems{"fs-1": {Path: "/nonexistent"}}).Check(); err == nil || !strings.Contains(err.Error(), "fs-1") {
		t.Errorf("%v", err)
	}
}

func FuzzParseFileSystem(f *testing.F) {
	f.Add("fs-1=nas:/vol,ro")
	f.Add("fsap-1=/srv/..")
	f.Fuzz(func(t *testing.T, text string) {
		id, e, err := ParseFileSystem(text)
		if err == nil && (!fileSystemID.MatchString(id) || !filepath.IsAbs(e.Path) || strings.Contains(e.Path, "/../") || slices.Contains(e.Options, "")) {
			t.Fatalf("%q: %q %+v", text, id, e)
		}
	})
}

func TestFill(t *testing.T) {
	w := newWorld(t, nil)
	from := t.TempDir()
	os.Mkdir(filepath.Join(from, "sub"), 0o750)
	write(t, filepath.Join(from, "sub", "f"), "from the image")
	os.Symlink("sub/f", filepath.Join(from, "link"))
	os.Chmod(from, 0o777|os.ModeSticky)
	os.Chown(from, 7, 8)
	local := protocol.Volume{Name: "v"}
	fill := func(p Place) {
		t.Helper()
		if err := w.Fill(p, from); err != nil {
			t.Fatal(err)
		}
	}
	p := w.provide("a", local)
	fill(p)
	var st unix.Stat_t
	if err := unix.Stat(p.Path, &st); err != nil || st.Mode&0o7777 != 0o1777 || st.Uid != 7 || st.Gid != 8 {
		t.Errorf("%o %d:%d, %v", st.Mode, st.Uid, st.Gid, err)
	}
	if read(filepath.Join(p.Path, "link")) != "from the image" {
		t.Error("it was not filled")
	}
	os.Remove(filepath.Join(p.Path, "link"))
	fill(w.provide("a", local))
	if _, err := os.Lstat(filepath.Join(p.Path, "link")); err == nil {
		t.Error("it was filled again")
	}
	// As a kill leaves it.
	write(t, filepath.Join(w.task("a").Dir, "v", "filling"), "")
	fill(w.provide("a", local))
	if read(filepath.Join(p.Path, "link")) != "from the image" {
		t.Error("what was filled by half stayed so")
	}
	host := t.TempDir()
	fill(w.provide("a", protocol.Volume{Name: "h", Host: &protocol.HostVolume{SourcePath: host}}))
	if names, _ := readNames(host); len(names) > 0 {
		t.Errorf("a folder of the host was filled: %v", names)
	}
	tmpfs := w.provide("a", docker("t", "task", false, "type:tmpfs", "device:tmpfs"))
	fill(tmpfs)
	if read(filepath.Join(tmpfs.Path, "sub", "f")) != "from the image" {
		t.Error("a docker volume with options was not filled")
	}
	if err := w.Fill(w.provide("b", local), filepath.Join(from, "none")); err != nil {
		t.Error(err)
	}
}

// A kill while a volume with options is being filled leaves some of the files, and the mark.
func TestNobodyRunsOnAMountedVolumeThatIsFilledByHalf(t *testing.T) {
	from := t.TempDir()
	for _, name := range []string{"1", "2", "3"} {
		write(t, filepath.Join(from, name), "from the image")
	}
	host := t.TempDir()
	for _, test := range []struct {
		name   string
		volume protocol.Volume
		mark   string // where it is, below the data folder
		anew   bool   // and not refused
	}{
		{"a task's tmpfs", docker("v", "task", false, "type:tmpfs", "device:tmpfs"), "tasks/a/volumes/v/filling", true},
		{"a folder of the host", docker("v", "task", false, "type:none", "o:bind", "device:"+host), "tasks/a/volumes/v/filling", false},
		{"a folder of the host that is called a tmpfs", docker("v", "task", false, "type:tmpfs", "o:rw,bind", "device:"+host), "tasks/a/volumes/v/filling", false},
		{"a tmpfs of several tasks", docker("v", "shared", true, "type:tmpfs", "device:tmpfs"), "volumes/v/filling", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, nil)
			p := w.provide("a", test.volume)
			if p.mark != filepath.Join(w.data, test.mark) {
				t.Fatalf("the mark is %s", p.mark)
			}
			write(t, filepath.Join(p.Path, "1"), "a part")
			write(t, p.mark, "")
			other := p
			w.Store = New(Config{DataDir: w.data, RuntimeDir: w.run}) // another process
			p, err := w.Provide(context.Background(), w.task("a"), test.volume)
			if !test.anew {
				if err == nil || !strings.Contains(err.Error(), "filled from the image by half") || !strings.Contains(err.Error(), other.mark) {
					t.Errorf("it was provided: %v", err)
				}
				if err := w.Fill(other, from); err == nil || read(filepath.Join(other.Path, "1")) != "a part" {
					t.Errorf("it was filled: %v", err)
				}
				os.Remove(filepath.Join(other.Path, "1"))
				os.Remove(other.mark)
				p, err = w.Provide(context.Background(), w.task("a"), test.volume)
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Fill(p, from); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"1", "2", "3"} {
				if text := read(filepath.Join(p.Path, name)); text != "from the image" {
					t.Errorf("%s: %s", name, text)
				}
			}
			if _, err := os.Stat(filepath.Join(w.data, test.mark)); err == nil {
				t.Error("it is still marked")
			}
			for _, name := range []string{"1", "2", "3"} {
				os.Remove(filepath.Join(host, name))
			}
		})
	}
}

// After a reboot a tmpfs is empty, whoever had it.
func TestATmpfsThatIsMountedAnewIsNotFilledByHalf(t *testing.T) {
	w := newWorld(t, nil)
	v := docker("v", "shared", true, "type:tmpfs", "device:tmpfs")
	p := w.provide("a", v)
	write(t, p.mark, "")
	if err := w.Leave(); err != nil {
		t.Fatal(err)
	}
	from := t.TempDir()
	write(t, filepath.Join(from, "1"), "from the image")
	p = w.provide("a", v)
	if err := w.Fill(p, from); err != nil || read(filepath.Join(p.Path, "1")) != "from the image" {
		t.Errorf("%v", err)
	}
	w.provide("a", v)
}

package containerd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"havn/agent/bucket"
	"havn/agent/volume"
	"havn/lifecycle"
	"havn/protocol"
)

// newNodeWith is a node that its operator has told of file systems and buckets.
func newNodeWith(t *testing.T, systems volume.FileSystems, buckets bucket.Folders) *node {
	n := makeNode(t)
	n.config.FileSystems, n.config.Buckets = systems, buckets
	n.open()
	t.Cleanup(n.destroy)
	return n
}

// declaring is an image with files in /data, as which it declares a volume, and another volume at /empty.
func declaring(t *testing.T) v1.Image {
	img, err := mutate.AppendLayers(busybox(t, func(c *v1.ConfigFile) {
		c.Config.Volumes = map[string]struct{}{"/data": {}, "/empty/": {}}
	}), layerOf(t, file{name: "data/", mode: 0o750}, file{name: "data/f", content: "image\n", mode: 0o640}))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func dockerVolume(name, scope string, options map[string]string) protocol.Volume {
	return protocol.Volume{Name: name, Type: "docker", Docker: &protocol.DockerVolume{Scope: scope, Autoprovision: scope == "shared", DriverOpts: options}}
}

func mountAt(path string) protocol.MountPoint {
	return protocol.MountPoint{SourceVolume: "v", ContainerPath: path}
}

// What a container sees in a volume, of each kind, and what the host has of it when the task is gone.
func TestVolumes(t *testing.T) {
	folder, exported := t.TempDir(), t.TempDir()
	for dir, text := range map[string]string{folder: "folder\n", exported: "exported\n"} {
		if err := os.WriteFile(filepath.Join(dir, "f"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	n := newNodeWith(t, volume.FileSystems{"fs-1": {Path: exported}}, nil)
	n.load("web:latest", declaring(t))
	bound := map[string]string{"type": "none", "device": folder, "o": "bind"}
	const show = "cat /data/f; ls /empty; echo mine >/data/g && cat /data/g"
	for _, test := range []struct {
		name    string
		volume  protocol.Volume
		at      protocol.MountPoint
		command string
		want    string
		left    string // a file of the host, and what is in it afterwards
		content string
	}{
		{"the image's own", protocol.Volume{Name: "v"}, mountAt("/elsewhere"), show, "image\nmine\n", "", ""},
		{"a folder of the task's", protocol.Volume{Name: "v"}, mountAt("/data"), show, "image\nmine\n", "", ""},
		{"a folder of the host", protocol.Volume{Name: "v", Host: &protocol.HostVolume{SourcePath: folder}}, mountAt("/data"),
			show, "folder\nmine\n", filepath.Join(folder, "g"), "mine\n"},
		{"task", dockerVolume("v", "task", nil), mountAt("/data"), show, "image\nmine\n", "", ""},
		{"shared", dockerVolume("v", "shared", nil), mountAt("/data"), show, "image\nmine\n",
			filepath.Join(n.config.DataDir, "volumes", "v", "_data", "g"), "mine\n"},
		{"shared, again", dockerVolume("v", "shared", nil), mountAt("/data"), "cat /data/f /data/g", "image\nmine\n", "", ""},
		{"tmpfs", dockerVolume("v", "task", map[string]string{"type": "tmpfs", "device": "tmpfs", "o": "size=65536"}), mountAt("/data"),
			show + "; dd if=/dev/zero of=/data/h bs=1000000 count=1 2>/dev/null || echo full", "image\nmine\nfull\n", "", ""},
		{"bind", dockerVolume("v", "task", bound), mountAt("/data"), show, "folder\nmine\n", filepath.Join(folder, "f"), "folder\n"},
		{"read-only", dockerVolume("v", "task", bound), protocol.MountPoint{SourceVolume: "v", ContainerPath: "/data", ReadOnly: true},
			"cat /data/f; touch /data/no 2>/dev/null || echo refused", "folder\nrefused\n", filepath.Join(folder, "f"), "folder\n"},
		{"efs", protocol.Volume{Name: "v", Type: "efs", EFS: &protocol.EFSVolume{FileSystemID: "fs-1", RootDirectory: "/"}}, mountAt("/data"),
			show, "exported\nmine\n", filepath.Join(exported, "g"), "mine\n"},
	} {
		task := oneTask("web", "sh", "-c", test.command)
		task.Volumes = []protocol.Volume{test.volume}
		task.Containers[0].MountPoints = []protocol.MountPoint{test.at}
		if out := n.said(task); out != test.want {
			t.Errorf("%s: %q", test.name, out)
		}
		if data, err := os.ReadFile(test.left); test.left != "" && (err != nil || string(data) != test.content) {
			t.Errorf("%s: %s is %q, %v", test.name, test.left, data, err)
		}
	}
	n.noLeaks()
}

// A kill while a tmpfs or a bound folder is being filled leaves a part of the files, and the mark.
func TestNoContainerRunsOnAVolumeThatIsFilledByHalf(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", declaring(t))
	half := func(options map[string]string) *protocol.Task {
		t.Helper()
		task := oneTask("web", "sh", "-c", "cat /data/f; cat /data/part 2>/dev/null || echo no part")
		task.Volumes = []protocol.Volume{dockerVolume("v", "task", options)}
		task.Containers[0].MountPoints = []protocol.MountPoint{mountAt("/data")}
		n.must(task, lifecycle.Connect, "")
		place, err := n.provide(within(t), task, task.Volumes[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{filepath.Join(place.Path, "part"), filepath.Join(n.taskDir(task.ARN), "volumes", "v", "filling")} {
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		n.close()
		n.open()
		return task
	}
	if out := n.said(half(map[string]string{"type": "tmpfs", "device": "tmpfs"})); out != "image\nno part\n" {
		t.Errorf("on a tmpfs: %q", out)
	}
	folder := t.TempDir()
	task := half(map[string]string{"type": "none", "device": folder, "o": "bind"})
	if r := n.do(task, lifecycle.Connect, ""); !strings.HasPrefix(r.Reason, "CannotCreateVolumeError: Error response from daemon: the volume was filled from the image by half") {
		t.Errorf("on a folder of the host: %+v", r)
	}
	n.clean(task)
	n.noLeaks()
}

func TestAVolumeThatCannotBeIsTheTasksReason(t *testing.T) {
	n := newNode(t)
	missing, driver := dockerVolume("v", "shared", nil), dockerVolume("v", "task", nil)
	missing.Docker.Autoprovision, driver.Docker.Driver = false, "rexray"
	for _, test := range []struct {
		volume protocol.Volume
		want   string
	}{
		{missing, "CannotCreateVolumeError: Error response from daemon: get v: no such volume"},
		{driver, "CannotCreateVolumeError: Error response from daemon: create v: error looking up volume plugin rexray:"},
		{protocol.Volume{Name: "v", Type: "efs", EFS: &protocol.EFSVolume{FileSystemID: "fs-9"}},
			`ResourceInitializationError: failed to invoke EFS utils commands to set up EFS volumes: stderr: Failed to resolve "fs-9"`},
	} {
		task := oneTask("web")
		task.Volumes = []protocol.Volume{test.volume}
		if r := n.do(task, lifecycle.Connect, ""); !strings.HasPrefix(r.Reason, test.want) {
			t.Errorf("%q; want %q", r.Reason, test.want)
		}
		n.clean(task)
	}
	n.noLeaks()
}

func TestVolumesFrom(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", declaring(t))
	task := oneTask("web", "sh", "-c", "trap 'exit 0' TERM; echo from first >/data/g; echo again >/own/g; sleep 1000000 & wait")
	task.Volumes = []protocol.Volume{{Name: "v"}, {Name: "w"}, {Name: "x"}}
	task.Containers[0].MountPoints = []protocol.MountPoint{mountAt("/own"), {SourceVolume: "w", ContainerPath: "/both"}}
	task.Containers = append(task.Containers,
		protocol.Container{Name: "d", Image: "web", Command: []string{"sh", "-c",
			"echo from d >/both/g; until test -s /own/g; do :; done; cat /data/g /own/g; touch /own/no 2>/dev/null || echo refused"},
			MountPoints: []protocol.MountPoint{{SourceVolume: "x", ContainerPath: "/both"}},
			VolumesFrom: []protocol.VolumeFrom{{SourceContainer: "c", ReadOnly: true}}},
		protocol.Container{Name: "e", Image: "web", Command: []string{"sh", "-c", "test -e /both/g || echo not mine; cat /data/f; echo >/data/h && echo written"},
			VolumesFrom: []protocol.VolumeFrom{{SourceContainer: "d"}, {SourceContainer: "c"}}})
	n.run(task)
	n.must(task, lifecycle.Wait, "d")
	n.must(task, lifecycle.Wait, "e")
	if out := n.output(task, "d"); out != "from first\nagain\nrefused\n" {
		t.Errorf("d: %q", out)
	}
	// The last source counts: /both is c's, where d has not written.
	if out := n.output(task, "e"); out != "not mine\nimage\nwritten\n" {
		t.Errorf("e: %q", out)
	}
	n.must(task, lifecycle.Stop, "c")
	n.must(task, lifecycle.Wait, "c")
	n.clean(task)

	circle := oneTask("web")
	circle.Containers[0].VolumesFrom = []protocol.VolumeFrom{{SourceContainer: "d"}}
	circle.Containers = append(circle.Containers, protocol.Container{Name: "d", Image: "web", VolumesFrom: []protocol.VolumeFrom{{SourceContainer: "c"}}})
	if why := n.refused(circle); !strings.Contains(why, "cannot take over the volumes") {
		t.Errorf("a circle: %s", why)
	}
	n.noLeaks()
}

// A volume's mount is made once, whoever is killed in between, and is gone with the task.
func TestMountsSurviveAKill(t *testing.T) {
	folder := t.TempDir()
	n := makeNode(t)
	n.config.FileSystems = volume.FileSystems{"fs-1": {Path: folder}}
	n.open()
	n.load("web:latest", busybox(t, nil))
	n.close()
	task, _, ready := counted(t, "echo mine >/v/f; echo mine >/e/g; "+obedient)
	task.Volumes = append(task.Volumes, dockerVolume("v", "task", map[string]string{"type": "tmpfs", "device": "tmpfs"}),
		dockerVolume("e", "shared", map[string]string{"type": "none", "device": folder, "o": "bind"}))
	c := &task.Containers[0]
	c.MountPoints = append(c.MountPoints, mountAt("/v"), protocol.MountPoint{SourceVolume: "e", ContainerPath: "/e"})
	for _, verb := range []lifecycle.Verb{lifecycle.Connect, lifecycle.Create, lifecycle.Start} {
		n.killed(task, toRunning, after(verb))
	}
	mounts := filepath.Join(n.config.RuntimeDir, "v")
	if got := mountsBelow(mounts); len(got) != 2 {
		t.Errorf("mounted: %v", got)
	}
	n.open()
	t.Cleanup(n.destroy)
	ready()
	if data, err := os.ReadFile(filepath.Join(mounts, "t", TaskID(task.ARN), "v", "m", "f")); string(data) != "mine\n" {
		t.Errorf("the tmpfs has %q, %v", data, err)
	}
	n.must(task, lifecycle.Stop, "c")
	n.must(task, lifecycle.Wait, "c")
	n.close()
	n.killed(task, []lifecycle.Verb{lifecycle.Remove, lifecycle.Disconnect, lifecycle.Discard}, after(lifecycle.Disconnect))
	n.open()
	if arns, err := n.Tasks(within(t)); err != nil || len(arns) > 1 {
		t.Errorf("tasks: %v, %v", arns, err)
	}
	n.clean(task)
	n.noLeaks()
	if data, err := os.ReadFile(filepath.Join(folder, "g")); string(data) != "mine\n" {
		t.Errorf("the operator's folder has %q, %v", data, err)
	}
}

func TestEnvironmentFiles(t *testing.T) {
	folder := t.TempDir()
	for name, text := range map[string]string{
		"first.env": "# first\nFROM=first\nONE=1 and more\nTASK=file\n", "second.env": "ONE=2\nTWO=\"2\"\n", "broken.env": "A=\x00\n",
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n := newNodeWith(t, nil, bucket.Folders{"shop": folder})
	n.load("web:latest", busybox(t, nil))
	with := func(arns ...string) *protocol.Task {
		task := oneTask("web", "sh", "-c", "echo $FROM, $ONE, $TWO, $TASK")
		task.Containers[0].Environment = map[string]string{"TASK": "task"}
		for _, arn := range arns {
			task.Containers[0].EnvironmentFiles = append(task.Containers[0].EnvironmentFiles, protocol.EnvironmentFile{Value: arn, Type: "s3"})
		}
		return task
	}
	for _, test := range []struct{ order, want string }{
		{"", "image, , , task\n"},
		{"first second", "first, 1 and more, \"2\", task\n"},
		{"second first", "first, 2, \"2\", task\n"},
	} {
		var arns []string
		for _, name := range strings.Fields(test.order) {
			arns = append(arns, fmt.Sprintf("arn:aws:s3:::shop/%s.env", name))
		}
		if out := n.said(with(arns...)); out != test.want {
			t.Errorf("%s: %q", test.order, out)
		}
	}
	for arn, want := range map[string]string{
		"arn:aws:s3:::shop/third.env":   "cannot read third.env from bucket shop: ",
		"arn:aws:s3:::shop/broken.env":  "cannot use arn:aws:s3:::shop/broken.env: line 1 contains a NUL",
		"arn:aws:s3:::other/first.env":  "no folder stands for the bucket other on this node; start its Havn with --bucket other=/FOLDER",
		"arn:aws:s3:::shop/../some.env": "leads out of the bucket shop",
	} {
		task := with(arn)
		r := n.do(task, lifecycle.Connect, "")
		if !strings.HasPrefix(r.Reason, "ResourceInitializationError: failed to download env files: ") || !strings.Contains(r.Reason, want) {
			t.Errorf("%s: %q", arn, r.Reason)
		}
		n.clean(task)
	}
}

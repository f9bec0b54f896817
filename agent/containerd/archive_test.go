package containerd

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"havn/lifecycle"
)

// ociArchive is a tar of an OCI image layout.
func ociArchive(t *testing.T, ref string, img v1.Image) *bytes.Buffer {
	t.Helper()
	dir := t.TempDir()
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := path.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": ref})); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	w.Close()
	return &b
}

func zipped(b *bytes.Buffer) *bytes.Buffer {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write(b.Bytes())
	w.Close()
	return &z
}

func TestLoadAnArchive(t *testing.T) {
	n := newNode(t)
	// As another process does it.
	images, err := Dial(filepath.Join(n.config.DataDir, socketName))
	if err != nil {
		t.Fatal(err)
	}
	defer images.Close()
	for name, archive := range map[string]*bytes.Buffer{
		"docker":         archiveOf(t, "docker:1", busybox(t, nil)),
		"docker, zipped": zipped(archiveOf(t, "zipped:1", busybox(t, nil))),
		"oci":            ociArchive(t, "shop.example.com/oci:1", busybox(t, nil)),
		"oci, zipped":    zipped(ociArchive(t, "docker.io/library/ocizipped:1", busybox(t, nil))),
	} {
		loaded, err := images.LoadArchive(within(t), archive)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(loaded) != 1 || !strings.HasPrefix(loaded[0].Digest, "sha256:") || loaded[0].Size == 0 || !loaded[0].Loaded {
			t.Errorf("%s: %+v", name, loaded)
			continue
		}
		task := oneTask(loaded[0].Name, "true")
		n.run(task)
		if r := n.must(task, lifecycle.Wait, "c"); r.ExitCode != 0 {
			t.Errorf("%s: exit code %d", name, r.ExitCode)
		}
		n.clean(task)
	}
	list, err := images.ListImages(within(t))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, img := range list {
		names = append(names, img.Name)
	}
	if got, want := strings.Join(names, " "), "docker:1 ocizipped:1 shop.example.com/oci:1 zipped:1"; got != want {
		t.Errorf("images: %s; want %s", got, want)
	}
}

func TestABrokenArchiveChangesNothing(t *testing.T) {
	n := newNode(t)
	good := archiveOf(t, "web:1", busybox(t, nil)).Bytes()
	// without drops a file from an archive.
	without := func(drop func(name string) bool) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		r := tar.NewReader(bytes.NewReader(good))
		for {
			h, err := r.Next()
			if err != nil {
				break
			}
			if !drop(h.Name) {
				w.WriteHeader(h)
				io.Copy(w, r)
			}
		}
		w.Close()
		return b.Bytes()
	}
	foreign := archiveOf(t, "web:1", busybox(t, func(c *v1.ConfigFile) { c.Architecture = "s390x" })).Bytes()
	for name, data := range map[string][]byte{
		"empty":            {},
		"no archive":       []byte("hello"),
		"cut off":          good[:len(good)/2],
		"cut off, zipped":  zipped(bytes.NewBuffer(good)).Bytes()[:1000],
		"no layer":         without(func(name string) bool { return strings.HasSuffix(name, ".tar.gz") }),
		"no manifest":      without(func(name string) bool { return name == "manifest.json" }),
		"of another world": ociArchive(t, "latest", busybox(t, nil)).Bytes(),
		"another platform": foreign,
	} {
		if loaded, err := n.Images().LoadArchive(within(t), bytes.NewReader(data)); err == nil {
			t.Errorf("%s: loaded %+v", name, loaded)
		} else {
			t.Logf("%s: %v", name, err)
		}
		if list, err := n.Images().ListImages(within(t)); err != nil || len(list) > 0 {
			t.Errorf("%s: it left %v, %v", name, list, err)
		}
	}
}

// An archive that was cut off must not spoil the whole one that follows.
func TestLoadAfterABrokenArchive(t *testing.T) {
	n := newNode(t)
	good := archiveOf(t, "web:1", busybox(t, nil)).Bytes()
	if _, err := n.Images().LoadArchive(within(t), bytes.NewReader(good[:len(good)/2])); err == nil {
		t.Error("half an archive was loaded")
	}
	if _, err := n.Images().LoadArchive(within(t), bytes.NewReader(good)); err != nil {
		t.Error(err)
	}
}

func TestDialSaysThatNobodyIsThere(t *testing.T) {
	if _, err := Dial(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "cannot find a running Havn's containerd") {
		t.Errorf("%v", err)
	}
}

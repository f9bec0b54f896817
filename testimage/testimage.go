// Package testimage makes container images on the spot, from files of this machine, without a registry
// or a Dockerfile: for the example, the tests and the benchmarks.
package testimage

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Spec says what is in an image.
type Spec struct {
	// Files maps a path in the image to a file of this machine; each is executable.
	Files map[string]string
	// Links maps a path in the image to the target of a symbolic link.
	Links map[string]string
	// Config is what a Dockerfile would set: Entrypoint, Cmd, Env, User, ExposedPorts ...
	Config v1.Config
}

// Busybox is an image of Debian's busybox-static with every applet linked in /bin, so that tests have a
// shell. Command becomes its Cmd.
func Busybox(command ...string) Spec {
	s := Spec{
		Files:  map[string]string{"/bin/busybox": "/bin/busybox"},
		Links:  map[string]string{},
		Config: v1.Config{Env: []string{"PATH=/bin"}, Cmd: command},
	}
	for _, applet := range strings.Fields("sh sleep true false cat echo ls id env nc httpd wget kill trap hostname mount df dd head tail yes ps ip ping touch mkdir rm grep test [ pwd stat seq sync tee awk sed date") {
		s.Links["/bin/"+applet] = "busybox"
	}
	return s
}

// Image makes the image. The same spec gives the same digest.
func Image(s Spec) (v1.Image, error) {
	layer, err := s.layer()
	if err != nil {
		return nil, err
	}
	made, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer)), nil })
	if err != nil {
		return nil, fmt.Errorf("cannot make layer: %w", err)
	}
	image, err := mutate.AppendLayers(empty.Image, made)
	if err != nil {
		return nil, fmt.Errorf("cannot append layer: %w", err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("cannot read image config: %w", err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Config = "linux", runtime.GOARCH, s.Config
	return mutate.ConfigFile(image, config)
}

// WriteArchive writes the image as `docker save` would, under the reference ref.
func WriteArchive(w io.Writer, ref string, s Spec) error {
	image, err := Image(s)
	if err != nil {
		return err
	}
	tag, err := name.NewTag(ref)
	if err != nil {
		return fmt.Errorf("cannot parse image name: %w", err)
	}
	return tarball.Write(tag, image, w)
}

func (s Spec) layer() ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	made := map[string]bool{}
	folder := func(p string) error {
		for dir := path.Dir(p); dir != "/" && !made[dir]; dir = path.Dir(dir) {
			made[dir] = true
			if err := w.WriteHeader(&tar.Header{Name: strings.TrimPrefix(dir, "/") + "/", Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
				return err
			}
		}
		return nil
	}
	if err := w.WriteHeader(&tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}); err != nil {
		return nil, err
	}
	for _, p := range sorted(s.Files) {
		content, err := os.ReadFile(s.Files[p])
		if err != nil {
			return nil, fmt.Errorf("cannot read what goes into the image: %w", err)
		}
		if err := folder(p); err != nil {
			return nil, err
		}
		if err := w.WriteHeader(&tar.Header{Name: strings.TrimPrefix(p, "/"), Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(content))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(content); err != nil {
			return nil, err
		}
	}
	for _, p := range sorted(s.Links) {
		if err := folder(p); err != nil {
			return nil, err
		}
		if err := w.WriteHeader(&tar.Header{Name: strings.TrimPrefix(p, "/"), Typeflag: tar.TypeSymlink, Linkname: s.Links[p], Mode: 0o777}); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

func sorted(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"havn/testimage"
)

// What all tests share, made once.
var (
	binaries string // folder with havn, havn-shim, havn-init and runc
	archives string // folder with images: web.tar, busybox.tar
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Geteuid() != 0 {
		return m.Run() // every test says why it is skipped
	}
	dir, err := os.MkdirTemp("", "hvn-e2e-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = prepare(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	return m.Run()
}

// needRoot skips a test that runs containers where that cannot be done.
func needRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("containers need root: run the tests as root")
	}
}

func prepare(dir string) error {
	if err := findBinaries(filepath.Join(dir, "bin")); err != nil {
		return err
	}
	archives = dir
	router := filepath.Join(dir, "router")
	if err := build(router, "havn/e2e/testdata/router"); err != nil {
		return err
	}
	web := filepath.Join(dir, "web")
	if err := build(web, "havn/examples/web"); err != nil {
		return err
	}
	origin := filepath.Join(dir, "origin")
	if err := build(origin, "havn/e2e/testdata/origin"); err != nil {
		return err
	}
	return errorsOf(
		writeArchive("origin.tar", "havn/origin:latest", testimage.Spec{
			Files:  map[string]string{"/origin": origin},
			Config: v1.Config{Entrypoint: []string{"/origin"}, ExposedPorts: map[string]struct{}{"80/tcp": {}}},
		}),
		writeArchive("web.tar", "havn/example-web:latest", testimage.Spec{
			Files:  map[string]string{"/web": web},
			Config: v1.Config{Entrypoint: []string{"/web"}, ExposedPorts: map[string]struct{}{"80/tcp": {}}},
		}),
		writeArchive("router.tar", "havn/router:latest", testimage.Spec{
			Files:  map[string]string{"/router": router},
			Config: v1.Config{Entrypoint: []string{"/router"}},
		}),
		writeArchive("busybox.tar", "havn/busybox:latest", testimage.Busybox("sh")),
	)
}

func errorsOf(all ...error) error {
	for _, err := range all {
		if err != nil {
			return err
		}
	}
	return nil
}

func writeArchive(file, ref string, spec testimage.Spec) error {
	f, err := os.Create(filepath.Join(archives, file))
	if err != nil {
		return err
	}
	defer f.Close()
	return testimage.WriteArchive(f, ref, spec)
}

func build(out, pkg string, args ...string) error {
	args = append(append([]string{"build", "-trimpath", "-ldflags=-s -w"}, args...), "-o", out, pkg)
	cmd := exec.Command("go", args...)
	if !strings.HasSuffix(out, "runc") { // runc is the one that needs C
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	}
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build %s: %w\n%s", pkg, err, said)
	}
	return nil
}

// findBinaries sets binaries, and builds into dir what there is not.
func findBinaries(dir string) error {
	if binaries = os.Getenv("HAVN_TEST_BIN"); binaries != "" {
		return nil
	}
	built, err := filepath.Abs("../bin")
	if err != nil {
		return err
	}
	if fresh, err := newerThanSources(built); err != nil || fresh {
		binaries = built
		return err
	}
	binaries = dir
	return errorsOf(
		build(filepath.Join(dir, "havn"), "havn/cmd/havn"),
		build(filepath.Join(dir, "havn-shim"), "havn/cmd/havn-shim", "-tags", "no_grpc"),
		build(filepath.Join(dir, "havn-init"), "havn/cmd/havn-init"),
		build(filepath.Join(dir, "runc"), "github.com/opencontainers/runc", "-tags", "seccomp"),
	)
}

// newerThanSources reports whether all binaries of dir are there and no source is newer.
func newerThanSources(dir string) (bool, error) {
	var oldest time.Time
	for _, name := range []string{"havn", "havn-shim", "havn-init", "runc"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			return false, nil // not built
		}
		if oldest.IsZero() || info.ModTime().Before(oldest) {
			oldest = info.ModTime()
		}
	}
	fresh := true
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != ".." {
			return filepath.SkipDir
		}
		name := d.Name()
		if name != "go.mod" && (!strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go")) {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fresh = fresh && !info.ModTime().After(oldest)
		return nil
	})
	return fresh, err
}

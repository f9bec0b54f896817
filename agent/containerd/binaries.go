package containerd

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// The programs that the engine starts, and the one that is a container's first process. All are built from this module.
const (
	shimName = "havn-shim"
	runcName = "runc"
	initName = "havn-init"
)

var howToGet = map[string]string{
	shimName: "go build ./cmd/havn-shim",
	initName: "CGO_ENABLED=0 go build ./cmd/havn-init",
	runcName: "go build -tags seccomp github.com/opencontainers/runc",
}

// findBinary looks where the configuration says, else beside this program, else in PATH.
func findBinary(name, configured string) (string, error) {
	if configured != "" {
		path, err := filepath.Abs(configured)
		if err != nil {
			return "", err
		}
		if err := executable(path); err != nil {
			return "", fmt.Errorf("cannot use %s: %w", name, err)
		}
		return path, nil
	}
	var beside string
	if self, err := os.Executable(); err == nil {
		beside = filepath.Join(filepath.Dir(self), name)
		if executable(beside) == nil {
			return beside, nil
		}
	}
	if path, err := exec.LookPath(name); err == nil {
		return filepath.Abs(path)
	}
	return "", fmt.Errorf("cannot find %s: it is neither %s nor in PATH; build it with %q in Havn's source",
		name, beside, howToGet[name])
}

func executable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return &os.PathError{Op: "execute", Path: path, Err: errors.New("not an executable file")}
	}
	return nil
}

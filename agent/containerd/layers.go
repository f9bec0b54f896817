package containerd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links may be on the way to a file; the kernel's number.
const maxLinks = 40

// readInLayers reads a file as a container would whose layers these are, the uppermost first. A file that is not there
// is empty, and so is what is no regular file.
func readInLayers(layers []string, name string) ([]byte, error) {
	const limit = 4 << 20
	path, err := findInLayers(layers, name)
	if path == "" || err != nil {
		return nil, err
	}
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, nil
	case info.Size() > limit:
		return nil, fmt.Errorf("/%s is larger than %d bytes", name, limit)
	}
	return os.ReadFile(path)
}

// findInLayers returns which file of a layer the layers show by that name, or nothing if there is none. It goes step by
// step, so that no link leads out of the layers: an absolute one begins at their root, as it does in a container.
func findInLayers(layers []string, name string) (string, error) {
	// The folders on the way, each as those of the layers that make it up.
	way := [][]string{layers}
	steps := strings.Split(name, "/")
	for links := 0; len(steps) > 0; {
		step := steps[0]
		steps = steps[1:]
		switch step {
		case "", ".":
			continue
		case "..":
			way = way[:max(1, len(way)-1)]
			continue
		}
		folders, file, err := stepInLayers(way[len(way)-1], step)
		if err != nil {
			return "", err
		}
		if len(folders) > 0 {
			way = append(way, folders)
			continue
		}
		if file == "" {
			return "", nil
		}
		target, err := os.Readlink(file)
		if err != nil { // no link
			if len(steps) > 0 {
				return "", nil // and no folder
			}
			return file, nil
		}
		if links++; links > maxLinks {
			return "", fmt.Errorf("/%s: %w", name, unix.ELOOP)
		}
		if filepath.IsAbs(target) {
			way = way[:1]
		}
		steps = slices.Concat(strings.Split(target, "/"), steps)
	}
	return way[len(way)-1][0], nil
}

// stepInLayers finds a name in a folder: it is a folder again, or a file, or nothing.
func stepInLayers(in []string, name string) (folders []string, file string, err error) {
	for _, dir := range in {
		path := filepath.Join(dir, name)
		info, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, "", err
		case !info.IsDir():
			// It hides what is below, and so does a whiteout, which is a device.
			if len(folders) == 0 && info.Mode()&fs.ModeDevice == 0 {
				file = path
			}
			return folders, file, nil
		}
		folders = append(folders, path)
		if opaque(path) {
			break
		}
	}
	return folders, "", nil
}

// opaque tells whether a folder of a layer hides all that is below it: it was made anew in this layer.
func opaque(dir string) bool {
	var value [1]byte
	n, err := unix.Lgetxattr(dir, "trusted.overlay.opaque", value[:])
	return err == nil && n == 1 && value[0] == 'y'
}

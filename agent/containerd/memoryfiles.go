package containerd

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

const devShm = "/dev/shm"

// tmpfsMounts are the file systems in memory that the definition asks for. Docker's three restrictions stand unless an
// option says otherwise.
func tmpfsMounts(in specInput) ([]specs.Mount, error) {
	asked := in.docker.host.Tmpfs
	var all []specs.Mount
	for _, at := range slices.Sorted(maps.Keys(asked)) {
		path := filepath.Clean(at)
		if !filepath.IsAbs(path) || path == "/" {
			return nil, fmt.Errorf("invalid tmpfs specification: destination %q must be an absolute path other than /", at)
		}
		options, err := tmpfsOptions(asked[at])
		if err != nil {
			return nil, err
		}
		all = append(all, specs.Mount{Destination: path, Type: "tmpfs", Source: "tmpfs", Options: options})
	}
	return all, nil
}

func tmpfsOptions(text string) ([]string, error) {
	options := []string{"noexec", "nosuid", "nodev"}
	for option := range strings.SplitSeq(text, ",") {
		switch option {
		case "", "defaults":
			continue
		case "bind", "rbind", "remount":
			return nil, fmt.Errorf("Invalid tmpfs option %q", option) //nolint:staticcheck // Docker's words
		case "exec", "suid", "dev":
			options = slices.DeleteFunc(options, func(o string) bool { return o == "no"+option })
		}
		options = append(options, option)
	}
	return options, nil
}

// sharedMemory puts into /dev/shm what the processes there share: the container's own memory, of the size that it
// asked for, the task's, the host's, or nothing.
func sharedMemory(base []specs.Mount, in specInput) []specs.Mount {
	i := slices.IndexFunc(base, func(m specs.Mount) bool { return m.Destination == devShm })
	if i < 0 {
		return base
	}
	bind := func(from string) {
		base[i] = specs.Mount{Destination: devShm, Type: "bind", Source: from, Options: []string{"rbind", "rprivate", "rw"}}
	}
	switch in.task.IPCMode {
	case "host":
		bind(devShm)
	case "none":
		return slices.Delete(base, i, i+1)
	case "task":
		bind(in.shared.shm)
	default:
		if size := in.docker.host.ShmSize; size > 0 {
			base[i].Options = sized(base[i].Options, size)
		}
	}
	return base
}

func sized(options []string, bytes int64) []string {
	rest := slices.DeleteFunc(slices.Clone(options), func(o string) bool { return strings.HasPrefix(o, "size=") })
	return append(rest, fmt.Sprintf("size=%d", bytes))
}

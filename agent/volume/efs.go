package volume

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"

	"havn/protocol"
)

// FileSystems says what stands for the EFS file systems of task definitions on this node: by the ID of a file system
// (fs-...) or of an access point (fsap-...).
type FileSystems map[string]Export

// Export is a folder that an NFS server exports, or one of this machine where Host is empty.
type Export struct {
	Host, Path string
	Options    []string // of mount, beside or in place of those that AWS recommends
}

var fileSystemID = regexp.MustCompile(`^fs(ap)?-[0-9A-Za-z-]{1,64}$`)

// ParseFileSystem reads ID=HOST:/EXPORT[,OPTION...] or ID=/FOLDER.
func ParseFileSystem(text string) (id string, e Export, err error) {
	id, where, _ := strings.Cut(text, "=")
	if !fileSystemID.MatchString(id) {
		return "", e, fmt.Errorf("%q does not begin with the ID of a file system (fs-...) or of an access point (fsap-...)", text)
	}
	if strings.HasPrefix(where, "/") {
		return id, Export{Path: filepath.Clean(where)}, nil
	}
	host, rest, ok := strings.Cut(where, ":/")
	exported, options, _ := strings.Cut(rest, ",")
	if !ok || host == "" {
		return "", e, fmt.Errorf("%q is neither %s=HOST:/EXPORT nor %s=/FOLDER", text, id, id)
	}
	return id, Export{Host: strings.Trim(host, "[]"), Path: path.Clean("/" + exported), Options: words(options)}, nil
}

// encrypted tells whether what goes over the network is. nfs(5), xprtsec and sec.
func (e Export) encrypted() bool {
	return e.Host == "" || slices.ContainsFunc(e.Options, func(o string) bool {
		return o == "xprtsec=tls" || o == "xprtsec=mtls" || o == "sec=krb5p"
	})
}

// AWS recommends these. Amazon EFS User Guide, "Recommended NFS mount settings".
var recommended = []string{"vers=4.1", "rsize=1048576", "wsize=1048576", "hard", "timeo=600", "retrans=2", "noresvport"}

func (s *Store) efs(ctx context.Context, t Task, name string, v protocol.EFSVolume) (Place, error) {
	id, root := v.FileSystemID, v.RootDirectory
	if a := v.AuthorizationConfig; a != nil {
		if a.IAM == "ENABLED" {
			return Place{}, fmt.Errorf("volume %q asks for IAM authorization, which NFS does not have", name)
		}
		if a.AccessPointID != "" { // it has a root directory of its own
			id, root = a.AccessPointID, "/"
		}
	}
	export, ok := s.systems[id]
	if !ok {
		return Place{}, fmt.Errorf("Failed to resolve %q - check that your file system ID is correct: "+ //nolint:staticcheck // EFS's words
			"nothing stands for it on this node; start its Havn with --efs %s=HOST:/EXPORT or --efs %s=/FOLDER", id, id, id)
	}
	if v.TransitEncryption == "ENABLED" && !export.encrypted() {
		return Place{}, fmt.Errorf("volume %q asks for transit encryption, which plain NFS to %s does not have; "+
			"with a server and a kernel that speak it: --efs %s=%s:%s,xprtsec=tls", name, export.Host, id, export.Host, export.Path)
	}
	at := point(filepath.Join(s.mounts, "t", t.ID, fileName(name)))
	s.locks.Lock(string(at))
	defer s.locks.Unlock(string(at)) //nolint:errcheck // fails only where it is not locked
	target, _, err := at.ensure(func() (call, error) {
		if export.Host == "" {
			return bindBelow(export.Path, root)
		}
		return export.mount(ctx, root, lookUp)
	})
	if err != nil {
		return Place{}, fmt.Errorf("cannot mount what stands for %s: %w", id, err)
	}
	return Place{Path: target}, nil
}

// bindBelow binds the folder that root names in a folder of this machine. No link leads out of it, also none that is put
// there while we look: what was found is held open and mounted by that.
func bindBelow(folder, root string) (call, error) {
	base, err := os.OpenFile(folder, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return call{}, err
	}
	defer base.Close()
	inside, err := unix.Openat2(int(base.Fd()), "./"+root, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return call{}, fmt.Errorf("cannot find the root directory %s in %s: %w", root, folder, err)
	}
	m := mount.Mount{Type: "none", Source: fmt.Sprintf("/proc/self/fd/%d", inside), Options: []string{"rbind"}}
	return call{mount: m, after: func() { unix.Close(inside) }}, nil
}

func (e Export) mount(ctx context.Context, root string, lookUp func(context.Context, string) (string, error)) (call, error) {
	address, err := lookUp(ctx, e.Host)
	if err != nil {
		return call{}, err
	}
	port := "2049"
	for _, o := range e.Options {
		if p, is := strings.CutPrefix(o, "port="); is {
			port = p
		}
	}
	// mount(2) would wait for minutes, and cannot be cancelled.
	dialer := net.Dialer{Timeout: dialTime}
	connection, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(address, port))
	if err != nil {
		return call{}, fmt.Errorf("the NFS server does not answer: %w", err)
	}
	connection.Close()
	return call{mount: e.nfs(address, root)}, nil
}

// nfs is the mount of a folder of the export, from the server at the address.
func (e Export) nfs(address, root string) mount.Mount {
	name := func(o string) string {
		o, _, _ = strings.Cut(o, "=")
		switch o {
		case "nfsvers":
			return "vers"
		case "soft", "softerr":
			return "hard"
		case "resvport":
			return "noresvport"
		}
		return o
	}
	options := slices.DeleteFunc(slices.Clone(recommended), func(o string) bool {
		return slices.ContainsFunc(e.Options, func(other string) bool { return name(other) == name(o) })
	})
	options = append(append(options, e.Options...), "addr="+address)
	host := e.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return mount.Mount{Type: "nfs", Source: host + ":" + path.Join(e.Path, root), Options: options}
}

// Check finds folders that are not there, before any task does.
func (f FileSystems) Check() error {
	for id, e := range f {
		if e.Host != "" {
			continue
		}
		if info, err := os.Stat(e.Path); err != nil {
			return fmt.Errorf("cannot use the folder for %s: %w", id, err)
		} else if !info.IsDir() {
			return errors.New(e.Path + ", for " + id + ", is no folder")
		}
	}
	return nil
}

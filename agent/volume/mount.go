package volume

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// call is one call of mount(2), and what must be closed after it.
type call struct {
	mount mount.Mount
	after func()
}

// mount is what the options of Docker's driver local ask for. Docker docs, "docker volume create", driver options: type,
// device and o are those of mount(8); size is a quota, which an ordinary folder cannot have.
func (r record) mount(ctx context.Context) (call, error) { return mountOf(ctx, r.Options, lookUp) }

func mountOf(ctx context.Context, options map[string]string, lookUp func(context.Context, string) (string, error)) (call, error) {
	for name := range options {
		switch name {
		case "type", "device", "o":
		case "size":
			return call{}, errors.New("quota size requested but no quota support")
		default:
			return call{}, fmt.Errorf("invalid option: %q", name)
		}
	}
	for _, name := range []string{"device", "type"} {
		if options[name] == "" {
			return call{}, fmt.Errorf("missing required option: %q", name)
		}
	}
	m := mount.Mount{Type: options["type"], Source: options["device"], Options: words(options["o"])}
	if m.Type == "nfs" || m.Type == "nfs4" || m.Type == "cifs" {
		// The kernel takes an address alone.
		for i, o := range m.Options {
			host, is := strings.CutPrefix(o, "addr=")
			if !is {
				continue
			}
			address, err := lookUp(ctx, host)
			if err != nil {
				return call{}, fmt.Errorf("error resolving passed in network volume address: %w", err)
			}
			m.Options[i] = "addr=" + address
		}
	}
	return call{mount: m}, nil
}

// inMemory tells whether all that is in the volume came in through its mount. A mount of type tmpfs can still be told to
// show what is elsewhere: mount(2), MS_BIND, MS_MOVE and MS_REMOUNT, which do not look at the type.
func (r record) inMemory() bool {
	return r.Options["type"] == "tmpfs" && !slices.ContainsFunc(words(r.Options["o"]), func(o string) bool {
		return o == "bind" || o == "rbind" || o == "move" || o == "remount"
	})
}

// words are the options between commas; one that is empty, or is for mount(8) alone, is none.
func words(options string) []string {
	return slices.DeleteFunc(strings.Split(options, ","), func(o string) bool {
		return o == "" || o == "_netdev" || o == "nofail" || o == "noauto" || o == "auto"
	})
}

// lookupTime is how long a name server may take, dialTime how long a file server.
const lookupTime, dialTime = 10 * time.Second, 10 * time.Second

func lookUp(ctx context.Context, host string) (string, error) {
	if ip := net.ParseIP(host); ip != nil {
		return host, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return "", err
	}
	return addresses[0], nil
}

// point is the folder of one mount: m is mounted on, and done is there when the mount is whole.
type point string

func (p point) target() string { return filepath.Join(string(p), "m") }
func (p point) done() string   { return filepath.Join(string(p), "done") }

// ensure mounts, unless that is done, and returns where, and whether it did. Its caller holds the volume's lock.
func (p point) ensure(what func() (call, error)) (target string, anew bool, err error) {
	mounted, err := mountinfo.Mounted(p.target())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", false, err
	}
	if _, err := os.Stat(p.done()); err == nil && mounted {
		return p.target(), false, nil
	}
	if err := p.unmount(); err != nil {
		return "", false, err
	}
	c, err := what()
	if err != nil {
		return "", false, err
	}
	if c.after != nil {
		defer c.after()
	}
	if err := os.MkdirAll(p.target(), 0o711); err != nil {
		return "", false, err
	}
	if err := c.mount.Mount(p.target()); err != nil {
		return "", false, errors.Join(c.failed(p.target(), err), p.unmount())
	}
	if err := makePrivate(p.target()); err != nil {
		return "", false, errors.Join(err, p.unmount())
	}
	return p.target(), true, os.WriteFile(p.done(), nil, 0o600)
}

// failed says what could not be mounted. The options may have the password of a file server, which nobody is told.
func (c call) failed(target string, err error) error {
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		err = errno // the rest says the same again, password and all
	}
	var shown []string
	for _, o := range c.mount.Options {
		if name, _, has := strings.Cut(o, "="); has && strings.HasPrefix(name, "pass") {
			o = name + "=********"
		}
		shown = append(shown, o)
	}
	return fmt.Errorf("mount %s:%s, type: %s, data: %s: %w", c.mount.Source, target, c.mount.Type, strings.Join(shown, ","), err)
}

// makePrivate separates the mounts at and below a path from those that they were made of.
func makePrivate(path string) error {
	if err := unix.Mount("", path, "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot make %s private: %w", path, err)
	}
	return nil
}

// unmount takes away all that is mounted here, also what a killed process left half-made.
func (p point) unmount() error {
	if err := ignoreMissing(os.Remove(p.done())); err != nil {
		return err
	}
	const most = 100 // mounts on one another: there is one, and one of a process that was killed
	for range most {
		mounted, err := mountinfo.Mounted(p.target())
		if errors.Is(err, os.ErrNotExist) || err == nil && !mounted {
			return nil
		}
		if err == nil {
			err = makePrivate(p.target()) // it may have been killed in between
		}
		if err == nil {
			err = unix.Unmount(p.target(), unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		}
		if err != nil {
			return fmt.Errorf("cannot unmount %s: %w", p.target(), err)
		}
	}
	return fmt.Errorf("cannot unmount %s: there is always something more", p.target())
}

// remove unmounts and takes the empty folders away.
func (p point) remove() error {
	if err := p.unmount(); err != nil {
		return err
	}
	return errors.Join(ignoreMissing(os.Remove(p.target())), ignoreMissing(os.Remove(string(p))))
}

// removePoints removes all points in a folder, and the folder.
func removePoints(dir string) error {
	names, err := readNames(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := point(filepath.Join(dir, name)).remove(); err != nil {
			return err
		}
	}
	return ignoreMissing(os.Remove(dir))
}

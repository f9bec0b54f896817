package containerd

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/moby/sys/user"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// lookUpUser resolves USER[:GROUP], names or numbers, by the image's own accounts.
func (in *insides) lookUpUser(name string) (specs.User, error) {
	found, err := user.GetExecUser(name, &user.ExecUser{Home: "/"}, bytes.NewReader(in.passwd), bytes.NewReader(in.group))
	if err != nil {
		return specs.User{}, fmt.Errorf("unable to find user %s: %w", name, err)
	}
	u := specs.User{UID: uint32(found.Uid), GID: uint32(found.Gid), AdditionalGids: []uint32{uint32(found.Gid)}}
	for _, gid := range found.Sgids {
		if gid != found.Gid {
			u.AdditionalGids = append(u.AdditionalGids, uint32(gid))
		}
	}
	return u, nil
}

// opaque tells whether a folder of a layer hides all that is below it: it was made anew in this layer.
func opaque(root *os.Root, dir string) bool {
	info, err := root.Lstat(dir)
	if err != nil {
		return false
	}
	if !info.IsDir() {
		return true // something else took the folder's place
	}
	var value [1]byte
	n, err := unix.Lgetxattr(filepath.Join(root.Name(), dir), "trusted.overlay.opaque", value[:])
	return err == nil && n == 1 && value[0] == 'y'
}

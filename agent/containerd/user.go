package containerd

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/moby/sys/user"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// lookUpUser resolves USER[:GROUP], names or numbers, by the image's own accounts.
func (in *insides) lookUpUser(name string) (specs.User, error) {
	if in.unreadable != nil && named(name) {
		return specs.User{}, fmt.Errorf("unable to find user %s: %w", name, in.unreadable)
	}
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

// named tells whether a user or a group is given by its name.
func named(name string) bool {
	user, group, _ := strings.Cut(name, ":")
	for _, part := range []string{user, group} {
		if _, err := strconv.Atoi(part); part != "" && err != nil {
			return true
		}
	}
	return false
}

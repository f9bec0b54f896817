package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// lineage is what proc_pid_stat(5) tells of whom a process comes from.
type lineage struct{ parent, session int }

// endTree kills a process that runc has put into a container, and what it started: its descendants, and all of its
// session, in which those stay whose parents have ended. (runc makes every process that it starts the leader of a
// session.) They are stopped first, so that nobody starts another while we look. Only who began a session of his own and
// whose parent has ended before is not found: as a daemon does it, and nothing tells him from the container's own.
func endTree(ctx context.Context, leader int) error {
	if leader <= 1 {
		return fmt.Errorf("%d is no process of a container", leader)
	}
	stopped := make(map[int]bool)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		all, err := lineages("/proc")
		if err != nil {
			return err
		}
		found, news := treeOf(all, leader), false
		for _, pid := range found {
			if !stopped[pid] {
				stopped[pid], news = true, true
				if err := unix.Kill(pid, unix.SIGSTOP); err != nil && !errors.Is(err, unix.ESRCH) {
					return err
				}
			}
		}
		if news {
			continue
		}
		for _, pid := range found {
			if err := killAndAwait(pid); err != nil {
				return fmt.Errorf("cannot end the process %d: %w", pid, err)
			}
		}
		return nil
	}
}

// treeOf are the leader, as far as it is there, its descendants, and its session.
func treeOf(all map[int]lineage, leader int) []int {
	in := map[int]bool{leader: true}
	for grown := true; grown; {
		grown = false
		for pid, l := range all {
			if !in[pid] && (in[l.parent] || l.session == leader) {
				in[pid], grown = true, true
			}
		}
	}
	var found []int
	for pid := range in {
		if _, there := all[pid]; there {
			found = append(found, pid)
		}
	}
	return found
}

// lineages are those of all processes.
func lineages(proc string) (map[int]lineage, error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, err
	}
	all := make(map[int]lineage)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(proc, e.Name(), "stat"))
		if err != nil {
			continue // it has ended
		}
		// The name of the program, in brackets, can have any character.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) < 4 {
			continue
		}
		parent, err1 := strconv.Atoi(fields[1])
		session, err2 := strconv.Atoi(fields[3])
		if err1 == nil && err2 == nil {
			all[pid] = lineage{parent, session}
		}
	}
	return all, nil
}

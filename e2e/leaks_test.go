package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// nameOf is what a Havn's bridge, table, cgroups and runtime folder are named after. The tour looks whether it is so.
func nameOf(dataDir string) string {
	sum := sha256.Sum256([]byte(dataDir))
	return hex.EncodeToString(sum[:4])
}

// clear ends all Havns of the site and their tasks, in Havn's own way, and fails the test for whatever they leave.
func (s *site) clear(t *testing.T) {
	locks, err := filepath.Glob(filepath.Join(s.dir, "*", "havn.lock"))
	if err != nil {
		t.Error(err)
	}
	var homes []string
	for _, lock := range locks {
		homes = append(homes, filepath.Dir(lock))
	}
	for _, home := range homes {
		if t.Failed() {
			t.Logf("the log of %s ends:\n%s", home, lastLines(filepath.Join(home, "havn.log"), 60))
		}
		if err := downTasks(home); err != nil {
			t.Error(err)
		}
	}
	for _, home := range homes {
		for _, left := range leaks(home) {
			t.Errorf("%s (%s) leaves %s", home, nameOf(home), left)
		}
		sweep(home)
	}
	for _, point := range mounts(s.dir) { // a test's own
		unix.Unmount(point, unix.MNT_DETACH)
	}
	if err := os.RemoveAll(s.dir); err != nil {
		t.Error(err)
	}
}

func lastLines(file string, count int) string {
	content, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "\n")
}

// downTasks is havn down --tasks, of a Havn that may have to be started first.
func downTasks(home string) error {
	if isRunning(home) {
		return havn(home, "down", "--tasks")
	}
	if len(leaks(home)) == 0 {
		return nil
	}
	// A crash was its end. Who comes back looks after what it left.
	if err := havn(home, "up", "--detach", "--listen", "127.0.0.1:0"); err != nil {
		return err
	}
	return havn(home, "down", "--tasks")
}

func isRunning(home string) bool { return havn(home, "status") == nil }

func havn(home string, args ...string) error {
	cmd := exec.Command(filepath.Join(binaries, "havn"), args...)
	cmd.Env = append(os.Environ(), "HAVN_DATA_DIR="+home)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("havn %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// leaks lists what a Havn has on this machine outside of its data folder.
func leaks(home string) []string {
	name := nameOf(home)
	var found []string
	for _, point := range mounts(home, "/run/havn/"+name) {
		found = append(found, "a mount at "+point)
	}
	links, err := net.Interfaces()
	if err != nil {
		found = append(found, err.Error())
	}
	for _, link := range links {
		if strings.HasPrefix(link.Name, "hvn-"+name) || strings.HasPrefix(link.Name, "v"+name) {
			found = append(found, "the link "+link.Name)
		}
	}
	if has, err := hasTable(name); has || err != nil {
		found = append(found, fmt.Sprintf("the nftables table havn-%s (%v)", name, err))
	}
	for _, group := range cgroupsOf(name) {
		found = append(found, "the cgroup "+group)
	}
	for pid, command := range processes(home, "/run/havn/"+name) {
		found = append(found, fmt.Sprintf("the process %d: %s", pid, command))
	}
	if _, err := os.Lstat("/run/havn/" + name); err == nil {
		content, _ := filepath.Glob("/run/havn/" + name + "/*")
		found = append(found, fmt.Sprintf("the folder /run/havn/%s with %q", name, content))
	}
	slices.Sort(found)
	return found
}

// mounts lists what is mounted below the folders, the deepest first. Network namespaces are mounts, too.
func mounts(dirs ...string) []string {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return []string{err.Error()}
	}
	var points []string
	for line := range strings.Lines(string(info)) {
		point := strings.Fields(line)[4]
		for _, dir := range dirs {
			if strings.HasPrefix(point, dir+"/") {
				points = append(points, point)
			}
		}
	}
	slices.Sort(points)
	slices.Reverse(points)
	return points
}

func hasTable(name string) (bool, error) {
	conn, err := nftables.New()
	if err != nil {
		return false, err
	}
	tables, err := conn.ListTables()
	return slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == "havn-"+name }), err
}

// cgroupsOf lists the groups of that Havn in every hierarchy, the deepest first.
func cgroupsOf(name string) []string {
	var groups []string
	for _, pattern := range []string{"/sys/fs/cgroup/havn-%s", "/sys/fs/cgroup/*/havn-%s"} {
		for _, below := range []string{"/*/*", "/*", ""} {
			found, _ := filepath.Glob(fmt.Sprintf(pattern, name) + below)
			for _, f := range found {
				if info, err := os.Stat(f); err == nil && info.IsDir() {
					groups = append(groups, f)
				}
			}
		}
	}
	return groups
}

// processes finds those that name one of the folders on their command line: shims, runc, Havn itself.
func processes(dirs ...string) map[int]string {
	found := map[int]string{}
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range lines {
		content, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		for _, dir := range dirs {
			if bytes.Contains(content, []byte(dir)) {
				pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
				found[pid] = string(bytes.ReplaceAll(content, []byte{0}, []byte(" ")))
			}
		}
	}
	return found
}

// sweep removes by force what should not be there any more, so that a failed test does not spoil the machine.
func sweep(home string) {
	name := nameOf(home)
	for pid := range processes(home, "/run/havn/"+name) {
		unix.Kill(pid, unix.SIGKILL)
	}
	for _, group := range cgroupsOf(name) {
		pids, _ := os.ReadFile(filepath.Join(group, "cgroup.procs"))
		for _, field := range strings.Fields(string(pids)) {
			if pid, err := strconv.Atoi(field); err == nil {
				unix.Kill(pid, unix.SIGKILL)
			}
		}
		unix.Rmdir(group)
	}
	for _, point := range mounts(home, "/run/havn/"+name) {
		unix.Unmount(point, unix.MNT_DETACH)
	}
	links, _ := net.Interfaces()
	for _, link := range links {
		if strings.HasPrefix(link.Name, "hvn-"+name) || strings.HasPrefix(link.Name, "v"+name) {
			exec.Command("ip", "link", "delete", link.Name).Run()
		}
	}
	if conn, err := nftables.New(); err == nil {
		conn.DelTable(&nftables.Table{Name: "havn-" + name, Family: nftables.TableFamilyIPv4})
		conn.DelTable(&nftables.Table{Name: "havn-" + name, Family: nftables.TableFamilyINet})
		conn.Flush()
	}
	os.RemoveAll("/run/havn/" + name)
}

package containerd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"havn/protocol"
)

// The containers of a task can share what a container otherwise has to itself: with pidMode task they see each other's
// processes, with ipcMode task each other's messages and memory. ECS's agent runs one more container in the task for
// that. Here the kernel's own means hold the namespaces, in a folder of the task under the runtime folder:
//
//	t/TASK/ipc   the namespace, mounted there
//	t/TASK/shm   a file system in memory, everybody's /dev/shm
//
// A namespace of processes lives as long as its first process, which is one of havn-init that names the folder in its
// arguments: so it is found without a note that could be lost. All outlive Havn. See docs/rfd/0006.

// sharedNamespaces are paths; empty where nothing is shared.
type sharedNamespaces struct{ pid, ipc, shm string }

// defaultShm is the size of /dev/shm, in bytes, where no container asks for another; Docker's.
const defaultShm = 64 * mebibyte

func (r *Runtime) togetherDir(taskARN string) string {
	return filepath.Join(r.runtimeDir, "t", TaskID(taskARN))
}

// holdNamespaces makes what the containers of the task share, or finds it made.
func (r *Runtime) holdNamespaces(ctx context.Context, task *protocol.Task) (sharedNamespaces, error) {
	var shared sharedNamespaces
	if task.PIDMode != "task" && task.IPCMode != "task" {
		return shared, nil
	}
	dir := r.togetherDir(task.ARN)
	done, err := r.making.lock(ctx, dir)
	if err != nil {
		return shared, err
	}
	defer done()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return shared, err
	}
	if task.IPCMode == "task" {
		shared.ipc, shared.shm = filepath.Join(dir, "ipc"), filepath.Join(dir, "shm")
		if err := holdIPC(shared.ipc); err != nil {
			return shared, fmt.Errorf("cannot make the task's ipc namespace: %w", err)
		}
		size, err := shmOf(task)
		if err == nil {
			err = holdShm(shared.shm, size)
		}
		if err != nil {
			return shared, fmt.Errorf("cannot make the task's /dev/shm: %w", err)
		}
	}
	if task.PIDMode == "task" {
		pid, err := r.holdProcesses(dir)
		if err != nil {
			return shared, fmt.Errorf("cannot make the task's pid namespace: %w", err)
		}
		shared.pid = fmt.Sprintf("/proc/%d/ns/pid", pid)
	}
	return shared, nil
}

// freeNamespaces is called when the task has no container any more.
func (r *Runtime) freeNamespaces(ctx context.Context, taskARN string) error {
	dir := r.togetherDir(taskARN)
	done, err := r.making.lock(ctx, dir)
	if err != nil {
		return err
	}
	defer done()
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil // it shared nothing
	}
	holders, err := holdersOf(dir)
	if err != nil {
		return err
	}
	for _, pid := range holders {
		if err := killAndAwait(pid); err != nil {
			return fmt.Errorf("cannot end the task's first process %d: %w", pid, err)
		}
	}
	return removeUnmounted(dir)
}

func holdIPC(path string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err == nil && fs.Type == unix.NSFS_MAGIC {
		return nil
	}
	if err := os.WriteFile(path, nil, 0o400); err != nil {
		return err
	}
	failed := make(chan error)
	go func() {
		failed <- inNewIPC(func() error { return unix.Mount("/proc/thread-self/ns/ipc", path, "", unix.MS_BIND, "") })
	}()
	return <-failed
}

// inNewIPC runs f on a thread that is in a new IPC namespace. A thread that cannot be brought back is never given to
// another goroutine: it stays locked and dies with this one, which therefore must be a goroutine of its own.
func inNewIPC(f func() error) error {
	runtime.LockOSThread()
	own, err := os.Open("/proc/thread-self/ns/ipc")
	if err == nil {
		defer own.Close()
		err = unix.Unshare(unix.CLONE_NEWIPC)
	}
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	err = f()
	if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWIPC); back != nil {
		return errors.Join(err, back)
	}
	runtime.UnlockOSThread()
	return err
}

func holdShm(path string, size int64) error {
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	var here, above unix.Stat_t
	if err := errors.Join(unix.Stat(path, &here), unix.Stat(filepath.Dir(path), &above)); err != nil || here.Dev != above.Dev {
		return err // it is mounted
	}
	return unix.Mount("shm", path, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC|unix.MS_NODEV, fmt.Sprintf("mode=1777,size=%d", size))
}

// shmOf is the largest that a container of the task asks for.
func shmOf(task *protocol.Task) (int64, error) {
	var size int64
	for i := range task.Containers {
		docker, err := dockerOf(&task.Containers[i])
		if err != nil {
			return 0, err
		}
		size = max(size, docker.host.ShmSize)
	}
	if size == 0 {
		size = defaultShm
	}
	return size, nil
}

// holdProcesses returns the first process of the task's namespace. One that was only half started, by a Havn that was
// killed meanwhile, still sees the host, and makes place for another.
func (r *Runtime) holdProcesses(dir string) (pid int, err error) {
	holders, err := holdersOf(dir)
	if err != nil {
		return 0, err
	}
	for _, pid := range holders {
		if heldBack(pid) {
			return pid, nil
		}
		if err := killAndAwait(pid); err != nil {
			return 0, err
		}
	}
	program, err := r.sealedInit()
	if err != nil {
		return 0, err
	}
	var complaint bytes.Buffer
	cmd := &exec.Cmd{
		Path:   fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), program.Fd()),
		Args:   []string{initName, "hold", dir},
		Env:    []string{},
		Dir:    "/",
		Stderr: &complaint,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET |
			unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP},
	}
	ready, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	io.Copy(io.Discard, ready) //nolint:errcheck // it is closed by one that is ready, or ends
	waited := make(chan struct{})
	go func() { cmd.Wait(); close(waited) }() //nolint:errcheck // it is killed in the end
	if !heldBack(cmd.Process.Pid) {
		err := killAndAwait(cmd.Process.Pid)
		<-waited
		return 0, errors.Join(errors.New(string(bytes.TrimSpace(complaint.Bytes()))), err)
	}
	return cmd.Process.Pid, nil
}

// holdersOf are the processes of havn-init that hold a namespace for the folder.
func holdersOf(dir string) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	line := []byte(initName + "\x00hold\x00" + dir + "\x00")
	var found []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if said, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline")); err == nil && bytes.Equal(said, line) {
			found = append(found, pid)
		}
	}
	return found, nil
}

// heldBack tells whether a holder has given up all rights, which is its last step: it belongs to nobody.
func heldBack(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return err == nil && bytes.Contains(status, []byte("\nUid:\t65534\t65534\t"))
}

// sealedInit is a copy of havn-init that nobody can change, wherever a link to the running program may lead them.
func (c Config) sealedInit() (*os.File, error) {
	path, err := findBinary(initName, c.InitPath)
	if err != nil {
		return nil, err
	}
	return sealedCopy(path)
}

func sealedCopy(path string) (*os.File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(initName, flags|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // a kernel before 6.3, which takes it for granted
		fd, err = unix.MemfdCreate(initName, flags)
	}
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), initName)
	if _, err = f.Write(data); err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

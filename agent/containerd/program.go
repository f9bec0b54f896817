package containerd

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"strings"
	"time"

	"havn/cause"
	"havn/lifecycle"
	"havn/protocol"
)

// A program that the kernel cannot execute is found out only when it is to run: by then the container is started, and
// all that is seen of it is an exit code of runc's, soon after. Why is looked for in the image.

// runcFailed is the exit code of a process whose program could not be executed, and hasty is how soon that is seen.
const (
	runcFailed = 255
	hasty      = 10 * time.Second
)

// exitReason says of an exit what its code cannot.
func (r *Runtime) exitReason(ctx context.Context, task *protocol.Task, c *protocol.Container, ended lifecycle.Result) string {
	if ended.OutOfMemory {
		return cause.Join("OutOfMemoryError: Container killed due to memory usage", cause.Cause{Code: cause.OutOfMemory, Words: memoryWords(task, c)})
	}
	began, err := startedAt(r.containerDir(task.ARN, c.Name))
	if err != nil || (ended.ExitCode != runcFailed && ended.ExitCode != 1) || ended.FinishedAt.Sub(began) > hasty {
		return ""
	}
	image, err := r.images.get(ctx, c.Image)
	if err != nil {
		return ""
	}
	docker, err := dockerOf(c)
	if err != nil {
		return ""
	}
	args, err := arguments(c, image)
	if err != nil {
		return ""
	}
	workingDir := firstOf(docker.config.WorkingDir, image.config.Config.WorkingDir)
	var why *programError
	err = r.images.view(ctx, image, func(layers []string) {
		err := runnable(layers, args[0], workingDir, image.config.Config.Env)
		errors.As(err, &why)
	})
	if err != nil || why == nil {
		return ""
	}
	return cause.Join(fmt.Sprintf("CannotStartContainerError: %sOCI runtime start failed: exec %s: %s", daemonSays, args[0], why.kernel), why.cause)
}

// memoryWords names the limit that the container ran into.
func memoryWords(task *protocol.Task, c *protocol.Container) string {
	switch {
	case c.Memory > 0:
		return fmt.Sprintf("container %s used more memory than its limit of %d MiB", c.Name, c.Memory)
	case task.Memory > 0:
		return fmt.Sprintf("container %s was killed when the task used more memory than its limit of %d MiB", c.Name, task.Memory)
	}
	return fmt.Sprintf("container %s was killed when the node ran out of memory", c.Name)
}

// A programError is why the kernel will not execute a program.
type programError struct {
	kernel string // the kernel's words
	cause  cause.Cause
}

func (e *programError) Error() string { return e.kernel }

var machines = map[string]elf.Machine{
	"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "386": elf.EM_386, "arm": elf.EM_ARM,
	"ppc64le": elf.EM_PPC64, "s390x": elf.EM_S390, "riscv64": elf.EM_RISCV,
}

// maxInterpreter is how long a script's first line may be; the kernel's number (BINPRM_BUF_SIZE).
const maxInterpreter = 256

// runnable returns a programError where it can be seen that the kernel would not execute the program, and nil where
// that cannot be seen. A volume can hide what is in the image, so this is only for a program that has failed.
func runnable(layers []string, program, workingDir string, env []string) error {
	file, err := findProgram(layers, program, workingDir, env)
	if err != nil || file == "" {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, maxInterpreter)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return err
	}
	head = head[:n]
	if script, ok := bytes.CutPrefix(head, []byte("#!")); ok {
		line, _, _ := bytes.Cut(script, []byte("\n"))
		fields := strings.Fields(string(line))
		if len(fields) == 0 {
			return formatError("%q begins with #! but names no interpreter", program)
		}
		if strings.HasSuffix(string(line), "\r") {
			return missing("the script %q ends its lines with CR LF, so its interpreter %q is not found", program, fields[0]+`\r`)
		}
		return mustBeThere(layers, fields[0], "the script %q wants the interpreter %s, which is not in the image", program)
	}
	parsed, err := elf.NewFile(f)
	if err != nil {
		return formatError("%q is neither a program for Linux nor a script that begins with #!", program)
	}
	if want := machines[runtime.GOARCH]; want != 0 && parsed.Machine != want && !runsToo(parsed.Machine) {
		return formatError("%q is built for %s, and the node is %s", program, strings.TrimPrefix(parsed.Machine.String(), "EM_"), runtime.GOARCH)
	}
	for _, segment := range parsed.Progs {
		if segment.Type != elf.PT_INTERP || segment.Filesz > 4096 {
			continue
		}
		loader := make([]byte, segment.Filesz)
		if _, err := segment.ReadAt(loader, 0); err != nil {
			return err
		}
		return mustBeThere(layers, strings.TrimRight(string(loader), "\x00"), "%q needs the loader %s, which is not in the image", program)
	}
	return nil
}

// runsToo: a 64-bit kernel executes its 32-bit programs as a rule.
func runsToo(m elf.Machine) bool {
	return runtime.GOARCH == "amd64" && m == elf.EM_386 || runtime.GOARCH == "arm64" && m == elf.EM_ARM
}

func findProgram(layers []string, program, workingDir string, env []string) (string, error) {
	if strings.Contains(program, "/") {
		if !path.IsAbs(program) {
			program = path.Join("/", workingDir, program)
		}
		return findInLayers(layers, program)
	}
	for _, one := range env {
		list, ok := strings.CutPrefix(one, "PATH=")
		if !ok {
			continue
		}
		for dir := range strings.SplitSeq(list, ":") {
			if file, err := findInLayers(layers, path.Join(dir, program)); err != nil || file != "" {
				return file, err
			}
		}
	}
	return "", nil
}

func mustBeThere(layers []string, file, format, program string) error {
	found, err := findInLayers(layers, file)
	if err != nil || found != "" {
		return err
	}
	return missing(format, program, file)
}

func missing(format string, args ...any) error {
	return &programError{"no such file or directory", cause.Cause{Code: cause.MissingLoader, Words: fmt.Sprintf(format, args...)}}
}

func formatError(format string, args ...any) error {
	return &programError{"exec format error", cause.Cause{Code: cause.ExecFormat, Words: fmt.Sprintf(format, args...)}}
}

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// lineTimeout is the patience with one line of a script; the slowest wait for a few polls of an AWS waiter.
const lineTimeout = 3 * time.Minute

// preamble is what a script's bash begins with.
const preamble = `
set -o pipefail
# Before 2.13 and 1.29 the AWS CLI does not look at AWS_ENDPOINT_URL.
case "$(command aws --version 2>&1)" in
aws-cli/2.[0-9].* | aws-cli/2.1[0-2].* | aws-cli/1.?.* | aws-cli/1.1?.* | aws-cli/1.2[0-8].*)
	aws() { command aws --endpoint-url "$AWS_ENDPOINT_URL" "$@"; } ;;
esac
# eventually LINE tries a line until it succeeds, for two minutes.
eventually() {
	local end=$((SECONDS + 120))
	until eval "$*"; do
		if [ $SECONDS -ge $end ]; then echo "still not: $*" >&2; return 1; fi
		sleep 0.3
	done
}
`

// shell is a bash that lives as long as its script.
type shell struct {
	cmd       *exec.Cmd
	in        io.WriteCloser
	status    *bufio.Reader
	out, errs string // files that hold what the last line wrote
}

func startShell(dir, scratch string, env []string) (*shell, error) {
	status, told, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer told.Close()
	s := &shell{
		cmd: exec.Command("bash", "--norc", "--noprofile"), status: bufio.NewReader(status),
		out: filepath.Join(scratch, "stdout"), errs: filepath.Join(scratch, "stderr"),
	}
	s.cmd.Dir, s.cmd.Env, s.cmd.ExtraFiles = dir, env, []*os.File{told}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start bash: %w", err)
	}
	if _, err := io.WriteString(s.in, preamble); err != nil {
		return nil, err
	}
	return s, nil
}

// run runs a line and returns its exit code.
func (s *shell) run(line string) (stdout, stderr []byte, code int, err error) {
	// What the line starts in the background must not hold our pipe.
	_, err = fmt.Fprintf(s.in, "eval %s >%s 2>%s </dev/null 3>&-; echo $? >&3\n", quote(line), quote(s.out), quote(s.errs))
	if err != nil {
		return nil, nil, 0, fmt.Errorf("the shell has ended: %w", err)
	}
	impatient := time.AfterFunc(lineTimeout, s.kill)
	answer, err := s.status.ReadString('\n')
	late := !impatient.Stop()
	stdout, _ = os.ReadFile(s.out)
	stderr, _ = os.ReadFile(s.errs)
	if late {
		return stdout, stderr, 0, fmt.Errorf("the line takes more than %v", lineTimeout)
	}
	if err != nil {
		return stdout, stderr, 0, fmt.Errorf("the shell has ended: %w", err)
	}
	code, err = strconv.Atoi(strings.TrimSpace(answer))
	return stdout, stderr, code, err
}

// kill ends the shell and what it started, but for what has a session of its own, as a detached Havn has.
func (s *shell) kill() {
	syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
}

func (s *shell) close() {
	s.kill()
	s.cmd.Wait()
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

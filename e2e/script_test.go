package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

func TestScripts(t *testing.T) {
	needRoot(t)
	t.Parallel()
	if _, err := exec.LookPath("aws"); err != nil {
		t.Skip("there is no AWS CLI to type with: install awscli")
	}
	scripts, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatal("no scripts:", err)
	}
	for _, script := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(script), ".txtar"), func(t *testing.T) {
			t.Parallel()
			runScript(t, script)
		})
	}
}

// scriptT lets a script be the test that it is run in, not one below.
type scriptT struct{ *testing.T }

func (t scriptT) Run(_ string, f func(testscript.T)) { f(t) }
func (t scriptT) Parallel()                          {}
func (t scriptT) Verbose() bool                      { return testing.Verbose() }

func runScript(t *testing.T, file string) {
	s := newSite(t)
	var sh *shell
	t.Cleanup(func() { // before the site is cleared: what the shell started may be in the way
		if sh != nil {
			sh.close()
		}
	})
	testscript.RunT(scriptT{t}, testscript.Params{
		Files: []string{shellLines(t, file)},
		Setup: func(env *testscript.Env) (err error) {
			for _, v := range s.env(env.WorkDir) {
				name, value, _ := strings.Cut(v, "=")
				env.Setenv(name, value)
			}
			examples, err := filepath.Abs("../examples")
			if err != nil {
				return err
			}
			if err := os.Symlink(examples, filepath.Join(env.WorkDir, "examples")); err != nil {
				return err
			}
			sh, err = startShell(env.WorkDir, s.dir, env.Vars)
			return err
		},
		Condition: condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"shell": func(ts *testscript.TestScript, neg bool, args []string) {
				stdout, stderr, code, err := sh.run(args[0])
				ts.Stdout().Write(stdout)
				ts.Stderr().Write(stderr)
				ts.Check(err)
				if neg && code == 0 {
					ts.Fatalf("the line should have failed")
				} else if !neg && code != 0 {
					ts.Fatalf("exit code %d", code)
				}
			},
			"crash": func(ts *testscript.TestScript, neg bool, args []string) {
				dir := ts.Getenv("HAVN_DATA_DIR")
				if len(args) > 0 {
					dir = args[0]
				}
				ts.Check(crash(dir))
			},
			"registry": func(ts *testscript.TestScript, neg bool, args []string) {
				_, _, _, err := sh.run("REGISTRY=" + startRegistry(t).address)
				ts.Check(err)
			},
			"etcd": func(ts *testscript.TestScript, neg bool, args []string) {
				endpoint, err := startEtcd(t)
				ts.Check(err)
				_, _, _, err = sh.run("ETCD=" + endpoint)
				ts.Check(err)
			},
		},
	})
}

// shellLines makes a script of which each line that begins with $ calls our command shell.
func shellLines(t *testing.T, file string) string {
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, files, _ := strings.Cut(string(content), "\n-- ")
	lines := strings.Split(head, "\n")
	for i := 0; i < len(lines); i++ {
		before, typed, is := strings.Cut(lines[i], "$ ")
		if !is || strings.Trim(strings.TrimPrefix(before, "!"), " ") != "" && !strings.HasPrefix(before, "[") {
			continue
		}
		first := i
		for strings.HasSuffix(typed, `\`) && i+1 < len(lines) { // a line goes on, as in a shell
			typed = strings.TrimSuffix(typed, `\`) + strings.TrimSpace(lines[i+1])
			i++
			lines[i] = "" // so that the numbers of the lines stay right
		}
		lines[first] = before + "shell '" + strings.ReplaceAll(typed, "'", "''") + "'"
	}
	head = strings.Join(lines, "\n")
	if files != "" {
		head += "\n-- " + files
	}
	made := filepath.Join(t.TempDir(), filepath.Base(file))
	if err := os.WriteFile(made, []byte(head), 0o600); err != nil {
		t.Fatal(err)
	}
	return made
}

func condition(name string) (bool, error) {
	switch name {
	case "boto3":
		return exec.Command("python3", "-c", readsEndpoint).Run() == nil, nil
	}
	return false, fmt.Errorf("unknown condition %s", name)
}

// site is a place on this machine for the Havns of one test: a folder with their data folders, and ports.
type site struct{ dir string }

// newSite makes a site; when the test ends, the site is cleared, and searched for what remains.
func newSite(t *testing.T) *site {
	dir, err := os.MkdirTemp("", "hvn-") // not t.TempDir: its paths are long
	if err != nil {
		t.Fatal(err)
	}
	s := &site{dir}
	t.Cleanup(func() { s.clear(t) })
	return s
}

// home is the data folder that commands use when not told another.
func (s *site) home() string { return filepath.Join(s.dir, "a") }

func (s *site) env(work string) []string {
	path := binaries + ":" + os.Getenv("PATH")
	env := []string{
		"PATH=" + path,
		"HOME=" + os.Getenv("HOME"),
		"SITE=" + s.dir,
		"HAVN_DATA_DIR=" + s.home(),
		"LISTEN=127.0.0.1:" + freePort(),
		"IMAGES=" + archives,
		"TZ=UTC",
		// The AWS CLI must find nothing of the person who runs the tests.
		"AWS_CONFIG_FILE=" + filepath.Join(work, "no-config"),
		"AWS_SHARED_CREDENTIALS_FILE=" + filepath.Join(work, "no-credentials"),
		"AWS_EC2_METADATA_DISABLED=true",
		"AWS_PAGER=",
		"AWS_DEFAULT_OUTPUT=json",
		"no_proxy=*",
	}
	for i := 1; i <= 4; i++ {
		env = append(env, "PORT"+strconv.Itoa(i)+"="+freePort())
	}
	return env
}

// freePort is a port below those that systems and Havns give out themselves.
func freePort() string {
	for range 100 {
		port := strconv.Itoa(10000 + rand.IntN(20000))
		l, err := net.Listen("tcp", "0.0.0.0:"+port)
		if err == nil {
			l.Close()
			return port
		}
	}
	panic("no free port")
}

// crash kills the Havn of a data folder as a power cut would, and returns when it is dead.
func crash(dir string) error {
	content, err := os.ReadFile(filepath.Join(dir, "havn.lock"))
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		return err
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("cannot find process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		return fmt.Errorf("cannot kill process %d: %w", pid, err)
	}
	for { // a process's descriptor is readable when it is dead
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// readsEndpoint succeeds where boto3 is there and new enough to read AWS_ENDPOINT_URL.
const readsEndpoint = `import boto3; assert tuple(map(int, boto3.__version__.split(".")[:2])) >= (1, 28)`

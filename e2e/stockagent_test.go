package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"havn/testimage"
)

// The container agent of Amazon ECS, unmodified, joins a Havn that has no node of its own. It is a binary that
// HAVN_TEST_ECS_AGENT names, and starts containers on the Docker engine at DOCKER_HOST. The steps are one session, in
// order: each begins where the one before has ended.
func TestStockAgent(t *testing.T) {
	binary := os.Getenv("HAVN_TEST_ECS_AGENT")
	if binary == "" {
		t.Skip("there is no stock agent to run: HAVN_TEST_ECS_AGENT does not name its binary")
	}
	docker, err := findDocker()
	if err != nil {
		t.Skipf("the stock agent needs a Docker engine: %v", err)
	}
	needRoot(t)
	if l, err := net.Listen("tcp", "127.0.0.1:51678"); err != nil {
		t.Skipf("an ECS agent runs on this machine already, and there can be only one: %v", err)
	} else {
		l.Close()
	}

	s := newSite(t)
	h := s.start(t, "--no-node")
	if _, err := h.CreateCluster(within(t), &ecs.CreateClusterInput{ClusterName: aws.String("default")}); err != nil {
		t.Fatal(err)
	}
	w := &stockWorld{havnOf: h, binary: binary, data: filepath.Join(s.dir, "agent"), docker: docker}
	w.image = "havn-test/" + filepath.Base(s.dir) + ":v1"
	t.Cleanup(w.clear)
	w.loadImage()
	w.startAgent()

	t.Log("it registers, and says what it is and has")
	instance := w.connected()
	said, err := exec.Command(binary, "-version").CombinedOutput()
	if version := aws.ToString(instance.VersionInfo.AgentVersion); err != nil || version == "" || !strings.Contains(string(said), version) {
		t.Errorf("the agent's version is described as %q; it says %s (%v)", version, said, err)
	}
	if aws.ToString(instance.Status) != "ACTIVE" || len(instance.RegisteredResources) == 0 {
		t.Errorf("the container instance is %s with %v", aws.ToString(instance.Status), instance.RegisteredResources)
	}

	t.Log("it runs the example, where the attributes that the example requires are")
	if definition := w.defineLike("web", nil); len(definition.RequiresAttributes) == 0 {
		t.Error("the example requires no attribute, so that its placement shows nothing")
	}
	web := w.running(w.run("web"))[0]
	w.wantAnswer(web)
	if c := w.inspect(*web.Containers[0].RuntimeId); !c.State.Running {
		t.Fatalf("the engine shows the task's container as %+v", c.State)
	}

	t.Log("a crash of Havn: the agent comes back, and nothing is started again")
	w.sameContainers("a crash of Havn", func() {
		w.crash()
		w.up("--no-node")
		w.sameInstance(instance)
	})
	w.wantAnswer(web)

	t.Log("a Havn restored from a backup: the agent stops what it no longer knows, and nothing else")
	w.sameContainers("the restoration", func() {
		backup := w.home + ".backup"
		w.crash()
		if err := os.CopyFS(backup, os.DirFS(w.home)); err != nil {
			t.Fatal(err)
		}
		w.up("--no-node")
		w.sameInstance(instance)
		lost := *w.running(w.run("web"))[0].Containers[0].RuntimeId
		w.crash()
		if err := os.RemoveAll(w.home); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(backup, w.home); err != nil {
			t.Fatal(err)
		}
		w.up("--no-node")
		eventually(t, "the forgotten task's container has stopped", func() bool { return !w.inspect(lost).State.Running })
		if err := docker.remove(within(t), lost); err != nil {
			t.Fatal(err)
		}
		w.sameInstance(instance)
	})
	w.wantAnswer(web)

	t.Log("a crash of the agent: it is the same container instance afterwards, with the same tasks")
	w.sameContainers("a crash of the agent", func() {
		w.killAgent()
		eventually(t, "the agent is seen to be gone", func() bool { return connected(w.instances()) == 0 })
		w.startAgent()
		w.sameInstance(instance)
	})
	web = w.running(*web.TaskArn)[0]

	t.Log("it stops the example")
	w.stop(web, "enough of it")
	w.wantStopped(*web.TaskArn, types.TaskStopCodeUserInitiated, "enough of it", "", 0)
	if _, err := http.Get(w.address(web)); err == nil {
		t.Errorf("%s still answers", w.address(web))
	}

	t.Log("what is asked while the agent is away is done when it is back")
	away := w.running(w.run("web"))[0]
	w.killAgent()
	w.stop(away, "while nobody was there")
	w.startAgent()
	w.wantStopped(*away.TaskArn, types.TaskStopCodeUserInitiated, "while nobody was there", "", 0)

	t.Log("what cannot run ends in ECS's words")
	w.defineLike("no-image", func(c *types.ContainerDefinition) { c.Image = aws.String("127.0.0.1:1/nothing:v1") })
	w.defineLike("no-command", func(c *types.ContainerDefinition) { c.EntryPoint = []string{"/nonexistent"} })
	w.defineLike("exits", func(c *types.ContainerDefinition) {
		c.EntryPoint, c.Command = []string{"/bin/sh", "-c"}, []string{"exit 3"}
	})
	w.sameInstance(instance)
	noImage, noCommand, exits := w.run("no-image"), w.run("no-command"), w.run("exits")
	w.wantStopped(noImage, types.TaskStopCodeTaskFailedToStart, "Task failed to start", "CannotPull", none)
	w.wantStopped(noCommand, types.TaskStopCodeTaskFailedToStart, "Task failed to start", "CannotStartContainerError", none)
	w.wantStopped(exits, types.TaskStopCodeEssentialContainerExited, "Essential container in task exited", "", 3)

	t.Log("all that it took is free again")
	left := w.connected()
	if has, free := plainResources(left.RegisteredResources), plainResources(left.RemainingResources); has != free || left.RunningTasksCount+left.PendingTasksCount != 0 {
		t.Errorf("%d tasks run and %d wait; of %s, %s is left", left.RunningTasksCount, left.PendingTasksCount, has, free)
	}
}

func plainResources(list []types.Resource) string {
	plain := map[string]string{}
	for _, r := range list {
		plain[*r.Name] = fmt.Sprint(r.IntegerValue, r.StringSetValue)
	}
	return fmt.Sprint(plain)
}

// stockWorld is a Havn without a node, a stock agent and a Docker engine.
type stockWorld struct {
	*havnOf
	image string // the example's, under a name that is this test's alone

	binary string
	data   string // folder of the agent
	agent  *exec.Cmd
	ended  chan struct{} // closed when the agent has
	docker dockerEngine
}

// clear ends the agent, and removes from the engine all that was made there. Havn is the site's.
func (w *stockWorld) clear() {
	w.killAgent()
	if w.t.Failed() {
		w.t.Logf("the log of the agent ends:\n%s", lastLines(filepath.Join(w.data, "log"), 60))
	}
	for _, id := range w.containers() {
		if err := w.docker.remove(within(w.t), id); err != nil {
			w.t.Error(err)
		}
	}
	if err := w.docker.do(within(w.t), http.MethodDelete, "/images/"+w.image, nil, nil); err != nil {
		w.t.Error(err)
	}
	if !isRunning(w.home) {
		return
	}
	// Nobody would stop the tasks that a failed test leaves: their node is gone for good.
	for arn := range w.instances() {
		_, err := w.DeregisterContainerInstance(within(w.t), &ecs.DeregisterContainerInstanceInput{ContainerInstance: &arn, Force: aws.Bool(true)})
		if err != nil {
			w.t.Error(err)
		}
	}
}

// loadImage loads the example's image, with a shell in it.
func (w *stockWorld) loadImage() {
	var archive bytes.Buffer
	err := testimage.WriteArchive(&archive, w.image, testimage.Spec{
		Files:  map[string]string{"/web": filepath.Join(archives, "web"), "/bin/sh": "/bin/busybox"},
		Config: v1.Config{Entrypoint: []string{"/web"}, ExposedPorts: map[string]struct{}{"80/tcp": {}}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.docker.do(within(w.t), http.MethodPost, "/images/load?quiet=1", &archive, nil); err != nil {
		w.t.Fatal(err)
	}
}

func (w *stockWorld) crash() {
	w.t.Helper()
	if err := crash(w.home); err != nil {
		w.t.Fatal(err)
	}
}

// startAgent starts the agent as one that is not on EC2, with nothing of AWS in reach.
func (w *stockWorld) startAgent() {
	w.t.Helper()
	state := filepath.Join(w.data, "data")
	if err := os.MkdirAll(state, 0o700); err != nil {
		w.t.Fatal(err)
	}
	log, err := os.OpenFile(filepath.Join(w.data, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		w.t.Fatal(err)
	}
	defer log.Close()
	w.agent = exec.Command(w.binary)
	w.agent.Stdout, w.agent.Stderr = log, log
	w.agent.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	w.agent.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + w.data,
		"ECS_BACKEND_HOST=" + w.endpoint,
		"AWS_DEFAULT_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID=" + w.key.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY=" + w.key.SecretAccessKey,
		"ECS_CLUSTER=default",
		"ECS_EXTERNAL=true",
		"ECS_DATADIR=" + state, "ECS_HOST_DATA_DIR=" + w.data,
		`ECS_AVAILABLE_LOGGING_DRIVERS=["json-file","none"]`,
		"ECS_IMAGE_PULL_BEHAVIOR=prefer-cached",
		"ECS_DISABLE_IMAGE_CLEANUP=true",
		"ECS_ENABLE_TASK_CPU_MEM_LIMIT=false", // its cgroups would outlive the test
		"DOCKER_HOST=" + w.docker.host,
	}
	if err := w.agent.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.ended = make(chan struct{})
	go func(agent *exec.Cmd, ended chan struct{}) {
		agent.Wait() //nolint:errcheck // that it ended is what matters
		close(ended)
	}(w.agent, w.ended)
}

func (w *stockWorld) killAgent() {
	if w.agent != nil {
		w.agent.Process.Kill() //nolint:errcheck // it may have ended
		<-w.ended
		w.agent = nil
	}
}

// connected waits until the agent is, and describes its container instance.
func (w *stockWorld) connected() types.ContainerInstance {
	w.t.Helper()
	var all map[string]bool
	eventually(w.t, "the agent is connected", func() bool {
		select {
		case <-w.ended:
			w.t.Fatal("the agent has ended by itself")
		default:
		}
		all = w.instances()
		return connected(all) > 0
	})
	if len(all) != 1 {
		w.t.Fatalf("the agent is more than one container instance: %v", all)
	}
	for arn := range all {
		out, err := w.DescribeContainerInstances(within(w.t), &ecs.DescribeContainerInstancesInput{ContainerInstances: []string{arn}})
		if err != nil {
			w.t.Fatal(err)
		}
		return out.ContainerInstances[0]
	}
	panic("unreachable")
}

// sameInstance waits until the agent is connected, as the container instance that it was.
func (w *stockWorld) sameInstance(was types.ContainerInstance) {
	w.t.Helper()
	if is := w.connected(); *is.ContainerInstanceArn != *was.ContainerInstanceArn {
		w.t.Fatalf("the agent was %s and is %s", *was.ContainerInstanceArn, *is.ContainerInstanceArn)
	}
}

// defineLike registers the example under a family, with our image and what else is to be different.
func (w *stockWorld) defineLike(family string, change func(*types.ContainerDefinition)) *types.TaskDefinition {
	w.t.Helper()
	content, err := os.ReadFile("../examples/web/taskdef.json")
	if err != nil {
		w.t.Fatal(err)
	}
	var in ecs.RegisterTaskDefinitionInput
	if err := json.Unmarshal(content, &in); err != nil {
		w.t.Fatal(err)
	}
	in.Family, in.ContainerDefinitions[0].Image = &family, &w.image
	if change != nil {
		change(&in.ContainerDefinitions[0])
	}
	out, err := w.RegisterTaskDefinition(within(w.t), &in)
	if err != nil {
		w.t.Fatal(err)
	}
	return out.TaskDefinition
}

func (w *stockWorld) stop(task types.Task, reason string) {
	w.t.Helper()
	if _, err := w.StopTask(within(w.t), &ecs.StopTaskInput{Task: task.TaskArn, Reason: &reason}); err != nil {
		w.t.Fatal(err)
	}
}

// none is the exit code of a container that never ran.
const none = -1

// wantStopped waits for the end of a task, and looks whether it is as it should be.
func (w *stockWorld) wantStopped(task string, code types.TaskStopCode, reason, containerReason string, exitCode int32) {
	w.t.Helper()
	d := w.stopped(task)
	if d.StopCode != code || aws.ToString(d.StoppedReason) != reason {
		w.t.Errorf("the task stopped with %s, %q; want %s, %q", d.StopCode, aws.ToString(d.StoppedReason), code, reason)
	}
	c := d.Containers[0]
	if got := aws.ToString(c.Reason); !strings.HasPrefix(got, containerReason) || containerReason == "" && got != "" {
		w.t.Errorf("the container's reason is %q; want %q", got, containerReason)
	}
	got := int32(none)
	if c.ExitCode != nil {
		got = *c.ExitCode
	}
	if got != exitCode {
		w.t.Errorf("the exit code is %d; want %d", got, exitCode)
	}
}

// address is where the example answers.
func (w *stockWorld) address(task types.Task) string {
	w.t.Helper()
	bindings := task.Containers[0].NetworkBindings
	if len(bindings) != 1 || aws.ToInt32(bindings[0].ContainerPort) != 80 || aws.ToInt32(bindings[0].HostPort) == 0 {
		w.t.Fatalf("the network bindings are %+v", bindings)
	}
	return fmt.Sprintf("http://127.0.0.1:%d", *bindings[0].HostPort)
}

// wantAnswer asks the example; it may be a moment until it listens.
func (w *stockWorld) wantAnswer(task types.Task) {
	w.t.Helper()
	var answer []byte
	eventually(w.t, "the example answers", func() bool {
		res, err := http.Get(w.address(task))
		if err != nil {
			return false
		}
		defer res.Body.Close()
		answer, err = io.ReadAll(res.Body)
		return err == nil
	})
	if !bytes.HasPrefix(answer, []byte("Hello from Havn: ")) {
		w.t.Errorf("the example answers %q", answer)
	}
}

// sameContainers does something that must leave the engine's containers as they are.
func (w *stockWorld) sameContainers(after string, do func()) {
	w.t.Helper()
	look := func() string {
		var all []string
		for _, id := range w.containers() {
			c := w.inspect(id)
			all = append(all, fmt.Sprintf("%s running %t since %s, restarted %d times", id[:12], c.State.Running, c.State.StartedAt, c.RestartCount))
		}
		return strings.Join(all, "\n")
	}
	before := look()
	do()
	if now := look(); now != before {
		w.t.Errorf("before %s:\n%s\nafter it:\n%s", after, before, now)
	}
}

// containers lists those of our image, running or not. No one else has it.
func (w *stockWorld) containers() (ids []string) {
	w.t.Helper()
	var list []struct{ ID string }
	filters := url.QueryEscape(fmt.Sprintf(`{"ancestor":[%q]}`, w.image))
	if err := w.docker.do(within(w.t), http.MethodGet, "/containers/json?all=1&filters="+filters, nil, &list); err != nil {
		w.t.Error(err)
	}
	for _, c := range list {
		ids = append(ids, c.ID)
	}
	return ids
}

func (w *stockWorld) inspect(id string) (c dockerContainer) {
	w.t.Helper()
	if err := w.docker.do(within(w.t), http.MethodGet, "/containers/"+id+"/json", nil, &c); err != nil {
		w.t.Fatal(err)
	}
	return c
}

// dockerEngine is a Docker engine, spoken to in its own HTTP API.
type dockerEngine struct {
	host   string // as in DOCKER_HOST
	client *http.Client
}

type dockerContainer struct {
	RestartCount int
	State        struct {
		Running   bool
		StartedAt string
	}
}

// findDocker finds the engine at DOCKER_HOST, or where it usually is, and says what is missing.
func findDocker() (dockerEngine, error) {
	d := dockerEngine{host: os.Getenv("DOCKER_HOST")}
	if d.host == "" {
		d.host = "unix:///var/run/docker.sock"
	}
	network, address, found := strings.Cut(d.host, "://")
	if !found || network != "unix" && network != "tcp" {
		return d, fmt.Errorf("DOCKER_HOST is %s, neither unix:// nor tcp://", d.host)
	}
	d.client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := d.do(ctx, http.MethodGet, "/_ping", nil, nil); err != nil {
		return d, fmt.Errorf("none answers at %s: %w", d.host, err)
	}
	return d, nil
}

func (d dockerEngine) remove(ctx context.Context, id string) error {
	return d.do(ctx, http.MethodDelete, "/containers/"+id+"?force=1&v=1", nil, nil)
}

// do sends a request to the engine, and decodes its answer into out if that is not nil.
func (d dockerEngine) do(ctx context.Context, method, path string, body io.Reader, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://docker"+path, body)
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/x-tar")
	}
	res, err := d.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	content, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, bytes.TrimSpace(content))
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(content, out)
}

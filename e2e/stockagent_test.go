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

// stockPatience is how long anything may take that the stock agent is to do. The slowest is to give up an image: half a minute.
const stockPatience = 3 * time.Minute

// TestStockAgent runs the container agent of Amazon ECS, unmodified, against a Havn that has no node of its own. The
// agent is a binary that HAVN_TEST_ECS_AGENT names, and starts containers on the Docker engine at DOCKER_HOST. The
// steps are one session, in order: each begins where the one before has ended.
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
	w := &stockWorld{t: t, home: s.home(), listen: "127.0.0.1:" + freePort(), binary: binary, data: filepath.Join(s.dir, "agent"), docker: docker}
	w.ctx, w.cancel = context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(w.clear)
	w.cluster = "stock-" + filepath.Base(s.dir)
	w.image = strings.ToLower("havn-test/" + w.cluster + ":v1")
	w.loadWeb()
	w.startHavn()
	if _, err := w.ecs.CreateCluster(w.ctx, &ecs.CreateClusterInput{ClusterName: &w.cluster}); err != nil {
		t.Fatal(err)
	}
	w.startAgent()

	t.Log("it registers, and says what it is and has")
	instance := w.awaitConnected(nil)
	said, err := exec.Command(binary, "-version").CombinedOutput()
	if version := aws.ToString(instance.VersionInfo.AgentVersion); err != nil || version == "" || !strings.Contains(string(said), version) {
		t.Errorf("the agent's version is described as %q; it says %s (%v)", version, said, err)
	}
	if instance.Status == nil || *instance.Status != "ACTIVE" || len(instance.RegisteredResources) == 0 {
		t.Errorf("the container instance is %v with %v", aws.ToString(instance.Status), instance.RegisteredResources)
	}

	t.Log("it runs the example, where the attributes that the example requires are")
	definition := w.register("web", nil)
	if len(definition.RequiresAttributes) == 0 {
		t.Error("the example requires no attribute, so that its placement shows nothing")
	}
	web := w.run("web")
	w.awaitRunning(web)
	container := w.container(web)
	w.wantAnswer(web)
	if running, err := w.docker.inspect(w.ctx, *container.RuntimeId); err != nil || !running.State.Running {
		t.Fatalf("the engine shows the task's container as %+v (%v)", running.State, err)
	}

	t.Log("a crash of Havn: the agent comes back, and nothing is started again")
	w.sameContainers("a crash of Havn", func() {
		w.crash()
		w.startHavn()
		w.awaitConnected(instance.ContainerInstanceArn)
	})
	w.wantAnswer(web)

	t.Log("a Havn restored from a backup: the agent stops what it no longer knows, and nothing else")
	var lost types.Container
	w.sameContainers("the restoration", func() {
		backup := w.home + ".backup"
		w.crash()
		if err := os.CopyFS(backup, os.DirFS(w.home)); err != nil {
			t.Fatal(err)
		}
		w.startHavn()
		later := w.run("web")
		w.awaitRunning(later)
		lost = w.container(later)
		w.crash()
		if err := os.RemoveAll(w.home); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(backup, w.home); err != nil {
			t.Fatal(err)
		}
		w.startHavn()
		w.await("the forgotten task's container has stopped", func() bool {
			c, err := docker.inspect(w.ctx, *lost.RuntimeId)
			if err != nil {
				t.Fatal(err)
			}
			return !c.State.Running
		})
		if err := docker.remove(w.ctx, *lost.RuntimeId); err != nil {
			t.Fatal(err)
		}
		w.awaitConnected(instance.ContainerInstanceArn)
	})
	w.wantAnswer(web)

	t.Log("a crash of the agent: it is the same container instance afterwards, with the same tasks")
	w.sameContainers("a crash of the agent", func() {
		w.killAgent()
		w.awaitDisconnected(*instance.ContainerInstanceArn)
		w.startAgent()
		w.awaitConnected(instance.ContainerInstanceArn)
	})
	if task := w.describe(web); aws.ToString(task.LastStatus) != "RUNNING" {
		t.Errorf("the task is %s afterwards", aws.ToString(task.LastStatus))
	}

	t.Log("it stops the example")
	port := w.port(web)
	w.stop(web, "enough of it")
	w.wantStopped(web, types.TaskStopCodeUserInitiated, "enough of it", "")
	if code := w.container(web).ExitCode; code == nil || *code != 0 {
		t.Errorf("the exit code is %v; the example ends with 0 when it is told to", code)
	}
	if _, err := http.Get("http://127.0.0.1:" + port); err == nil {
		t.Errorf("port %s still answers", port)
	}

	t.Log("what is asked while the agent is away is done when it is back")
	away := w.run("web")
	w.awaitRunning(away)
	w.killAgent()
	w.stop(away, "while nobody was there")
	w.startAgent()
	w.wantStopped(away, types.TaskStopCodeUserInitiated, "while nobody was there", "")

	t.Log("what cannot run ends in ECS's words")
	w.register("no-image", func(c *types.ContainerDefinition) { c.Image = aws.String("127.0.0.1:1/nothing:v1") })
	w.register("no-command", func(c *types.ContainerDefinition) { c.EntryPoint = []string{"/nonexistent"} })
	w.register("sh", func(c *types.ContainerDefinition) {
		c.EntryPoint, c.Command = []string{"/bin/sh", "-c"}, []string{"exit 3"}
	})
	noImage, noCommand, exits := w.run("no-image"), w.run("no-command"), w.run("sh")
	w.wantStopped(noImage, types.TaskStopCodeTaskFailedToStart, "Task failed to start", "CannotPull")
	w.wantStopped(noCommand, types.TaskStopCodeTaskFailedToStart, "Task failed to start", "CannotStartContainerError")
	w.wantStopped(exits, types.TaskStopCodeEssentialContainerExited, "Essential container in task exited", "")
	if code := w.container(exits).ExitCode; code == nil || *code != 3 {
		t.Errorf("the exit code is %v, not 3", code)
	}

	t.Log("all that it took is free again")
	left := w.awaitConnected(instance.ContainerInstanceArn)
	if fmt.Sprint(plainResources(left.RemainingResources)) != fmt.Sprint(plainResources(left.RegisteredResources)) || left.RunningTasksCount != 0 || left.PendingTasksCount != 0 {
		t.Errorf("%d tasks run and %d wait; of %v, %v is left", left.RunningTasksCount, left.PendingTasksCount,
			plainResources(left.RegisteredResources), plainResources(left.RemainingResources))
	}
}

func plainResources(list []types.Resource) map[string]string {
	plain := map[string]string{}
	for _, r := range list {
		plain[*r.Name] = fmt.Sprint(r.IntegerValue, r.StringSetValue)
	}
	return plain
}

// stockWorld is a Havn without a node, a stock agent and a Docker engine.
type stockWorld struct {
	t       *testing.T
	ctx     context.Context
	cancel  context.CancelFunc
	home    string // Havn's
	listen  string
	env     map[string]string // what havn env prints
	ecs     *ecs.Client
	cluster string
	image   string

	binary string
	data   string // the agent's
	agent  *exec.Cmd
	ended  chan struct{} // closed when the agent has
	docker dockerEngine
}

// clear ends the agent, and removes from the engine all that was made there. Havn is the site's.
func (w *stockWorld) clear() {
	w.cancel()
	w.killAgent()
	if w.t.Failed() {
		w.t.Logf("the log of the agent ends:\n%s", lastLines(filepath.Join(w.data, "log"), 60))
	}
	ctx, cancel := context.WithTimeout(context.Background(), stockPatience)
	defer cancel()
	for _, id := range w.containers(ctx) {
		if err := w.docker.remove(ctx, id); err != nil {
			w.t.Error(err)
		}
	}
	if err := w.docker.do(ctx, http.MethodDelete, "/images/"+w.image, nil, nil); err != nil {
		w.t.Error(err)
	}
	// Nobody would stop the tasks that a failed test leaves: their node is gone for good.
	if err := w.deregister(ctx); err != nil {
		w.t.Error(err)
	}
}

func (w *stockWorld) deregister(ctx context.Context) error {
	if !isRunning(w.home) {
		return nil
	}
	listed, err := w.ecs.ListContainerInstances(ctx, &ecs.ListContainerInstancesInput{Cluster: &w.cluster})
	if err != nil {
		return err
	}
	for _, arn := range listed.ContainerInstanceArns {
		if _, err := w.ecs.DeregisterContainerInstance(ctx, &ecs.DeregisterContainerInstanceInput{Cluster: &w.cluster, ContainerInstance: &arn, Force: aws.Bool(true)}); err != nil {
			return err
		}
	}
	return nil
}

// loadWeb loads the example's image, with a shell in it, under a name of our own.
func (w *stockWorld) loadWeb() {
	web := filepath.Join(archives, "web")
	if _, err := os.Stat(web); err != nil {
		w.t.Fatal(err)
	}
	var archive bytes.Buffer
	err := testimage.WriteArchive(&archive, w.image, testimage.Spec{
		Files:  map[string]string{"/web": web, "/bin/sh": "/bin/busybox"},
		Config: v1.Config{Entrypoint: []string{"/web"}, ExposedPorts: map[string]struct{}{"80/tcp": {}}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.docker.do(w.ctx, http.MethodPost, "/images/load?quiet=1", &archive, nil); err != nil {
		w.t.Fatal(err)
	}
}

// startHavn starts the control plane where it was, and a client of it.
func (w *stockWorld) startHavn() {
	if err := havn(w.home, "up", "--detach", "--no-node", "--listen", w.listen); err != nil {
		w.t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(binaries, "havn"), "env", "--data-dir", w.home)
	out, err := cmd.Output()
	if err != nil {
		w.t.Fatal(err)
	}
	w.env = map[string]string{}
	for line := range strings.Lines(string(out)) {
		if line, ok := strings.CutPrefix(line, "export "); ok {
			name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			w.env[name] = value
		}
	}
	w.ecs = ecs.New(ecs.Options{
		BaseEndpoint: aws.String(w.env["AWS_ENDPOINT_URL"]),
		Region:       w.env["AWS_REGION"],
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: w.env["AWS_ACCESS_KEY_ID"], SecretAccessKey: w.env["AWS_SECRET_ACCESS_KEY"]}, nil
		}),
	})
}

func (w *stockWorld) crash() {
	w.t.Helper()
	if err := crash(w.home); err != nil {
		w.t.Fatal(err)
	}
}

// startAgent starts the agent as one that is not on EC2, with nothing of AWS in reach.
func (w *stockWorld) startAgent() {
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
		"ECS_BACKEND_HOST=" + w.env["AWS_ENDPOINT_URL"],
		"AWS_DEFAULT_REGION=" + w.env["AWS_REGION"],
		"AWS_ACCESS_KEY_ID=" + w.env["AWS_ACCESS_KEY_ID"],
		"AWS_SECRET_ACCESS_KEY=" + w.env["AWS_SECRET_ACCESS_KEY"],
		"ECS_CLUSTER=" + w.cluster,
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
		w.agent, w.ended = nil, nil
	}
}

// await looks until something is so. An agent that has been started must not end before.
func (w *stockWorld) await(what string, so func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, stockPatience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-w.ended:
			w.t.Fatalf("the agent has ended, and it is not so that %s", what)
		case <-ctx.Done():
			w.t.Fatalf("still not: %s", what)
		}
	}
}

// awaitConnected waits until the agent is connected as the container instance of that ARN, or any, and as no other.
func (w *stockWorld) awaitConnected(arn *string) (connected types.ContainerInstance) {
	w.t.Helper()
	w.await("the agent is connected", func() bool {
		listed, err := w.ecs.ListContainerInstances(w.ctx, &ecs.ListContainerInstancesInput{Cluster: &w.cluster})
		if err != nil {
			w.t.Fatal(err)
		}
		if len(listed.ContainerInstanceArns) == 0 {
			return false
		}
		if len(listed.ContainerInstanceArns) > 1 || arn != nil && listed.ContainerInstanceArns[0] != *arn {
			w.t.Fatalf("the agent is container instance %q", listed.ContainerInstanceArns)
		}
		connected = w.instance(listed.ContainerInstanceArns[0])
		return connected.AgentConnected
	})
	return connected
}

func (w *stockWorld) awaitDisconnected(arn string) {
	w.t.Helper()
	w.await("the agent is seen to be gone", func() bool { return !w.instance(arn).AgentConnected })
}

func (w *stockWorld) instance(arn string) types.ContainerInstance {
	w.t.Helper()
	out, err := w.ecs.DescribeContainerInstances(w.ctx, &ecs.DescribeContainerInstancesInput{Cluster: &w.cluster, ContainerInstances: []string{arn}})
	if err != nil || len(out.ContainerInstances) != 1 {
		w.t.Fatalf("the container instance is described as %+v (%v)", out, err)
	}
	return out.ContainerInstances[0]
}

// register registers the example under a family, with our image and what else is to be different.
func (w *stockWorld) register(family string, change func(*types.ContainerDefinition)) *types.TaskDefinition {
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
	out, err := w.ecs.RegisterTaskDefinition(w.ctx, &in)
	if err != nil {
		w.t.Fatal(err)
	}
	return out.TaskDefinition
}

func (w *stockWorld) run(family string) (task string) {
	w.t.Helper()
	w.awaitConnected(nil) // else there is nowhere to place it
	out, err := w.ecs.RunTask(w.ctx, &ecs.RunTaskInput{Cluster: &w.cluster, TaskDefinition: &family, LaunchType: types.LaunchTypeEc2})
	if err != nil {
		w.t.Fatal(err)
	}
	if len(out.Failures) > 0 || len(out.Tasks) != 1 {
		w.t.Fatalf("RunTask of %s places %d tasks, with failures %+v", family, len(out.Tasks), out.Failures)
	}
	return *out.Tasks[0].TaskArn
}

func (w *stockWorld) describe(task string) types.Task {
	w.t.Helper()
	out, err := w.ecs.DescribeTasks(w.ctx, &ecs.DescribeTasksInput{Cluster: &w.cluster, Tasks: []string{task}})
	if err != nil || len(out.Tasks) != 1 || len(out.Tasks[0].Containers) != 1 {
		w.t.Fatalf("the task is described as %+v (%v)", out, err)
	}
	return out.Tasks[0]
}

func (w *stockWorld) container(task string) types.Container {
	w.t.Helper()
	return w.describe(task).Containers[0]
}

func (w *stockWorld) awaitRunning(task string) {
	w.t.Helper()
	w.await("the task runs", func() bool {
		d := w.describe(task)
		if aws.ToString(d.LastStatus) == "STOPPED" {
			w.t.Fatalf("the task has stopped: %s; %s", aws.ToString(d.StoppedReason), aws.ToString(d.Containers[0].Reason))
		}
		return aws.ToString(d.LastStatus) == "RUNNING"
	})
}

func (w *stockWorld) stop(task, reason string) {
	w.t.Helper()
	if _, err := w.ecs.StopTask(w.ctx, &ecs.StopTaskInput{Cluster: &w.cluster, Task: &task, Reason: &reason}); err != nil {
		w.t.Fatal(err)
	}
}

// wantStopped waits for the end of a task, and looks whether it is as it should be.
func (w *stockWorld) wantStopped(task string, code types.TaskStopCode, reason, containerReason string) {
	w.t.Helper()
	w.await("the task has stopped", func() bool { return aws.ToString(w.describe(task).LastStatus) == "STOPPED" })
	d := w.describe(task)
	if d.StopCode != code || aws.ToString(d.StoppedReason) != reason {
		w.t.Errorf("the task stopped with %s, %q; want %s, %q", d.StopCode, aws.ToString(d.StoppedReason), code, reason)
	}
	got := aws.ToString(d.Containers[0].Reason)
	if !strings.HasPrefix(got, containerReason) || containerReason == "" && got != "" {
		w.t.Errorf("the container's reason is %q; want %q", got, containerReason)
	}
}

func (w *stockWorld) port(task string) string {
	w.t.Helper()
	bindings := w.container(task).NetworkBindings
	if len(bindings) != 1 || aws.ToInt32(bindings[0].ContainerPort) != 80 || aws.ToInt32(bindings[0].HostPort) == 0 {
		w.t.Fatalf("the network bindings are %+v", bindings)
	}
	return fmt.Sprint(*bindings[0].HostPort)
}

// wantAnswer asks the example at its port; it may be a moment until it listens.
func (w *stockWorld) wantAnswer(task string) {
	w.t.Helper()
	address := "http://127.0.0.1:" + w.port(task)
	var answer []byte
	w.await("the example answers", func() bool {
		res, err := http.Get(address)
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
		for _, id := range w.containers(w.ctx) {
			c, err := w.docker.inspect(w.ctx, id)
			if err != nil {
				w.t.Fatal(err)
			}
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

// containers lists what the agent has made, running or not.
func (w *stockWorld) containers(ctx context.Context) (ids []string) {
	filter, err := json.Marshal(map[string][]string{"label": {"com.amazonaws.ecs.cluster=" + w.cluster}})
	if err != nil {
		w.t.Fatal(err)
	}
	var list []struct{ Id string }
	if err := w.docker.do(ctx, http.MethodGet, "/containers/json?all=1&filters="+url.QueryEscape(string(filter)), nil, &list); err != nil {
		w.t.Error(err)
	}
	for _, c := range list {
		ids = append(ids, c.Id)
	}
	return ids
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

func (d dockerEngine) inspect(ctx context.Context, id string) (c dockerContainer, err error) {
	err = d.do(ctx, http.MethodGet, "/containers/"+id+"/json", nil, &c)
	return c, err
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

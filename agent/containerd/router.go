package containerd

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"havn/agent/firelens"
	"havn/agent/network"
	"havn/agent/volume"
	"havn/protocol"
)

// firelensDriver is the log driver of a container whose output goes through its task's log router.
const firelensDriver = "awsfirelens"

// drainTime is how long a log router is waited for to take what a container has printed before it ended. Without an end, a
// router that runs and takes nothing would keep its task from stopping.
const drainTime = 30 * time.Second

// maxRouterConfig is how many bytes of configuration a router may take from S3.
const maxRouterConfig = 1 << 20

// routerDir has what a task's log router finds in its container: its configuration, and a folder for its socket.
func (r *Runtime) routerDir(taskARN string) string {
	return filepath.Join(r.taskDir(taskARN), "firelens")
}

func (r *Runtime) routerSocket(taskARN string) string {
	return filepath.Join(r.routerDir(taskARN), "socket", firelens.SocketName)
}

// throughRouter is the log configuration of a container that logs by awsfirelens: Docker's driver fluentd, to the socket of
// the router. What else its options say is the router's, and in its configuration.
func (r *Runtime) throughRouter(task *protocol.Task, c *protocol.Container, l *protocol.LogConfig) *protocol.LogConfig {
	socket := url.URL{Scheme: "unix", Path: r.routerSocket(task.ARN)}
	to := &protocol.LogConfig{Type: "fluentd", Config: map[string]string{
		"tag": firelens.Tag(c.Name, TaskID(task.ARN)), "fluentd-address": socket.String(),
		"fluentd-async": "true", "fluentd-sub-second-precision": "true",
	}}
	if limit := l.Config[firelens.BufferLimit]; limit != "" {
		to.Config["fluentd-buffer-limit"] = limit
	}
	return to
}

func routed(c *protocol.Container) (*protocol.LogConfig, error) {
	docker, err := dockerOf(c)
	if err != nil || docker.host.LogConfig == nil || docker.host.LogConfig.Type != firelensDriver {
		return nil, err
	}
	return docker.host.LogConfig, nil
}

func routerOf(task *protocol.Task) *protocol.Container {
	for i := range task.Containers {
		if task.Containers[i].Firelens != nil {
			return &task.Containers[i]
		}
	}
	return nil
}

// routerFiles are the files that a task's log router finds in its container, by their paths there; none if the container
// is no router.
func (r *Runtime) routerFiles(task *protocol.Task, c *protocol.Container) (map[string]string, error) {
	if c.Firelens == nil {
		return nil, nil
	}
	kind, options := c.Firelens.Type, c.Firelens.Options
	router := firelens.Router{Kind: kind, Memory: c.Memory, Network: modeOf(task, c) == network.Bridge}
	if on, err := strconv.ParseBool(options["enable-ecs-log-metadata"]); on || err != nil { // unless it is refused
		router.Record = map[string]string{
			"ecs_cluster":         task.ClusterARN[strings.LastIndexByte(task.ClusterARN, '/')+1:],
			"ecs_task_arn":        task.ARN,
			"ecs_task_definition": task.Family + ":" + task.Version,
		}
	}
	files := map[string]string{}
	switch source := options["config-file-type"]; source {
	case "":
	case "file":
		router.Include = options["config-file-value"]
	case "s3":
		data, err := r.buckets.Read(options["config-file-value"], maxRouterConfig)
		if err != nil {
			return nil, &resourceError{"ResourceInitializationError: unable to download firelens config file", err}
		}
		router.Include = firelens.ExternalPath(kind)
		files[router.Include] = string(data)
	default:
		return nil, &resourceError{"ResourceInitializationError", fmt.Errorf("a config-file-type %q is not known", source)}
	}
	for i := range task.Containers {
		l, err := routed(&task.Containers[i])
		if err != nil {
			return nil, err
		}
		if l != nil {
			router.Sources = append(router.Sources, firelens.Source{Container: task.Containers[i].Name, Options: l.Config})
		}
	}
	text, err := router.Config()
	if err != nil {
		return nil, &resourceError{"ResourceInitializationError: unable to create firelens config file", err}
	}
	files[firelens.ConfigPath(kind)] = text
	return files, nil
}

// addRouter adds to a log router's mounts what it finds in its container, as its user's own.
func (r *Runtime) addRouter(task *protocol.Task, c *protocol.Container, user specs.User, volumes []mounted) ([]mounted, error) {
	files, err := r.routerFiles(task, c)
	if err != nil || len(files) == 0 {
		return volumes, err
	}
	socket := filepath.Dir(r.routerSocket(task.ARN))
	if err := errors.Join(os.MkdirAll(socket, 0o711), os.Chown(socket, int(user.UID), int(user.GID))); err != nil {
		return nil, err
	}
	add := []mounted{{place: volume.Place{Path: socket}, destination: firelens.SocketFolder}}
	for path, text := range files {
		file := filepath.Join(r.routerDir(task.ARN), filepath.Base(path))
		// In place: a container may have it mounted already.
		err := errors.Join(os.WriteFile(file, []byte(text), 0o600), os.Chown(file, int(user.UID), int(user.GID)))
		if err != nil {
			return nil, err
		}
		add = append(add, mounted{place: volume.Place{Path: file}, destination: path, readOnly: true})
	}
	for _, m := range add {
		if slices.ContainsFunc(volumes, func(other mounted) bool { return other.destination == m.destination }) {
			return nil, fmt.Errorf("Duplicate mount point: %s", m.destination) //nolint:staticcheck // Docker's words
		}
	}
	return append(volumes, add...), nil
}

// routerAddress is where a container that logs by awsfirelens finds its router, in variables; none where the router has no
// address of its own.
func (r *Runtime) routerAddress(ctx context.Context, task *protocol.Task, c *protocol.Container) (map[string]string, error) {
	l, err := routed(c)
	router := routerOf(task)
	if err != nil || l == nil || router == nil || modeOf(task, router) != network.Bridge {
		return nil, err
	}
	at, err := r.attach(ctx, task, router)
	if err != nil || !at.IP.IsValid() {
		return nil, err
	}
	return map[string]string{"FLUENT_HOST": at.IP.String(), "FLUENT_PORT": firelens.Port}, nil
}

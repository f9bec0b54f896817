package containerd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/snapshots"

	"havn/agent/bucket"
	"havn/agent/gpu"
	"havn/agent/logging"
	"havn/agent/network"
	"havn/agent/volume"
	"havn/lifecycle"
	"havn/protocol"
)

// Config says which Runtime to open.
type Config struct {
	DataDir    string // survives a reboot
	RuntimeDir string // does not. A short path: sockets are in it
	// Name is 8 hex digits derived from the data folder. What is ours in the kernel is named by it.
	Name string
	// Environment returns a container's environment with what the node has to say in it; nil says nothing.
	Environment func(task *protocol.Task, container string, env []string) []string
	// ShimPath, RuncPath and InitPath name the three programs; empty means beside this program, else in PATH. InitPath
	// is looked at when a task first needs it.
	ShimPath, RuncPath, InitPath string
	Network                      *network.Network
	CDIDirs                      []string           // empty means where vendors' tools write
	ImagePullBehavior            PullBehavior       // empty means PullDefault
	ImageMaxAge                  time.Duration      // zero means DefaultImageMaxAge
	FileSystems                  volume.FileSystems // what stands for EFS
	Buckets                      bucket.Folders     // what stands for S3
	Logging                      logging.Config     // what log drivers need to know
	Log                          *slog.Logger       // nil means slog.Default
}

// Runtime is the agent's Runtime on an engine of its own. All methods may be called at the same time.
type Runtime struct {
	dataDir     string
	runtimeDir  string
	name        string
	shim, runc  string // links in the runtime folder: they stay where they are when Havn is installed elsewhere
	network     *network.Network
	behavior    PullBehavior
	imageMaxAge time.Duration
	log         *slog.Logger
	environ     func(task *protocol.Task, container string, env []string) []string

	engine     *engine
	client     *client.Client
	containers containers.Store
	tasks      tasksapi.TasksClient
	snapshots  snapshots.Snapshotter
	imageStore images.Store
	images     *Images
	exits      *exits
	cgroups    *cgroups
	pulls      keyed // by an image's name
	volumes    *volume.Store
	buckets    bucket.Folders
	shipper    *logging.Shipper
	drainTime  time.Duration // see drainTime
	making     keyed         // by a container's ID: it is made, started or removed by one at a time
	shims      doors         // by a task's ARN: containers may be made together, but none while another leaves the shim

	initPath   string
	gpus       *gpu.Devices
	sealedInit func() (*os.File, error) // made once, when first needed

	stop     context.CancelFunc
	watching sync.WaitGroup
}

// Open starts the engine and adopts the containers that an earlier process left running.
func Open(ctx context.Context, c Config) (*Runtime, error) {
	r, err := open(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("cannot open the container runtime: %w", err)
	}
	return r, nil
}

func open(ctx context.Context, c Config) (_ *Runtime, err error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	r := &Runtime{
		dataDir: c.DataDir, runtimeDir: c.RuntimeDir, name: c.Name, network: c.Network,
		behavior: c.ImagePullBehavior, imageMaxAge: c.ImageMaxAge, log: c.Log, environ: c.Environment,
		shim: filepath.Join(c.RuntimeDir, shimName), runc: filepath.Join(c.RuntimeDir, runcName),
		initPath: c.InitPath, sealedInit: sync.OnceValues(c.sealedInit),
		exits:   newExits(),
		cgroups: newCgroups(cgroupRoot, c.Name),
		volumes: volume.New(volume.Config{DataDir: c.DataDir, RuntimeDir: c.RuntimeDir, FileSystems: c.FileSystems}),
		buckets: c.Buckets, drainTime: drainTime,
	}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	if r.gpus, err = gpu.Open(c.CDIDirs...); err != nil {
		return nil, err
	}
	shim, err := findBinary(shimName, c.ShimPath)
	if err != nil {
		return nil, err
	}
	runc, err := findBinary(runcName, c.RuncPath)
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{filepath.Join(c.DataDir, "tasks"), filepath.Join(c.DataDir, "logs"), c.RuntimeDir} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(link(shim, r.shim), link(runc, r.runc)); err != nil {
		return nil, err
	}
	logTo(c.Log)
	if r.engine, err = openEngine(ctx, c.DataDir, c.RuntimeDir, c.Log, r.prepareAdoption); err != nil {
		return nil, err
	}
	// The engine gives up a shim that does not answer it, and forgets it, but does not end it. It would answer the next
	// container of its task as little.
	if err := r.killOrphans(ctx); err != nil {
		return nil, err
	}
	if r.client, err = dial(r.engine.socket); err != nil {
		return nil, err
	}
	r.containers = r.client.ContainerService()
	r.tasks = r.client.TaskService()
	r.snapshots = r.client.SnapshotService(snapshotter)
	r.imageStore = r.client.ImageService()
	r.images = newImages(r.client)
	r.images.disk = c.DataDir
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	r.stop = stop
	if r.shipper, err = logging.NewShipper(c.Logging); err != nil {
		return nil, err
	}
	r.watching.Go(func() { r.exits.watch(background, r.client.EventService()) })
	// The namespace must exist, and a first answer means that the engine is ready.
	if _, err := r.client.NamespaceService().Labels(ctx, Namespace); err != nil {
		if err := r.client.NamespaceService().Create(ctx, Namespace, nil); err != nil {
			return nil, fmt.Errorf("cannot make containerd's namespace: %w", err)
		}
	}
	return r, r.images.dropViews(ctx)
}

func (c *Config) complete() error {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Logging.Log == nil {
		c.Logging.Log = c.Log
	}
	if c.Name == "" || fileName(c.Name) != c.Name {
		return fmt.Errorf("the name %q cannot be used", c.Name)
	}
	if c.DataDir == "" || c.RuntimeDir == "" {
		return errors.New("there is no data folder, or no runtime folder")
	}
	if c.ImagePullBehavior == "" {
		c.ImagePullBehavior = PullDefault
	}
	if c.ImageMaxAge == 0 {
		c.ImageMaxAge = DefaultImageMaxAge
	}
	if !c.ImagePullBehavior.valid() {
		return fmt.Errorf("the image pull behavior %q is none of default, always, once, prefer-cached", c.ImagePullBehavior)
	}
	if len(c.CDIDirs) == 0 {
		c.CDIDirs = gpu.DefaultDirs
	}
	if c.Network == nil {
		return errors.New("there is no network")
	}
	var err error
	if c.DataDir, err = filepath.Abs(c.DataDir); err != nil {
		return err
	}
	c.RuntimeDir, err = filepath.Abs(c.RuntimeDir)
	return err
}

// Socket is where the engine listens.
func (r *Runtime) Socket() string { return r.engine.socket }

// GPUs names those that tasks can be given, as the node has them now.
func (r *Runtime) GPUs() []string { return r.gpus.List() }

// Images are the images that containers can be made of.
func (r *Runtime) Images() *Images { return r.images }

// Close stops the engine. Containers run on; where there are none, nothing of ours stays under the runtime folder.
func (r *Runtime) Close() error {
	if r.stop != nil {
		r.stop()
	}
	r.watching.Wait()
	var err error
	if r.shipper != nil {
		err = r.shipper.Close()
	}
	if r.client != nil {
		err = errors.Join(err, r.client.Close())
	}
	if r.engine != nil {
		r.engine.close()
		if r.deserted() {
			err = errors.Join(err, r.leave())
		}
	}
	return err
}

// Perform does one effect; see agent.Runtime.
func (r *Runtime) Perform(ctx context.Context, task *protocol.Task, e lifecycle.Effect) lifecycle.Result {
	result, err := r.perform(ctx, task, e)
	result.Effect = e
	switch {
	case err == nil:
	case ctx.Err() != nil:
		result.Canceled = true
	default:
		result.Reason = reasonOf(e.Verb, err)
		r.log.Info("effect failed", "task", task.ARN, "verb", e.Verb, "container", e.Container, "reason", result.Reason)
	}
	return result
}

func (r *Runtime) perform(ctx context.Context, task *protocol.Task, e lifecycle.Effect) (lifecycle.Result, error) {
	switch e.Verb {
	case lifecycle.Connect:
		return r.connect(ctx, task)
	case lifecycle.Disconnect:
		return lifecycle.Result{}, r.disconnect(ctx, task)
	case lifecycle.Discard:
		return lifecycle.Result{}, r.discard(task)
	}
	if e.Container == "" { // whatever there is of the task, which may be known by its ARN only
		switch e.Verb {
		case lifecycle.Remove, lifecycle.Stop:
			return lifecycle.Result{}, r.each(ctx, task, func(name string) error {
				if e.Verb == lifecycle.Stop {
					return r.stopContainer(ctx, task.ARN, name, e.Grace)
				}
				return r.remove(ctx, task.ARN, name)
			})
		}
	}
	i := slices.IndexFunc(task.Containers, func(c protocol.Container) bool { return c.Name == e.Container })
	if i < 0 {
		return lifecycle.Result{}, fmt.Errorf("task %s has no container %q", task.ARN, e.Container)
	}
	c := &task.Containers[i]
	switch e.Verb {
	case lifecycle.Pull:
		return r.pull(ctx, task, c)
	case lifecycle.Create:
		return r.create(ctx, task, c)
	case lifecycle.Start:
		return r.start(ctx, task, c, e.Round)
	case lifecycle.Wait:
		return r.wait(ctx, task, c, e.Round)
	case lifecycle.Probe:
		return r.probe(ctx, task, c, e.Timeout)
	case lifecycle.Stop:
		return lifecycle.Result{}, r.stopContainer(ctx, task.ARN, c.Name, e.Grace)
	case lifecycle.Ship:
		return lifecycle.Result{}, r.ship(ctx, task, c)
	case lifecycle.Drain:
		return lifecycle.Result{}, r.drain(ctx, task, c)
	case lifecycle.Remove:
		return lifecycle.Result{}, r.remove(ctx, task.ARN, c.Name)
	}
	return lifecycle.Result{}, fmt.Errorf("the verb %q is not known", e.Verb)
}

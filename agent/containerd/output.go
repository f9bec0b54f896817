package containerd

import (
	"context"

	"havn/agent/logging"
	"havn/agent/logging/jsonfile"
	"havn/protocol"
)

// logged is what is known of a container whose output is written down.
func (r *Runtime) logged(task *protocol.Task, c *protocol.Container) (logging.Container, error) {
	docker, err := dockerOf(c)
	if err != nil {
		return logging.Container{}, err
	}
	path := LogPath(r.dataDir, task.ARN, c.Name)
	return logging.Container{
		ID: containerID(task.ARN, c.Name), Name: c.Name, Image: c.Image,
		TaskARN: task.ARN, ClusterARN: task.ClusterARN, Family: task.Family, Version: task.Version,
		Labels: docker.config.Labels, Environment: c.Environment, Config: docker.host.LogConfig,
		Log: path, Cursor: path + "-cursor",
	}, nil
}

// logOptions are how the shim writes down what the container prints.
func (r *Runtime) logOptions(task *protocol.Task, c *protocol.Container) (jsonfile.Options, error) {
	logged, err := r.logged(task, c)
	if err != nil {
		return jsonfile.Options{}, err
	}
	return logged.Spool()
}

// prepareLog fails if the container must not start because of its log's destination.
func (r *Runtime) prepareLog(ctx context.Context, task *protocol.Task, c *protocol.Container) error {
	logged, err := r.logged(task, c)
	if err != nil {
		return err
	}
	return r.shipper.Prepare(ctx, logged)
}

func (r *Runtime) ship(ctx context.Context, task *protocol.Task, c *protocol.Container) error {
	logged, err := r.logged(task, c)
	if err != nil {
		return err
	}
	return r.shipper.Ship(ctx, logged)
}

func (r *Runtime) drain(ctx context.Context, task *protocol.Task, c *protocol.Container) error {
	logged, err := r.logged(task, c)
	if err != nil {
		return err
	}
	return r.shipper.Drain(ctx, logged)
}

package containerd

import (
	"context"
	"strings"

	"havn/agent/logging"
	"havn/agent/logging/jsonfile"
	"havn/protocol"
)

// logged is what is known of a container whose output is written down.
func (r *Runtime) logged(ctx context.Context, task *protocol.Task, c *protocol.Container) (logging.Container, error) {
	docker, err := dockerOf(c)
	if err != nil {
		return logging.Container{}, err
	}
	config := docker.host.LogConfig
	if config != nil && config.Type == firelensDriver {
		config = r.throughRouter(task, c, config)
	}
	var imageID string
	if config != nil && strings.Contains(config.Config["tag"], ".Image") {
		if record, err := r.containers.Get(ctx, containerID(task.ARN, c.Name)); err == nil {
			if id, err := r.imageID(ctx, record.Image); err == nil { // or somebody has removed its name
				imageID = id
			}
		}
	}
	path := LogPath(r.dataDir, task.ARN, c.Name)
	return logging.Container{
		ID: containerID(task.ARN, c.Name), Name: c.Name, Image: c.Image, ImageID: imageID,
		TaskARN: task.ARN, ClusterARN: task.ClusterARN, Family: task.Family, Version: task.Version,
		Labels: docker.config.Labels, Environment: c.Environment, Config: config,
		Log: path, Cursor: path + "-cursor",
	}, nil
}

// logOptions are how the shim writes down what the container prints.
func (r *Runtime) logOptions(ctx context.Context, task *protocol.Task, c *protocol.Container) (jsonfile.Options, error) {
	logged, err := r.logged(ctx, task, c)
	if err != nil {
		return jsonfile.Options{}, err
	}
	return logged.Spool()
}

// prepareLog fails if the container must not start because of its log's destination.
func (r *Runtime) prepareLog(ctx context.Context, task *protocol.Task, c *protocol.Container) error {
	logged, err := r.logged(ctx, task, c)
	if err != nil {
		return err
	}
	return r.shipper.Prepare(ctx, logged)
}

func (r *Runtime) ship(ctx context.Context, task *protocol.Task, c *protocol.Container) error {
	logged, err := r.logged(ctx, task, c)
	if err != nil {
		return err
	}
	return r.shipper.Ship(ctx, logged)
}

func (r *Runtime) drain(ctx context.Context, task *protocol.Task, c *protocol.Container) error {
	logged, err := r.logged(ctx, task, c)
	if err != nil {
		return err
	}
	through, err := routed(c)
	if err != nil {
		return err
	}
	if through == nil {
		return r.shipper.Drain(ctx, logged)
	}
	patient, cancel := context.WithTimeout(ctx, r.drainTime)
	defer cancel()
	err = r.shipper.Drain(patient, logged)
	if err != nil && ctx.Err() == nil {
		r.log.Warn("the last of what a container printed is given up: its log router does not take it", "task", task.ARN, "container", c.Name)
		return nil
	}
	return err
}

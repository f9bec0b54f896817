package containerd

import (
	"context"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"havn/lifecycle"
	"havn/protocol"
)

// PullBehavior says when a registry is asked, in the words of the ECS agent's ECS_IMAGE_PULL_BEHAVIOR.
type PullBehavior string

const (
	// PullDefault asks the registry, and makes do with what is present if that fails.
	PullDefault PullBehavior = "default"
	// PullAlways asks the registry, and fails if that fails.
	PullAlways PullBehavior = "always"
	// PullOnce asks only for an image that no earlier task has pulled.
	PullOnce PullBehavior = "once"
	// PullPreferCached asks only for an image that is not present.
	PullPreferCached PullBehavior = "prefer-cached"
)

func (b PullBehavior) valid() bool {
	return b == PullDefault || b == PullAlways || b == PullOnce || b == PullPreferCached
}

func (r *Runtime) pull(ctx context.Context, task *protocol.Task, c *protocol.Container) (lifecycle.Result, error) {
	result := lifecycle.Result{StartedAt: time.Now()}
	// A container that is there has its image: an agent that was killed before it wrote down that it started
	// one pulls again, and a registry that cannot be reached just then must not fail what runs.
	if made, err := r.containers.Get(ctx, containerID(task.ARN, c.Name)); err == nil {
		result.FinishedAt, result.Digest = time.Now(), made.Labels[labelDigest]
		return result, nil
	} else if !errdefs.IsNotFound(err) {
		return result, err
	}
	image, err := r.pulledFor(ctx, task, c)
	result.FinishedAt = time.Now()
	if err == nil {
		result.Digest = image.digest()
	}
	return result, err
}

// pulledFor returns the image of a container, which it keeps from now on.
func (r *Runtime) pulledFor(ctx context.Context, task *protocol.Task, c *protocol.Container) (*image, error) {
	name, err := canonical(c.Image)
	if err != nil {
		return nil, err
	}
	if err := r.recordTask(task); err != nil {
		return nil, err
	}
	if err := r.markImage(task.ARN, c.Name, name); err != nil {
		return nil, err
	}
	return r.pulled(ctx, name)
}

// pulled returns the image, present and unpacked. Its name is canonical.
func (r *Runtime) pulled(ctx context.Context, name string) (*image, error) {
	// Whoever wants the same image waits, and then finds it.
	done, err := r.pulls.lock(ctx, name)
	if err != nil {
		return nil, err
	}
	defer done()
	present, err := r.images.get(ctx, name)
	if err != nil && !errdefs.IsNotFound(err) {
		return nil, err
	}
	pinned := strings.Contains(name, "@") // and so what is present is what a registry would give
	if present == nil && pinned && r.behavior != PullAlways {
		if present, err = r.images.getByDigest(ctx, name); err != nil {
			return nil, err
		}
	}
	if present != nil && (present.loaded || pinned && r.behavior != PullAlways || r.behavior == PullOnce || r.behavior == PullPreferCached) {
		return present, r.images.ensureUnpacked(ctx, present)
	}
	fetched, err := r.images.pull(ctx, name, present, r.log)
	if err != nil && ctx.Err() == nil && present != nil && r.behavior == PullDefault {
		r.log.Warn("cannot pull an image; the one that is present is used", "image", name, "error", err)
		return present, r.images.ensureUnpacked(ctx, present)
	}
	return fetched, err
}

func (s *Images) ensureUnpacked(ctx context.Context, i *image) error {
	ok, err := s.unpacked(ctx, i)
	if err != nil || ok {
		return err
	}
	return s.unpack(ctx, i)
}

package containerd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A pull tells how far it is this often, and is given up when no byte came for stalled. ECS's agent waits as long.
const (
	progressEvery = 10 * time.Second
	stalled       = time.Minute
)

var errStalled = fmt.Errorf("no progress for %v", stalled)

// A pull can fail at two points, and ECS tells them apart.
type (
	resolveError struct {
		name string
		err  error
	}
	fetchError struct {
		name string
		err  error
	}
)

func (e *resolveError) Error() string { return fmt.Sprintf("cannot resolve %s: %v", e.name, e.err) }
func (e *resolveError) Unwrap() error { return e.err }
func (e *fetchError) Error() string   { return fmt.Sprintf("cannot fetch %s: %v", e.name, e.err) }
func (e *fetchError) Unwrap() error   { return e.err }

// newResolver speaks to any OCI registry. On this machine plain HTTP will do.
func newResolver() remotes.Resolver {
	return docker.NewResolver(docker.ResolverOptions{
		Hosts: docker.ConfigureDefaultRegistries(
			docker.WithPlainHTTP(func(host string) (bool, error) { return onThisMachine(host), nil }),
			docker.WithAuthorizer(docker.NewDockerAuthorizer()),
		),
	})
}

func onThisMachine(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.IsLoopback()
}

// resolved is a resolver that knows one answer: what is fetched is what was resolved, whatever the name means by then.
type resolved struct {
	remotes.Resolver
	name string
	desc ocispec.Descriptor
}

func (r resolved) Resolve(context.Context, string) (string, ocispec.Descriptor, error) {
	return r.name, r.desc, nil
}

// pull asks the registry what the name means, and fetches and unpacks that unless it is present. The name leads to the
// image only when all of it is there.
func (s *Images) pull(ctx context.Context, name string, present *image, log *slog.Logger) (*image, error) {
	resolver := newResolver()
	_, desc, err := resolver.Resolve(ctx, name)
	if err != nil {
		return nil, &resolveError{name, err}
	}
	if present != nil && present.target.Digest == desc.Digest {
		return present, s.ensureUnpacked(ctx, present)
	}
	fetched, err := s.fetch(ctx, resolved{resolver, name, desc}, log)
	if err != nil {
		return nil, &fetchError{name, err}
	}
	return fetched, nil
}

func (s *Images) fetch(ctx context.Context, what resolved, log *slog.Logger) (*image, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	leased, done, err := s.client.WithLease(ctx)
	if err != nil {
		return nil, err
	}
	defer done(context.WithoutCancel(leased))
	p := &progress{ingests: make(map[string]bool), log: log.With("image", familiar(what.name)), began: time.Now()}
	if s.disk != "" {
		if p.room, err = room(s.disk); err != nil {
			return nil, err
		}
		p.content = s.client.ContentStore()
		go watchRoom(ctx, s.disk, cancel)
	}
	go p.watch(ctx, s.client, cancel)
	img, err := s.client.Pull(leased, what.name, client.WithResolver(what), client.WithPullUnpack,
		client.WithPullSnapshotter(snapshotter), client.WithPlatformMatcher(platforms.Default()),
		client.WithImageHandler(images.HandlerFunc(p.saw)))
	if err != nil {
		if cause := context.Cause(ctx); errors.Is(cause, errStalled) || errors.Is(cause, errFull) {
			err = cause
		}
		return nil, err
	}
	return s.info(ctx, img.Metadata())
}

// progress follows a pull.
type progress struct {
	log   *slog.Logger
	began time.Time

	room    int64         // for what is not here yet
	content content.Store // where that is; nil for any amount of room

	mu      sync.Mutex
	ingests map[string]bool // the names under which the pull's parts are being written
	total   int64
	missing int64
}

func (p *progress) saw(ctx context.Context, d ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if key := remotes.MakeRefKey(ctx, d); !p.ingests[key] {
		p.ingests[key] = true
		p.total += d.Size
		if p.content == nil {
			return nil, nil
		}
		if _, err := p.content.Info(ctx, d.Digest); err != nil {
			p.missing += d.Size
		}
	}
	if p.missing > p.room {
		return nil, errFull
	}
	return nil, nil
}

func (p *progress) watch(ctx context.Context, c *client.Client, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	var last int64
	quiet := time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		statuses, err := c.ContentStore().ListStatuses(ctx)
		if err != nil {
			continue
		}
		var now int64
		active := 0
		p.mu.Lock()
		for _, s := range statuses {
			if p.ingests[s.Ref] {
				now += s.Offset
				active++
			}
		}
		total := p.total
		p.mu.Unlock()
		p.log.Info("pulling", "parts", active, "bytes", now, "of", total, "for", time.Since(p.began).Round(time.Second))
		if quiet += progressEvery; active == 0 || now != last { // without parts, it is being unpacked
			quiet = 0
		}
		if last = now; quiet >= stalled {
			cancel(errStalled)
			return
		}
	}
}

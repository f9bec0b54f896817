package containerd

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"strings"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/platforms"
)

// newResolver speaks to any OCI registry. On this machine plain HTTP will do.
func newResolver() remotes.Resolver {
	return docker.NewResolver(docker.ResolverOptions{
		Hosts: docker.ConfigureDefaultRegistries(
			docker.WithPlainHTTP(func(host string) (bool, error) { return onThisMachine(host), nil }),
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

func (s *Images) pull(ctx context.Context, name string, present *image, log *slog.Logger) (*image, error) {
	img, err := s.client.Pull(ctx, name, client.WithResolver(newResolver()), client.WithPullUnpack,
		client.WithPullSnapshotter(snapshotter), client.WithPlatformMatcher(platforms.Default()))
	if err != nil {
		return nil, err
	}
	return s.info(ctx, img.Metadata())
}

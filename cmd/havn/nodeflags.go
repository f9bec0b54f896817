package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"havn/agent/containerd"
)

// nodeConfig is what the flags say that `havn up` and `havn node` have in common: how this machine is to be a node.
type nodeConfig struct {
	pull        string
	imageMaxAge time.Duration
	zone        string
	provider    string // the capacity provider
	storage     storageFlags
}

func (c *nodeConfig) flags(f *pflag.FlagSet) {
	f.StringVar(&c.pull, "image-pull-behavior", "default",
		"when the node pulls: default, always, once or prefer-cached, as the ECS agent's ECS_IMAGE_PULL_BEHAVIOR")
	f.DurationVar(&c.imageMaxAge, "image-max-age", containerd.DefaultImageMaxAge,
		"how long the node keeps a pulled image that no container uses; less where the disk is short")
	f.StringVar(&c.zone, "zone", "", "the availability zone that the node is in; services are spread over zones (default: the region followed by a)")
	f.StringVar(&c.provider, "capacity-provider", "", "the name of the capacity provider that the node belongs to")
	c.storage.addTo(f)
}

// check refuses what cannot work, before anything is touched.
func (c *nodeConfig) check() error {
	switch c.pull {
	case "default", "always", "once", "prefer-cached":
	default:
		return fmt.Errorf("--image-pull-behavior %s is none of default, always, once, prefer-cached", c.pull)
	}
	if c.imageMaxAge < time.Minute {
		return fmt.Errorf("--image-max-age %v is less than a minute: a task that is replaced needs its image again at once", c.imageMaxAge)
	}
	if strings.Trim(c.zone, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return fmt.Errorf("--zone %q is not a name such as us-east-1b", c.zone)
	}
	if strings.Trim(c.provider, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
		return fmt.Errorf("--capacity-provider %q is not a name: letters, digits, - and _", c.provider)
	}
	_, err := c.storage.parse()
	return err
}

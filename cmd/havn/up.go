package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"havn/control"
	"havn/reserve"
)

// upConfig is what the flags of `havn up` say.
type upConfig struct {
	listen  string
	region  string
	account string
	dev     bool
	noNode  bool
	etcd    []string
	node    nodeConfig
	verbose bool
	// steadyAfter is how long a task without any health check must run to count as healthy.
	steadyAfter time.Duration
	// balance are the addresses that internet-facing load balancers listen on beside loopback: all, none, or these.
	balance []string
	// keepStories is how long it is remembered why something did not run.
	keepStories time.Duration
	given       []string // the flags that were given, as --name=value, without --detach and --data-dir
}

func upCommand(open opener) *cobra.Command {
	var c upConfig
	var detach bool
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start the control plane and a node on this machine",
		Long: `Start the control plane and a node on this machine, in one process. It is ready when it says so: the
first API call is answered. Tasks of an earlier run are found again.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := open()
			if err != nil {
				return err
			}
			if err := c.check(); err != nil {
				return err
			}
			c.given = givenFlags(cmd)
			if detach && !detached() {
				return h.detach(cmd, c.given)
			}
			return c.serve(cmd.Context(), h, newLogger(cmd.ErrOrStderr(), c.verbose))
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&detach, "detach", "d", false, "run in the background; return when ready")
	f.StringVar(&c.listen, "listen", "127.0.0.1:4566", "address of the API, the only port of Havn itself")
	f.StringVar(&c.region, "region", "us-east-1", "AWS region to be")
	f.StringVar(&c.account, "account", "000000000000", "AWS account to be, twelve digits")
	f.BoolVar(&c.dev, "dev", false, "accept the access key test/test as root too; loopback only")
	f.BoolVar(&c.noNode, "no-node", false, "a control plane alone: run no containers here")
	f.StringSliceVar(&c.etcd, "etcd", nil, "endpoints of an etcd cluster to keep the state in, instead of the built-in one")
	f.StringSliceVar(&c.balance, "balance-address", []string{"all"}, "addresses of this machine that internet-facing load balancers listen on, beside loopback: all, none, or a list; internal ones never do")
	c.node.flags(f)
	f.DurationVar(&c.steadyAfter, "steady-after", control.DefaultSteadyAfter, "how long a service's task without any health check must run to count as healthy")
	f.DurationVar(&c.keepStories, "keep-stories", control.KeepStories, "how long havn why remembers what a task came to, and what found no place")
	f.BoolVarP(&c.verbose, "verbose", "v", false, "say more in the log")
	return cmd
}

// check refuses flags that cannot work, before anything is touched.
func (c upConfig) check() error {
	host, _, err := net.SplitHostPort(c.listen)
	if err != nil {
		return fmt.Errorf("--listen %s is not an address such as 127.0.0.1:4566: %w", c.listen, err)
	}
	if c.dev && !isLoopback(host) {
		return fmt.Errorf("--dev makes test/test root, so it needs a loopback address; --listen %s is open to others", c.listen)
	}
	if len(c.account) != 12 || strings.Trim(c.account, "0123456789") != "" {
		return fmt.Errorf("--account %s is not twelve digits", c.account)
	}
	if c.region == "" || strings.Trim(c.region, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return fmt.Errorf("--region %q is not a region name such as us-east-1", c.region)
	}
	if _, err := c.outside(); err != nil {
		return err
	}
	return c.node.check()
}

// outside is what --balance-address says; nil is all.
func (c upConfig) outside() ([]netip.Addr, error) {
	switch {
	case slices.Equal(c.balance, []string{"all"}):
		return nil, nil
	case slices.Equal(c.balance, []string{"none"}):
		return []netip.Addr{}, nil
	}
	all := []netip.Addr{}
	for _, text := range c.balance {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("--balance-address %s is not an address, and neither all nor none alone: %w", text, err)
		}
		all = append(all, a)
	}
	return all, nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// identity is what every ARN in a data folder's state is made of. It is written before anything else, so
// that a later start cannot become somebody else over the same state.
type identity struct {
	Region  string `json:"region"`
	Account string `json:"account"`
}

const identityFile = "identity.json"

// remember keeps the region and the account that the folder was first started with.
func (c *upConfig) remember(h home) error {
	var before identity
	err := h.readJSON(identityFile, &before)
	if errors.Is(err, fs.ErrNotExist) {
		return h.writeJSON(identityFile, identity{c.region, c.account})
	}
	if err != nil {
		return err
	}
	for _, one := range []struct {
		flag   string
		now    *string
		before string
	}{{"region", &c.region, before.Region}, {"account", &c.account, before.Account}} {
		if c.isGiven(one.flag) && *one.now != one.before {
			return fmt.Errorf("--%s %s cannot be: what is in data folder %s is of %s %s; choose another --data-dir", one.flag, *one.now, h.dir, one.flag, one.before)
		}
		*one.now = one.before
	}
	return nil
}

func (c *upConfig) isGiven(flag string) bool {
	return slices.ContainsFunc(c.given, func(g string) bool { return strings.HasPrefix(g, "--"+flag+"=") })
}

// serve runs the server until ctx ends.
func (c upConfig) serve(ctx context.Context, h home, log *slog.Logger) (err error) {
	lock, err := h.lock()
	if errors.Is(err, errRunning) {
		if info, serr := h.server(); serr == nil {
			return fmt.Errorf("Havn is already running with data folder %s, at %s (pid %d)", h.dir, info.Endpoint, info.PID)
		}
		return fmt.Errorf("a Havn is already running with data folder %s", h.dir)
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	// Where the disk is full, to start takes a few new files all the same.
	if err := reserve.ThrowBallast(h.path("ballast")); err != nil {
		return err
	}
	if err := c.remember(h); err != nil {
		return err
	}

	s, err := c.start(ctx, h, log)
	if ctx.Err() != nil {
		return s.stop() // told to stop while it started
	}
	if err != nil {
		return err
	}
	if err := reserve.TakeBallast(h.path("ballast")); err != nil {
		log.Warn("the disk is full", "error", err)
	}
	if err := announce(s.info); err != nil {
		return errors.Join(err, s.stop())
	}
	log.Info("ready", "endpoint", s.info.Endpoint, "data", h.dir)
	failure := s.wait(ctx)
	log.Info("stopping; tasks run on")
	err = errors.Join(failure, s.stop())
	os.Remove(h.runtimeDir()) // fails where running containers have something in it
	return err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/spf13/cobra"

	"havn/agent"
	"havn/agent/containerd"
	"havn/agent/logging"
	"havn/agent/metadata"
	"havn/agent/network"
)

func nodeCommand(open opener) *cobra.Command {
	var serverURL, cluster, region string
	var c nodeConfig
	var verbose bool
	cmd := &cobra.Command{
		Use:   "node --server URL",
		Short: "Run a node of a Havn that runs elsewhere",
		Long: `Run a node of a Havn that runs on another machine. Nothing but the ECS agent's protocol goes between them.
Credentials come from where the AWS SDKs look: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in
~/.aws/credentials (or AWS_SHARED_CREDENTIALS_FILE).`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := open()
			if err != nil {
				return err
			}
			u, err := url.Parse(serverURL)
			if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
				return fmt.Errorf("--server %q is not a URL such as http://10.0.0.1:4566", serverURL)
			}
			if err := c.check(); err != nil {
				return err
			}
			sdk, err := config.LoadDefaultConfig(cmd.Context(), config.WithRegion(region))
			if err != nil {
				return fmt.Errorf("cannot read AWS configuration: %w", err)
			}
			key, err := sdk.Credentials.Retrieve(cmd.Context())
			if err != nil {
				return fmt.Errorf("no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SHARED_CREDENTIALS_FILE: %w", err)
			}
			lock, err := h.lock()
			if errors.Is(err, errRunning) {
				return fmt.Errorf("a Havn is already running with data folder %s; a second node on one machine needs another --data-dir", h.dir)
			}
			if err != nil {
				return err
			}
			defer lock.Close()
			if _, err := os.Stat(h.path(identityFile)); err == nil {
				return fmt.Errorf("data folder %s is a control plane's, with a node of its own; give this node another --data-dir", h.dir)
			}
			log := newLogger(cmd.ErrOrStderr(), verbose)
			target := agentTarget{endpoint: serverURL, region: region, cluster: cluster, key: accessKey{key.AccessKeyID, key.SecretAccessKey}, token: key.SessionToken}
			n, err := openNode(cmd.Context(), h, c, target, log)
			if err != nil {
				return err
			}
			err = n.run(cmd.Context(), target)
			if cmd.Context().Err() != nil {
				err = nil
			}
			return errors.Join(err, n.close())
		},
	}
	f := cmd.Flags()
	f.StringVar(&serverURL, "server", "", "URL of the Havn to join")
	f.StringVar(&cluster, "cluster", "", "cluster to be a container instance of (default: every cluster)")
	f.StringVar(&region, "region", "us-east-1", "region of that Havn")
	c.flags(f)
	f.BoolVarP(&verbose, "verbose", "v", false, "say more in the log")
	if err := cmd.MarkFlagRequired("server"); err != nil {
		panic(err)
	}
	return cmd
}

// node is this machine's half of a node: its network and its containers. The agent drives it.
type node struct {
	home     home
	network  *network.Network
	runtime  *containerd.Runtime
	ids      *metadata.IDs
	zone     string
	provider string // the capacity provider
	log      *slog.Logger
}

// openNode opens the node, and adopts what an earlier process left running.
func openNode(ctx context.Context, h home, c nodeConfig, t agentTarget, log *slog.Logger) (*node, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("a node needs root to run containers: use sudo, or --no-node for a control plane alone")
	}
	if err := os.MkdirAll(h.path("node"), 0o700); err != nil {
		return nil, fmt.Errorf("cannot make data folder: %w", err)
	}
	stands, err := c.storage.parse()
	if err != nil {
		return nil, err
	}
	ids, err := metadata.OpenIDs(h.path("node", "metadata-secret"), h.name())
	if err != nil {
		return nil, err
	}
	net, err := network.Open(ctx, network.Config{StateDir: h.path("node", "network"), Name: h.name(), Log: log})
	if err != nil {
		return nil, err
	}
	run, err := containerd.Open(ctx, containerd.Config{
		DataDir: h.dir, RuntimeDir: h.runtimeDir(), Name: h.name(), Network: net,
		Environment:       ids.Environment(t.region),
		ImagePullBehavior: containerd.PullBehavior(c.pull), ImageMaxAge: c.imageMaxAge,
		FileSystems: stands.fileSystems, Buckets: stands.buckets, Log: log,
		Logging: logging.Config{Endpoint: t.endpoint, Region: t.region, Credentials: t.credentials()},
	})
	if err != nil {
		return nil, errors.Join(err, net.Close())
	}
	return &node{home: h, network: net, runtime: run, ids: ids, zone: c.zone, provider: c.provider, log: log}, nil
}

// agentTarget is the server that an agent joins, and as whom.
type agentTarget struct {
	endpoint, region, cluster string
	key                       accessKey
	token                     string
	port                      uint16 // of the server itself, where it is on this machine: no task may have it
	connected                 func() // called when assignments can reach the node; may be nil
}

func (t agentTarget) credentials() aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(t.key.AccessKeyID, t.key.SecretAccessKey, t.token)
}

func (n *node) run(ctx context.Context, t agentTarget) error {
	reserved := []uint16{22, network.MetadataPort}
	if t.port != 0 {
		reserved = append(reserved, t.port)
	}
	key := t.credentials()
	inquiry := agent.NewInquiry()
	hangUp, err := n.answerContainers(ctx, inquiry, ecs.New(ecs.Options{BaseEndpoint: &t.endpoint, Region: t.region, Credentials: key}))
	if err != nil {
		return err
	}
	err = agent.Run(ctx, agent.Config{
		Server:      t.endpoint,
		Region:      t.region,
		Cluster:     t.cluster,
		DataDir:     n.home.path("node"),
		Credentials: key,
		Runtime:     n.runtime,
		Attributes:  n.attributes(),
		Resources:   agent.Resources{Ports: reserved, GPUs: n.runtime.GPUs()},
		Version:     version,
		// The protocol calls it the Docker version; ours is containerd's.
		RuntimeVersion: versionOf(containerdModule),
		Log:            n.log,
		Connected:      t.connected,
		Inquiry:        inquiry,
	})
	return errors.Join(err, hangUp())
}

// attributes are those of the container instance that its owner has given it.
func (n *node) attributes() map[string]string {
	all := map[string]string{}
	if n.zone != "" {
		all["ecs.availability-zone"] = n.zone
	}
	if n.provider != "" {
		all["havn.capacity-provider"] = n.provider
	}
	return all
}

// answerContainers serves what containers ask about themselves, until hangUp is called.
func (n *node) answerContainers(ctx context.Context, tasks metadata.Tasks, api metadata.API) (hangUp func() error, err error) {
	bridge, host, err := n.network.ListenMetadata(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		err := metadata.New(metadata.Config{IDs: n.ids, Tasks: tasks, Runtime: n.runtime, API: api, Faults: n.network,
			RuntimeDir: filepath.Dir(n.home.runtimeDir()), Log: n.log}).Serve(ctx, bridge, host)
		if err != nil {
			n.log.Error("containers are not answered any more", "error", err)
		}
		ended <- err
	}()
	return func() error {
		cancel()
		return <-ended
	}, nil
}

// close lets go of the node. Containers run on; where there are none, nothing of ours stays in the kernel.
func (n *node) close() error {
	err := n.runtime.Close()
	if len(n.network.Attachments()) > 0 {
		return errors.Join(err, n.network.Close())
	}
	ctx, cancel := context.WithTimeout(context.Background(), destroyTimeout)
	defer cancel()
	return errors.Join(err, n.network.Destroy(ctx))
}

const destroyTimeout = 10 * time.Second

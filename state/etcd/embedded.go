package etcd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/config"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3compactor"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.etcd.io/etcd/server/v3/features"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"havn/reserve"
	"havn/state"
)

// Config says where an etcd of our own lives.
type Config struct {
	// Dir is its folder. One process at a time may use it.
	Dir string
	// Socket is where etcdctl can reach it (--endpoints unix://SOCKET), for root alone; empty for
	// nowhere. The path must be short (108 bytes), and its folder be there.
	Socket string
	// Logger is told what etcd warns of; by default slog.Default.
	Logger *slog.Logger
}

// A cluster of one is tuned for a quick start and little memory.
const (
	// A member that is alone elects itself after one or two ticks of the clock, at start only: nobody
	// ever calls another election. The clock ticks for ever, though: at 10 ms an idle etcd used 2.7 % of
	// a core.
	tick          = 25 * time.Millisecond
	electionTicks = 2

	// Nobody is behind, so entries that are applied need not be kept for catching up.
	snapshotEvery  = 5000
	catchUpEntries = 16

	walSegmentBytes = 16 << 20
	quotaBytes      = 4 << 30
	// historyRevisions stay readable; older ones are compacted every five minutes. A store that is
	// further behind lists everything anew.
	historyRevisions = 10_000

	// On the wire each guard and write takes a little more than its key and value.
	maxRequestBytes = state.MaxCommitBytes + (state.MaxGuards+state.MaxWrites)*64
	// The compares of a transaction, and its writes with the commit key, may be so many.
	maxOps = max(state.MaxGuards, state.MaxWrites+1)
)

// shrinkSegments sets the size of etcd's write-ahead files, which are allocated in advance, two at a time.
var shrinkSegments = sync.OnceFunc(func() { wal.SegmentSizeBytes = walSegmentBytes })

// StartEmbedded runs a cluster of one in this process, without any TCP port, and returns when it answers.
func StartEmbedded(ctx context.Context, c Config) (*Log, error) {
	l, err := start(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("cannot start etcd in %s: %w", c.Dir, err)
	}
	return l, nil
}

func start(ctx context.Context, c Config) (*Log, error) {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	shrinkSegments()
	lock, err := lockDir(c.Dir)
	if err != nil {
		return nil, err
	}
	if err := clearUnfounded(c); err != nil {
		lock.Close()
		return nil, err
	}
	logger := zapTo(c.Logger)
	// Members are known by URL, even where there is one, and nothing listens there.
	self := types.URLs{url.URL{Scheme: "unix", Host: "alone"}}
	server, err := etcdserver.NewServer(config.ServerConfig{
		Name:                "havn",
		ClientURLs:          self,
		PeerURLs:            self,
		InitialPeerURLsMap:  types.URLsMap{"havn": self},
		InitialClusterToken: "havn",
		NewCluster:          true,
		DataDir:             c.Dir,

		TickMs:                 uint(tick / time.Millisecond),
		ElectionTicks:          electionTicks,
		SnapshotCount:          snapshotEvery,
		SnapshotCatchUpEntries: catchUpEntries,
		MaxSnapFiles:           2,
		MaxWALFiles:            2,
		QuotaBackendBytes:      quotaBytes,
		MaxTxnOps:              maxOps,
		MaxRequestBytes:        maxRequestBytes,
		MaxConcurrentStreams:   1 << 10,

		AutoCompactionMode:          v3compactor.ModeRevision,
		AutoCompactionRetention:     historyRevisions,
		CompactionBatchLimit:        1000,
		CompactionSleepInterval:     10 * time.Millisecond,
		WatchProgressNotifyInterval: 10 * time.Minute,

		WarningApplyDuration:        time.Second,
		WarningUnaryRequestDuration: time.Second,
		BcryptCost:                  10, // etcd has no users here, and warns of zero
		V2Deprecation:               config.V2DeprDefault,
		ServerFeatureGate:           features.NewDefaultServerFeatureGate("havn", logger),
		Metrics:                     "basic",
		Logger:                      logger,
	})
	if err != nil {
		lock.Close()
		return nil, err
	}
	server.Start()
	keeping, stop := context.WithCancel(context.Background())
	reserve.Keep(keeping, c.Logger, filepath.Join(c.Dir, "member", "snap", "db"))
	e := &embedded{server: server, lock: lock, stop: stop}
	if err := e.ready(ctx); err != nil {
		e.close()
		return nil, err
	}
	if err := found(c.Dir); err != nil {
		e.close()
		return nil, err
	}
	if c.Socket != "" {
		if err := e.listen(c.Socket); err != nil {
			e.close()
			return nil, err
		}
	}
	return &Log{client: v3client.New(server), server: e}, nil
}

// foundedFile says that etcd has been ready in this folder once. etcd that is killed while it founds its
// cluster leaves files that look like a member's but hold no member: it would wait for a leader for ever.
// Nothing was acknowledged before the first time that it was ready, so such files can go.
const foundedFile = "founded"

func clearUnfounded(c Config) error {
	if _, err := os.Stat(filepath.Join(c.Dir, foundedFile)); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	member := filepath.Join(c.Dir, "member")
	if _, err := os.Stat(member); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	// Moved and not removed: whoever put a member there by hand finds it again.
	aside := member + ".unfounded"
	c.Logger.Warn("an earlier first start was cut off; beginning anew", "aside", aside)
	if err := os.RemoveAll(aside); err != nil {
		return err
	}
	return os.Rename(member, aside)
}

func found(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, foundedFile), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	d, err := os.Open(dir) // the file's name is the message, and names are the folder's
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// embedded is etcd in this process.
type embedded struct {
	server *etcdserver.EtcdServer
	rpc    *grpc.Server // nil without a socket
	lock   *os.File
	stop   context.CancelFunc // of the room in reserve
}

func (e *embedded) ready(ctx context.Context) error {
	select {
	case <-e.server.ReadyNotify():
		return nil
	case <-e.server.StopNotify():
		return errors.New("it has stopped")
	case <-ctx.Done():
		return fmt.Errorf("it is not ready: %w", ctx.Err())
	}
}

func (e *embedded) listen(socket string) error {
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		listener.Close()
		return err
	}
	e.rpc = v3rpc.Server(e.server, nil, nil)
	go e.rpc.Serve(listener) //nolint:errcheck // ends with close
	return nil
}

func (e *embedded) close() error {
	if e.rpc != nil {
		e.rpc.Stop()
	}
	e.stop()
	e.server.HardStop()
	return e.lock.Close()
}

// lockDir makes sure that nobody else uses the folder. The lock goes with the process. (etcd has one of its
// own, and waits for it without a word.)
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = errors.New("another process uses it")
		}
		return nil, err
	}
	return lock, nil
}

// DialConfig says where an etcd cluster is.
type DialConfig struct {
	Endpoints []string    // https://host:2379, unix:///path
	TLS       *tls.Config // nil for none
}

// Dial uses an etcd cluster outside. It must run with --max-txn-ops and --max-request-bytes large enough for
// the limits of package state; what is over its own is refused.
func Dial(ctx context.Context, c DialConfig) (*Log, error) {
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            c.Endpoints,
		TLS:                  c.TLS,
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 5 * time.Second,
		MaxCallSendMsgSize:   maxRequestBytes,
		Logger:               zap.NewNop(), // what matters comes back as an error
	})
	if err == nil {
		if _, err = client.Get(ctx, commitKey, clientv3.WithKeysOnly()); err != nil {
			client.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot use etcd at %v: %w", c.Endpoints, err)
	}
	return &Log{client: client}, nil
}

package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/uuid"

	"havn/lifecycle"
	"havn/protocol"
	"havn/reserve"
)

// Config is what a node needs to know.
type Config struct {
	Server      string // URL of the server's API
	Region      string
	Credentials aws.CredentialsProvider
	// Cluster is the name of the cluster to be a container instance of. Empty: of the one named default,
	// and of every other cluster that the server has or will have.
	Cluster string
	DataDir string // the journal and the node's id are here
	Runtime Runtime

	// Resources are what the node offers; zero fields mean the machine's.
	Resources Resources
	// Attributes are added to those of every Havn node; the value may be empty. What the Runtime can do
	// beyond its duty is told here.
	Attributes     map[string]string
	Version        string // of Havn, for the server to show
	RuntimeVersion string
	Settings       lifecycle.Settings

	Log *slog.Logger // slog.Default if nil
	// Connected is called whenever assignments can reach the node, in a goroutine of the agent.
	Connected func()
	// Inquiry is answered by this agent; nil if nobody asks.
	Inquiry *Inquiry
}

// Resources are what a node offers to tasks.
type Resources struct {
	CPU      int64    // units, 1024 a core
	Memory   int64    // MiB
	Ports    []uint16 // TCP ports that no task may have; 22 if nil
	PortsUDP []uint16 // UDP ports likewise
	GPUs     []string // their names, each of which an association can give to a container
}

// Run is a node until ctx ends; then it leaves the containers alone, and the next Run adopts them. It
// returns an error only where trying again cannot help: a data folder that cannot be used, or a server
// that refuses the node.
func Run(ctx context.Context, c Config) error {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	c.Version, c.RuntimeVersion = cmp.Or(c.Version, "devel"), cmp.Or(c.RuntimeVersion, "unknown")
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return fmt.Errorf("cannot make the agent's folder: %w", err)
	}
	id, err := nodeID(c.DataDir)
	if err != nil {
		return err
	}
	path := filepath.Join(c.DataDir, "journal.db")
	j, records, err := openJournal(path, c.Log)
	if err != nil {
		return err
	}
	defer j.close()
	held, err := c.Runtime.Tasks(ctx)
	if err != nil {
		return fmt.Errorf("cannot list what the runtime holds: %w", err)
	}
	core := NewCore(CoreConfig{Settings: c.Settings, Cluster: c.clusterName(), Records: records, Timeline: j.timeline(),
		Held: held}, time.Now())
	if known, live := core.Tasks(); known > 0 {
		c.Log.Info("took over from the journal", "tasks", known, "running", live)
	}

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	reserve.Keep(ctx, c.Log, path)
	s := newSession(&c, id, j)
	l := newLoop(core, j, &c)
	l.reply = s.reply
	l.submit = s.submit
	l.health = s.telemetry.note
	l.condition = s.telemetry.noteCondition
	s.telemetry.all = l.allHealth
	s.receive = func(ctx context.Context, m protocol.Message) {
		l.post(ctx, func(now time.Time) { core.Receive(m, now) })
	}
	s.anew = func(ctx context.Context) { l.post(ctx, func(time.Time) { core.Anew() }) }
	var wg sync.WaitGroup
	wg.Go(func() { cancel(s.run(ctx)) })
	if keeper, ok := c.Runtime.(Housekeeper); ok {
		wg.Go(func() { l.housekeep(ctx, keeper) })
	}
	l.run(ctx)
	wg.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	return nil
}

func (c *Config) clusterName() string {
	if c.Cluster == "" {
		return "default"
	}
	return c.Cluster
}

// nodeID returns the name by which the machine is known, however often it registers. It is kept beside
// the journal, not in it: who the node is should survive a damaged journal.
func nodeID(dir string) (string, error) {
	path := filepath.Join(dir, "node-id")
	if b, err := os.ReadFile(path); err == nil && len(strings.TrimSpace(string(b))) > 0 {
		return strings.TrimSpace(string(b)), nil
	}
	id := uuid.NewString()
	if err := os.WriteFile(path+".new", []byte(id+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("cannot write the node's id: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return "", fmt.Errorf("cannot write the node's id: %w", err)
	}
	return id, nil
}

// loop is the one goroutine that owns Core, with the goroutines that it has started.
type loop struct {
	core *Core
	saving
	runtime Runtime
	log     *slog.Logger

	events    chan func(now time.Time) // run on the loop's goroutine
	questions <-chan func(*Core)       // likewise, and they change nothing; nil = there are none
	cancel    map[Work]context.CancelFunc
	wg        sync.WaitGroup // effects and reports

	reply  func(protocol.Message)
	submit func(context.Context, StateChange) // returns when it is settled, or ctx has ended
	health func([]protocol.TaskHealth)        // returns at once
	// condition tells what is known of the machine; it returns at once.
	condition func(protocol.Condition)
}

// maxEvents is how many events may wait for the loop's next turn; who brings one more waits himself.
const maxEvents = 256

func newLoop(core *Core, j writer, c *Config) *loop {
	l := &loop{core: core, saving: newSaving(j, c.Log), runtime: c.Runtime, log: c.Log,
		events: make(chan func(time.Time), maxEvents), cancel: map[Work]context.CancelFunc{},
		health: func([]protocol.TaskHealth) {}}
	if c.Inquiry != nil {
		l.questions = c.Inquiry.questions
	}
	return l
}

func (l *loop) post(ctx context.Context, event func(now time.Time)) {
	select {
	case l.events <- event:
	case <-ctx.Done():
	}
}

// allHealth asks the loop from another goroutine; nothing if ctx ends first.
func (l *loop) allHealth(ctx context.Context) []protocol.TaskHealth {
	answer := make(chan []protocol.TaskHealth, 1)
	l.post(ctx, func(time.Time) { answer <- l.core.Health() })
	select {
	case all := <-answer:
		return all
	case <-ctx.Done():
		return nil
	}
}

// endPatience is how long the end of the agent waits for effects that were cancelled.
const endPatience = 10 * time.Second

// run takes turns until ctx ends. Then it cancels what is under way, without a word to the containers,
// and waits for the goroutines to end.
func (l *loop) run(ctx context.Context) {
	defer l.awaitEnd()
	defer l.saveLast()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		p := l.core.Next(time.Now())
		l.carryOut(ctx, &p)
		var woken <-chan time.Time
		if !p.Wake.IsZero() {
			timer.Reset(time.Until(p.Wake))
			woken = timer.C
		}
		select {
		case event := <-l.events:
			event(time.Now())
		case question := <-l.questions:
			question(l.core)
		case err := <-l.written:
			if !l.saved(ctx, err) {
				return
			}
		case <-woken:
		case <-ctx.Done():
			return
		}
		l.gather()
	}
}

func (l *loop) awaitEnd() {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.wg.Wait()
	}()
	select {
	case <-ended:
	case <-time.After(endPatience):
		l.log.Warn("the agent ends without some effects that do not", "waited", endPatience)
	}
}

// gather takes all further events that have come, so that one journal write serves them all.
func (l *loop) gather() {
	for range maxEvents {
		select {
		case event := <-l.events:
			event(time.Now())
		default:
			return
		}
	}
}

func (l *loop) carryOut(ctx context.Context, p *Plan) {
	l.backlog.add(p)
	if p.SaveFirst && !l.save(ctx) {
		return
	}
	for _, w := range p.Cancel {
		l.cancel[w]()
	}
	for _, job := range p.Start {
		l.start(ctx, job)
	}
	for _, s := range p.Reports {
		l.wg.Go(func() {
			l.submit(ctx, s)
			l.post(ctx, func(time.Time) { l.core.Reported(s) })
		})
	}
	l.saveSoon()
	l.health(p.Health)
	for _, m := range p.Replies {
		l.reply(m)
	}
}

func (l *loop) start(ctx context.Context, job Job) {
	w := Work{job.Task.ARN, job.Effect}
	effectCtx, cancel := context.WithCancel(ctx)
	l.cancel[w] = cancel
	l.wg.Go(func() {
		defer cancel()
		r := l.perform(effectCtx, job)
		l.post(ctx, func(now time.Time) {
			delete(l.cancel, w)
			l.core.Observe(w.Task, r, now)
		})
	})
}

// perform never panics: a panic is a failed effect, and says so where the user looks.
func (l *loop) perform(ctx context.Context, job Job) (r lifecycle.Result) {
	begun := time.Now()
	defer func() {
		if p := recover(); p != nil {
			l.log.Error("panic in an effect", "task", job.Task.ARN, "effect", job.Effect, "panic", p, "stack", string(debug.Stack()))
			r = lifecycle.Result{Reason: fmt.Sprintf("UnknownError: panic in %s: %v", job.Effect.Verb, p)}
		}
		r.Effect = job.Effect
		l.log.Debug("effect", "task", job.Task.ARN, "verb", job.Effect.Verb, "container", job.Effect.Container,
			"took", time.Since(begun), "reason", r.Reason, "canceled", r.Canceled)
	}()
	return l.runtime.Perform(ctx, job.Task, job.Effect)
}

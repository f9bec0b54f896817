package agent

import (
	"cmp"
	"container/heap"
	"maps"
	"slices"
	"time"

	"havn/lifecycle"
	"havn/protocol"
)

// The limits of a node.
const (
	// MaxTasks is how many tasks that are not STOPPED a node takes; a further one is refused.
	MaxTasks = 2000
	// MaxStopped is how many stopped tasks keep their logs and folders; beyond, the oldest are cleaned up
	// before their time.
	MaxStopped = 2000
	// MaxReports is how many reports are under way at once, as the stock agent does it.
	MaxReports = 10
)

// Record is what the journal keeps of a task.
type Record struct {
	Task  protocol.Task
	Life  lifecycle.Task
	Known lifecycle.Report // what the server has accepted last
}

// Work names an effect of a task.
type Work struct {
	Task   string // ARN
	Effect lifecycle.Effect
}

// Job is an effect to start. The document is never written to again.
type Job struct {
	Task   *protocol.Task
	Effect lifecycle.Effect
}

// StateChange is a report to submit.
type StateChange struct {
	Cluster, Task string // ARNs
	Report        lifecycle.Report
}

// Plan is what must be done now, whole and in this order. With SaveFirst the journal is written before
// anything else: it holds what cannot be seen again once the plan is carried out, such as the exit of a
// container that is removed, or what is acknowledged. Else it is written beside the loop, in order; an
// agent that dies before sees it again, because effects are idempotent, and may report it again.
type Plan struct {
	SaveFirst bool
	Save      []Record
	Forget    []string // ARNs
	Timeline  int64    // of the last manifest; saved too, if not zero

	Cancel  []Work
	Start   []Job
	Health  []protocol.TaskHealth // what has changed of it, for the server to know soon
	Replies []protocol.Message    // only after what they acknowledge has been saved
	Reports []StateChange
	Wake    time.Time // ask again then; zero = only after an event
}

// Core is the fold over all tasks of a node: events go in, plans come out. One goroutine owns it.
type Core struct {
	settings lifecycle.Settings
	cluster  string // of reports on tasks that name none
	tasks    map[string]*task

	touched   []string // since the last plan, in order; may name one twice
	alarms    alarms
	saveFirst bool
	replies   []protocol.Message
	stopped   []string // ARNs of stopped tasks, the oldest first

	timeline    int64
	newTimeline bool
	asked       *protocol.StopVerification // not answered yet

	telling []string // ARNs with news, in order, while too many reports are under way
	reports int      // under way
}

type task struct {
	doc        protocol.Task
	life       lifecycle.Task
	known      lifecycle.Report
	underway   map[lifecycle.Effect]bool // true = cancelled, has not ended yet
	telling    bool                      // a report is under way, or in line
	dirty      bool
	healthNews bool // its health has changed since the last plan
	counted    bool // among the stopped
	wake       time.Time
}

// CoreConfig is what a Core starts from.
type CoreConfig struct {
	Settings lifecycle.Settings
	Cluster  string   // name or ARN, for reports on tasks that nobody remembers
	Records  []Record // from the journal
	Timeline int64    // from the journal
	Held     []string // ARNs of tasks that the Runtime holds something of
}

// NewCore returns a Core that knows what the journal knew. What the Runtime holds beyond that belongs to
// nobody: it is stopped, removed, and reported STOPPED.
func NewCore(c CoreConfig, now time.Time) *Core {
	core := &Core{settings: c.Settings, cluster: c.Cluster, timeline: c.Timeline, tasks: map[string]*task{}}
	for _, r := range c.Records {
		r.Life.Settings = c.Settings
		core.put(r.Task.ARN, &task{doc: r.Task, life: r.Life, known: r.Known})
	}
	for _, arn := range c.Held {
		if core.tasks[arn] == nil {
			core.add(protocol.Task{ARN: arn}, lifecycle.Unknown(c.Settings, now))
		}
	}
	return core
}

// Tasks returns how many tasks are known, and how many of them are not STOPPED.
func (c *Core) Tasks() (known, live int) { return len(c.tasks), len(c.tasks) - len(c.stopped) }

// Task returns what is known of a task.
func (c *Core) Task(arn string) (Record, bool) {
	t := c.tasks[arn]
	if t == nil {
		return Record{}, false
	}
	return Record{Task: t.doc, Life: t.life, Known: t.known}, true
}

// ARNs lists the tasks, sorted.
func (c *Core) ARNs() []string { return slices.Sorted(maps.Keys(c.tasks)) }

// Underway lists the effects of a task that have been started and have not ended, in no order.
func (c *Core) Underway(arn string) []lifecycle.Effect {
	t := c.tasks[arn]
	if t == nil {
		return nil
	}
	return slices.Collect(maps.Keys(t.underway))
}

// Observe folds in how an effect ended.
func (c *Core) Observe(arn string, r lifecycle.Result, now time.Time) {
	t := c.tasks[arn]
	if t == nil {
		return
	}
	cancelled, known := t.underway[r.Effect]
	delete(t.underway, r.Effect)
	if known && r.Canceled && !cancelled {
		// Nobody cancelled it. It must count as a failure, or it would be started again in a circle.
		r.Canceled, r.Reason = false, "UnknownError: the work was interrupted"
	}
	before := t.life
	t.life = t.life.Observe(r, now)
	healthy := sameHealth(before, t.life)
	t.healthNews = t.healthNews || !healthy
	// Probes come without an end. One that says what was known is not worth a write: a new process makes another.
	t.dirty = t.dirty || r.Effect.Verb != lifecycle.Probe || !healthy
	c.touch(arn)
}

func sameHealth(a, b lifecycle.Task) bool {
	return slices.EqualFunc(a.Containers, b.Containers, func(a, b lifecycle.Container) bool { return a.Health.Status == b.Health.Status })
}

// Reported notes that the server has accepted a report, or has refused it for good.
func (c *Core) Reported(s StateChange) {
	c.reports--
	t := c.tasks[s.Task]
	if t == nil {
		return
	}
	t.known, t.telling, t.dirty = s.Report, false, true
	c.touch(s.Task)
}

func (c *Core) stop(arn string, now time.Time) {
	t := c.tasks[arn]
	if t == nil || t.life.Desired == lifecycle.Stopped {
		return
	}
	t.life = t.life.Stop(now)
	t.dirty, c.saveFirst = true, true
	c.touch(arn)
}

func (c *Core) add(doc protocol.Task, life lifecycle.Task) {
	c.put(doc.ARN, &task{doc: doc, life: life, dirty: true})
	c.saveFirst = true
}

func (c *Core) put(arn string, t *task) {
	t.underway = map[lifecycle.Effect]bool{}
	c.tasks[arn] = t
	c.touch(arn)
}

func (c *Core) touch(arn string) { c.touched = append(c.touched, arn) }

// Next returns what must be done now, and takes it as done: what it starts is under way, what it reports
// is being told.
func (c *Core) Next(now time.Time) Plan {
	p := Plan{SaveFirst: c.saveFirst, Replies: c.replies}
	c.saveFirst, c.replies = false, nil
	if c.newTimeline {
		p.Timeline, c.newTimeline, p.SaveFirst = c.timeline, false, true
	}
	c.touchWoken(now)
	for len(c.touched) > 0 {
		arns := c.touched
		c.touched = nil
		for _, arn := range arns {
			if t := c.tasks[arn]; t != nil {
				c.next(arn, t, now, &p)
			}
		}
		c.hurryOldest()
	}
	c.tell(&p)
	p.Wake = c.nextAlarm()
	return p
}

func (c *Core) touchWoken(now time.Time) {
	for at := c.nextAlarm(); !at.IsZero() && !now.Before(at); at = c.nextAlarm() {
		arn := heap.Pop(&c.alarms).(alarm).task
		c.tasks[arn].wake = time.Time{}
		c.touch(arn)
	}
}

// nextAlarm is when the first task wants to be woken. Alarms of tasks that have changed their minds since
// are dropped on the way.
func (c *Core) nextAlarm() time.Time {
	for len(c.alarms) > 0 {
		first := c.alarms[0]
		if t := c.tasks[first.task]; t != nil && t.wake.Equal(first.at) {
			return first.at
		}
		heap.Pop(&c.alarms)
	}
	return time.Time{}
}

func (c *Core) next(arn string, t *task, now time.Time, p *Plan) {
	if life, late := t.life.Elapse(now); late {
		t.life, t.dirty = life, true
	}
	want, wake := t.life.Next(now)
	if !wake.IsZero() && !t.wake.Equal(wake) {
		heap.Push(&c.alarms, alarm{wake, arn})
	}
	t.wake = wake
	for _, e := range sortedEffects(t.underway) {
		if !t.underway[e] && !slices.Contains(want, e) {
			t.underway[e] = true
			p.Cancel = append(p.Cancel, Work{arn, e})
		}
	}
	for _, e := range want {
		if _, there := t.underway[e]; there || t.blocked(e) {
			continue
		}
		t.underway[e] = false
		p.Start = append(p.Start, Job{&t.doc, e})
		switch e.Verb {
		case lifecycle.Remove, lifecycle.Disconnect, lifecycle.Discard:
			p.SaveFirst = true // what it destroys must have been written down
		case lifecycle.Start:
			p.SaveFirst = p.SaveFirst || e.Round > 0 // as must the exit of the process before
		}
	}
	c.count(arn, t)
	if t.life.Forgettable() && t.known.Status == lifecycle.Stopped && len(t.underway) == 0 {
		c.forget(arn)
		p.Forget = append(p.Forget, arn)
		return
	}
	if !t.telling {
		if _, news := t.life.Tell(t.known); news {
			t.telling = true
			c.telling = append(c.telling, arn)
		}
	}
	if t.healthNews {
		if h, any := healthOf(arn, t); any {
			p.Health = append(p.Health, h)
		}
		t.healthNews = false
	}
	if t.dirty {
		t.dirty = false
		p.Save = append(p.Save, Record{t.doc, t.life, t.known})
	}
}

// blocked reports whether an effect must wait until another one, cancelled, has ended: of the same
// container, or where one of the two is about the whole task.
func (t *task) blocked(e lifecycle.Effect) bool {
	for u, cancelled := range t.underway {
		if cancelled && (u.Container == e.Container || u.Container == "" || e.Container == "") {
			return true
		}
	}
	return false
}

// tell starts reports, as many as may be under way.
func (c *Core) tell(p *Plan) {
	for c.reports < MaxReports && len(c.telling) > 0 {
		arn := c.telling[0]
		c.telling = c.telling[1:]
		t := c.tasks[arn]
		if t == nil {
			continue
		}
		report, news := t.life.Tell(t.known)
		if !news {
			t.telling = false
			continue
		}
		c.reports++
		p.Reports = append(p.Reports, StateChange{c.clusterOf(t), arn, report})
	}
}

func (c *Core) clusterOf(t *task) string {
	if t.doc.ClusterARN != "" {
		return t.doc.ClusterARN
	}
	return c.cluster
}

func (c *Core) count(arn string, t *task) {
	if t.life.Last == lifecycle.Stopped && !t.counted {
		t.counted = true
		c.stopped = append(c.stopped, arn)
	}
}

func (c *Core) forget(arn string) {
	delete(c.tasks, arn)
	if i := slices.Index(c.stopped, arn); i >= 0 {
		c.stopped = slices.Delete(c.stopped, i, i+1)
	}
}

// hurryOldest ends the wait of the stopped tasks that are too many.
func (c *Core) hurryOldest() {
	for i := range len(c.stopped) - MaxStopped {
		c.hurry(c.stopped[i], c.tasks[c.stopped[i]])
	}
}

// hurry ends a stopped task's wait for its cleanup.
func (c *Core) hurry(arn string, t *task) {
	const atOnce = time.Nanosecond
	if t.life.CleanupWait != atOnce {
		t.life.CleanupWait = atOnce
		c.touch(arn)
	}
}

// alarms is a heap: the earliest first, and by name among equals, so that the same events give the same
// plans.
type alarms []alarm

type alarm struct {
	at   time.Time
	task string // ARN
}

func (a alarms) Len() int      { return len(a) }
func (a alarms) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a alarms) Less(i, j int) bool {
	return cmp.Or(a[i].at.Compare(a[j].at), cmp.Compare(a[i].task, a[j].task)) < 0
}
func (a *alarms) Push(x any) { *a = append(*a, x.(alarm)) }
func (a *alarms) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

func sortedEffects(m map[lifecycle.Effect]bool) []lifecycle.Effect {
	return slices.SortedFunc(maps.Keys(m), func(a, b lifecycle.Effect) int {
		return cmp.Or(cmp.Compare(a.Container, b.Container), cmp.Compare(a.Verb, b.Verb), cmp.Compare(a.Round, b.Round))
	})
}

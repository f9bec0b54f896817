package dispatch

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"havn/lifecycle"
	"havn/protocol"
	"havn/state"
)

// The session's times and limits.
const (
	// heartbeatInterval is well under the minute of silence after which the stock agent gives up.
	heartbeatInterval = 15 * time.Second
	// maxMissed is how many heartbeats in a row may go unanswered.
	maxMissed = 2
	// resendInterval is how long an assignment may go without an acknowledgement.
	resendInterval = 20 * time.Second
	// forgetFlight is how late an acknowledgement may come and still count.
	forgetFlight = 10 * time.Minute

	// maxTasks is how many tasks one payload carries; maxPayload, how many bytes of them, so that the
	// frame stays under protocol.MaxFrame.
	maxTasks   = 10
	maxPayload = protocol.MaxFrame * 3 / 4
	// maxManifest is how many tasks fit in a manifest's frame. A node that has more gets none: what the
	// server has forgotten then runs on, which is the lesser evil beside a list that is not whole.
	maxManifest = 3000
	// manifests is how many manifests a session may send: the first, and again while unacknowledged.
	manifests = 16
)

// Session is one connection of one node. It is a value for one goroutine.
//
//	Connect --> Send, Receive, Note ... --> Over --> Disconnect
type Session struct {
	id       string // first part of every message's
	sent     int    // messages, for the second part
	node     string
	instance string
	cluster  string
	over     string // why it has ended

	noted  map[string]struct{}  // tasks that may have changed
	told   map[string]wish      // by task ARN: what the node was told last
	flying map[string]time.Time // by task ARN: when it was told, while unacknowledged
	flight map[string]flight    // by message ID: payloads not acknowledged yet

	beatAt time.Time // when the next heartbeat is due; zero before the first Send
	missed int       // heartbeats sent since the node was last heard

	fullSync      bool
	timeline      int64 // number of the next manifest
	lastTimeline  int64 // the last number that this session may use
	manifestID    string
	manifestAt    time.Time
	manifestAcked bool
	verify        []protocol.TaskIdentity // what the node asks about, unanswered
}

type wish struct {
	desired lifecycle.Status
	acked   bool
}

type flight struct {
	at    time.Time
	tasks []told
}

type told struct {
	arn     string
	desired lifecycle.Status
}

func newSession(id string, n state.Node, i state.Instance) *Session {
	return &Session{
		id: id, node: n.ID, instance: i.ARN, cluster: i.ClusterARN,
		noted:        map[string]struct{}{},
		told:         map[string]wish{},
		flying:       map[string]time.Time{},
		flight:       map[string]flight{},
		fullSync:     hasAttribute(n, "ecs.capability.full-sync"),
		timeline:     n.Timeline - manifests + 1,
		lastTimeline: n.Timeline,
	}
}

// Node is the ID of the node that is connected.
func (s *Session) Node() string { return s.node }

// Instance is the ARN of the container instance as which it connected.
func (s *Session) Instance() string { return s.instance }

// Over says why the session has ended: the connection should be closed. Empty while it has not.
func (s *Session) Over() string { return s.over }

// Note says that a task may have changed.
func (s *Session) Note(taskARN string) { s.noted[taskARN] = struct{}{} }

// Wake is when Send should be called if nothing happens before.
func (s *Session) Wake() time.Time {
	wake := s.beatAt
	for _, at := range s.flying {
		if due := at.Add(resendInterval); due.Before(wake) {
			wake = due
		}
	}
	if due := s.manifestAt.Add(resendInterval); s.manifestWaits() && due.Before(wake) {
		wake = due
	}
	return wake
}

// Send is what the node must be told now.
func (s *Session) Send(r *state.Reader, now time.Time) []protocol.Message {
	if s.over != "" {
		return nil
	}
	if f := s.expelled(r); f != nil {
		s.over = f.Message
		return append(s.payloads(r, now, true), f)
	}
	var out []protocol.Message
	if s.manifestDue(now) {
		if m := s.manifest(r, now); m != nil {
			out = append(out, m)
		}
	}
	if a := s.verified(r, now); a != nil {
		out = append(out, a)
	}
	beat := !now.Before(s.beatAt)
	out = append(out, s.payloads(r, now, beat)...)
	if beat {
		if s.missed >= maxMissed {
			s.over = "the node has not answered " + strconv.Itoa(s.missed) + " heartbeats"
			return nil
		}
		if !s.beatAt.IsZero() {
			s.missed++
			out = append(out, &protocol.Heartbeat{MessageID: s.nextID(), Healthy: true})
		}
		s.beatAt = now.Add(heartbeatInterval)
	}
	return out
}

// Receive takes in what the node said. Call Send afterwards.
func (s *Session) Receive(m protocol.Message) {
	s.missed = 0 // whatever it was, somebody is there
	switch m := m.(type) {
	case *protocol.Ack:
		if m.MessageID == s.manifestID {
			s.manifestAcked = true
		}
		for _, t := range s.flight[m.MessageID].tasks {
			if s.told[t.arn].desired == t.desired {
				s.told[t.arn] = wish{t.desired, true}
				delete(s.flying, t.arn)
			}
		}
		delete(s.flight, m.MessageID)
	case *protocol.StopVerification:
		// Only the last manifest can be asked about. An older list says nothing about now.
		if m.MessageID == s.manifestID {
			s.verify = m.StopCandidates
		}
	}
}

// expelled says whether the node may no longer be connected. A node that serves every cluster is expected
// to outlive its membership in one; any other stays until it has stopped what it was told to stop.
func (s *Session) expelled(r *state.Reader) *protocol.Failure {
	n, ok := state.Nodes.Get(r, s.node)
	if !ok {
		return &protocol.Failure{Name: protocol.InvalidInstance, Message: "The container instance is not registered."}
	}
	i, ok := state.Instances.Get(r, s.instance)
	if ok && i.Status != "INACTIVE" || n.EveryCluster {
		return nil
	}
	for t := range state.Tasks.By(r, "node", s.node) {
		if t.Last.Before(lifecycle.Stopped) {
			return nil
		}
	}
	return &protocol.Failure{Name: protocol.InactiveInstance, Message: "The container instance is deregistered."}
}

// payloads tells of all tasks whose desired status the node has not acknowledged: the noted ones and those
// whose time is up, or with all, every task of the node.
func (s *Session) payloads(r *state.Reader, now time.Time, all bool) []protocol.Message {
	var due []state.Task
	consider := func(t state.Task) {
		if s.due(r, t, now) {
			due = append(due, t)
		}
	}
	if all {
		known := len(s.told)
		for t := range state.Tasks.By(r, "node", s.node) {
			consider(t)
		}
		if known > 0 {
			s.forget(r, now)
		}
	} else {
		for arn, at := range s.flying {
			if now.Sub(at) >= resendInterval {
				s.noted[arn] = struct{}{}
			}
		}
		for arn := range s.noted {
			if t, ok := state.Tasks.Get(r, arn); ok && t.NodeID == s.node {
				consider(t)
			} else {
				s.drop(arn)
			}
		}
	}
	clear(s.noted)
	// Stops first: they free what the starts may wait for.
	slices.SortFunc(due, func(a, b state.Task) int {
		return cmp.Or(-cmp.Compare(rank(a.Wanted()), rank(b.Wanted())), a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ARN, b.ARN))
	})
	return s.pack(r, due, now)
}

// due says whether the node must be told of a task now.
func (s *Session) due(r *state.Reader, t state.Task, now time.Time) bool {
	was, ok := s.told[t.ARN]
	if t.Last == lifecycle.Stopped && (!ok || was.acked && was.desired == lifecycle.Stopped || !orphan(r, t)) {
		s.drop(t.ARN)
		return false
	}
	switch {
	case !ok && t.Draining():
		return false // it runs there, and is not to be started; its end is told when it may come
	case !ok || was.desired.Before(t.Wanted()):
		return true
	}
	return !was.acked && now.Sub(s.flying[t.ARN]) >= resendInterval
}

// pack makes payloads of tasks, and remembers them as told.
func (s *Session) pack(r *state.Reader, tasks []state.Task, now time.Time) []protocol.Message {
	var out []protocol.Message
	var p *protocol.Payload
	var f flight
	bytes := 0
	for _, t := range tasks {
		a := StopOf(t)
		// The reaper keeps a definition as long as a task refers to it. Were one lost all the same, its
		// task is told to stop, so that it ends instead of hanging.
		if d, ok := state.TaskDefinitions.Get(r, t.DefinitionARN); ok && t.Wanted() != lifecycle.Stopped {
			revision, _ := state.ServiceRevisions.Peek(r, t.RevisionARN) // none, of a task that is no service's
			a = AssignmentOf(t, d, revision.Images...)
		}
		size := 0
		if len(tasks) > 1 { // one alone always fits
			encoded, _ := json.Marshal(a) // of plain values: cannot fail
			size = len(encoded)
		}
		if p == nil || len(p.Tasks) == maxTasks || bytes+size > maxPayload {
			p = &protocol.Payload{
				MessageID:            s.nextID(),
				ClusterARN:           s.cluster,
				ContainerInstanceARN: s.instance,
				GeneratedAt:          now.UnixMilli(),
				// No SeqNum and no Timeline: the stock agent would take them for a manifest's number.
			}
			f, bytes = flight{at: now}, 0
			out = append(out, p)
		}
		bytes += size
		p.Tasks = append(p.Tasks, a)
		f.tasks = append(f.tasks, told{t.ARN, t.Wanted()})
		s.flight[p.MessageID] = f
		s.told[t.ARN] = wish{desired: t.Wanted()}
		s.flying[t.ARN] = now
	}
	return out
}

// forget drops what is no longer of use, so that a long session does not grow.
func (s *Session) forget(r *state.Reader, now time.Time) {
	for arn := range s.told {
		if t, ok := state.Tasks.Get(r, arn); !ok || t.NodeID != s.node {
			s.drop(arn)
		}
	}
	for id, f := range s.flight {
		if now.Sub(f.at) > forgetFlight {
			delete(s.flight, id)
		}
	}
}

func (s *Session) drop(arn string) {
	delete(s.told, arn)
	delete(s.flying, arn)
}

func (s *Session) manifestWaits() bool {
	return s.fullSync && !s.manifestAcked && s.timeline <= s.lastTimeline
}

func (s *Session) manifestDue(now time.Time) bool {
	return s.manifestWaits() && (s.manifestAt.IsZero() || now.Sub(s.manifestAt) >= resendInterval)
}

// manifest lists all tasks of the node that are not STOPPED. Each has a number of its own: an agent drops
// one that it has seen, and would not acknowledge it again.
func (s *Session) manifest(r *state.Reader, now time.Time) protocol.Message {
	m := &protocol.Manifest{
		MessageID:            s.nextID(),
		ClusterARN:           s.cluster,
		ContainerInstanceARN: s.instance,
		Tasks:                []protocol.TaskIdentity{},
		GeneratedAt:          now.UnixMilli(),
		Timeline:             s.timeline,
	}
	for t := range state.Tasks.By(r, "node", s.node) {
		if t.Last.Before(lifecycle.Stopped) {
			m.Tasks = append(m.Tasks, identity(t))
		}
	}
	s.timeline++
	s.manifestAt = now
	if len(m.Tasks) > maxManifest {
		s.manifestAcked = true
		return nil
	}
	s.manifestID = m.MessageID
	return m
}

// verified confirms those of the node's questions that should be stopped, as the state is now: a task may
// have been placed since the manifest was written.
func (s *Session) verified(r *state.Reader, now time.Time) protocol.Message {
	a := &protocol.StopVerificationAck{MessageID: s.manifestID, GeneratedAt: now.UnixMilli()}
	for _, c := range s.verify {
		t, ok := state.Tasks.Get(r, c.TaskARN)
		if ok && t.NodeID == s.node && t.Wanted() != lifecycle.Stopped && t.Last != lifecycle.Stopped {
			continue
		}
		c.DesiredStatus = string(lifecycle.Stopped)
		a.StopTasks = append(a.StopTasks, c)
	}
	s.verify = nil
	if len(a.StopTasks) == 0 {
		return nil
	}
	return a
}

func (s *Session) nextID() string {
	s.sent++
	return s.id + "-" + strconv.Itoa(s.sent)
}

// orphan reports whether control may have declared a task STOPPED that its node still runs: its container
// instance is deregistered, or was and has been registered again since, as happens to the automatic ones
// when a cluster is deleted and made anew.
func orphan(src state.Source, t state.Task) bool {
	i, _ := state.Instances.Get(src, t.InstanceARN)
	return !i.Has(t)
}

func identity(t state.Task) protocol.TaskIdentity {
	return protocol.TaskIdentity{TaskARN: t.ARN, ClusterARN: t.ClusterARN, DesiredStatus: string(t.Wanted())}
}

func rank(s lifecycle.Status) int {
	if s == lifecycle.Stopped {
		return 1
	}
	return 0
}

func hasAttribute(n state.Node, name string) bool {
	for _, a := range n.Attributes {
		if a.Name != nil && *a.Name == name {
			return true
		}
	}
	return false
}

package dispatch

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"havn/lifecycle"
	"havn/protocol"
	"havn/state"
)

// TestSession runs the transcripts. Their commands:
//
//	node ID [every-cluster] [full-sync]      register a machine
//	instance ID node=N [status=S]            make it a container instance, or change its status
//	forget (node|instance|task) ID           remove a record
//	task ID on=I [desired=S] [last=S] [attached]   place a task, or change its statuses
//	connect as=I [cluster=C]                 an agent connects
//	disconnect [older]                       its session ends, or the one before
//	note ID...                               the session is told that tasks may have changed
//	send [after=D]                           what the session says, after some time
//	receive (ack|heartbeat-ack|nack) ID      what it hears
//	receive verify ID TASK...
//	nodes                                    what the state says of connections
func TestSession(t *testing.T) {
	datadriven.Walk(t, "testdata/session", func(t *testing.T, path string) {
		w := newWorld(t)
		var s *Session
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			w.t = t
			out, next := w.run(d, s)
			s = next
			if out == "" {
				return "ok\n"
			}
			return out
		})
	})
}

func (w *world) run(d *datadriven.TestData, s *Session) (string, *Session) {
	word := func(n int) string { return d.CmdArgs[n].Key }
	value := func(key, otherwise string) string {
		if arg, ok := d.Arg(key); ok {
			return arg.Vals[0]
		}
		return otherwise
	}
	var b strings.Builder
	switch d.Cmd {
	case "node":
		var attributes []string
		if d.HasArg("full-sync") {
			attributes = append(attributes, "ecs.capability.full-sync")
		}
		w.update(func(tx *state.Tx) { putNode(tx, word(0), d.HasArg("every-cluster"), attributes...) })
	case "instance":
		w.update(func(tx *state.Tx) { putInstance(tx, word(0), value("node", "n1"), value("status", "ACTIVE")) })
	case "task":
		w.update(func(tx *state.Tx) {
			w.putTask(tx, word(0), value("on", "i1"),
				lifecycle.Status(value("desired", "RUNNING")), lifecycle.Status(value("last", "PENDING")))
			t, _ := state.Tasks.Get(tx, taskARN(word(0)))
			t.Attached = d.HasArg("attached")
			state.Tasks.Put(tx, t)
		})
	case "forget":
		w.update(func(tx *state.Tx) {
			switch word(0) {
			case "node":
				state.Nodes.Delete(tx, word(1))
			case "instance":
				state.Instances.Delete(tx, instanceARN(word(1)))
			case "task":
				state.Tasks.Delete(tx, taskARN(word(1)))
			case "definition":
				state.TaskDefinitions.Delete(tx, definitionARN)
			}
		})
	case "connect":
		next, err := w.connect(Hello{Instance: instanceARN(value("as", "i1")), Cluster: value("cluster", ""), AgentVersion: "1.105.1"})
		if err != nil {
			return err.Error() + "\n", s
		}
		w.older = s
		return fmt.Sprintf("session %s of node %s\n", next.id, next.Node()), next
	case "disconnect":
		ending := s
		if d.HasArg("older") {
			ending = w.older
		}
		w.update(func(tx *state.Tx) { ending.Disconnect(tx, w.now) })
	case "note":
		for _, arg := range d.CmdArgs {
			s.Note(taskARN(arg.Key))
		}
	case "send":
		w.pass(value("after", "0s"))
		for _, m := range w.send(s) {
			b.WriteString(show(m) + "\n")
		}
		if s.Over() != "" {
			b.WriteString("over: " + s.Over() + "\n")
		} else {
			fmt.Fprintf(&b, "again in %s\n", s.Wake().Sub(w.now))
		}
	case "receive":
		s.Receive(received(d))
	case "nodes":
		w.pass(value("after", "0s"))
		w.store.View(func(r *state.Reader) {
			for n := range state.Nodes.All(r) {
				fmt.Fprintf(&b, "%s connected=%t since=%s timeline=%d agent=%s\n", n.ID, n.Connected,
					n.ConnectedAt.Sub(epoch), n.Timeline, n.AgentVersion)
			}
		})
	default:
		w.t.Fatal("unknown command", d.Cmd)
	}
	return b.String(), s
}

func (w *world) pass(duration string) {
	after, err := time.ParseDuration(duration)
	if err != nil {
		w.t.Fatal(err)
	}
	w.now = w.now.Add(after)
}

func received(d *datadriven.TestData) protocol.Message {
	id := d.CmdArgs[1].Key
	switch d.CmdArgs[0].Key {
	case "ack":
		return &protocol.Ack{MessageID: id}
	case "nack":
		return &protocol.Nack{MessageID: id}
	case "verify":
		v := &protocol.StopVerification{MessageID: id}
		for _, arg := range d.CmdArgs[2:] {
			v.StopCandidates = append(v.StopCandidates, protocol.TaskIdentity{TaskARN: taskARN(arg.Key), DesiredStatus: "RUNNING"})
		}
		return v
	default:
		return &protocol.HeartbeatAck{MessageID: id}
	}
}

// agent is the other end, in its simplest form: it acknowledges what reaches it, and wishes only grow.
type agent struct {
	wishes map[string]lifecycle.Status
	inbox  []protocol.Message // under way to it
	outbox []protocol.Message // under way from it
}

func (a *agent) take(m protocol.Message) {
	switch m := m.(type) {
	case *protocol.Payload:
		for _, t := range m.Tasks {
			a.wishes[t.ARN] = lifecycle.Latest(a.wishes[t.ARN], lifecycle.Status(t.DesiredStatus))
		}
		a.outbox = append(a.outbox, &protocol.Ack{MessageID: m.MessageID})
	case *protocol.Manifest:
		a.outbox = append(a.outbox, &protocol.Ack{MessageID: m.MessageID})
	case *protocol.Heartbeat:
		a.outbox = append(a.outbox, &protocol.HeartbeatAck{MessageID: m.MessageID})
	}
}

// TestDelivery: whatever is lost, late or twice, a node is told of its own tasks and of no others, is told
// nothing that it has acknowledged, and in the end knows what is desired.
func TestDelivery(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		w.update(func(tx *state.Tx) {
			for _, n := range []string{"1", "2"} {
				putNode(tx, "n"+n, false, "ecs.capability.full-sync")
				putInstance(tx, "i"+n, "n"+n, "ACTIVE")
			}
		})
		a := &agent{wishes: map[string]lifecycle.Status{}}
		s, err := w.connect(Hello{Instance: instanceARN("i1")})
		if err != nil {
			t.Fatal(err)
		}
		acked := map[string]lifecycle.Status{} // in this session
		heard := map[string][]string{}         // by message: task=status

		speak := func() {
			for _, m := range w.send(s) {
				p, ok := m.(*protocol.Payload)
				if ok {
					for _, task := range p.Tasks {
						desired := lifecycle.Status(task.DesiredStatus)
						checkOwn(t, w, task.ARN)
						if acked[task.ARN] == desired {
							t.Fatalf("%s was told again to be %s", last(task.ARN), desired)
						}
						heard[p.MessageID] = append(heard[p.MessageID], task.ARN+"="+task.DesiredStatus)
					}
					if len(p.Tasks) > maxTasks {
						t.Fatalf("a payload of %d tasks", len(p.Tasks))
					}
				}
				a.inbox = append(a.inbox, m)
			}
			if s.Over() != "" {
				s, _ = w.connect(Hello{Instance: instanceARN("i1")})
				a.inbox, a.outbox, acked = nil, nil, map[string]lifecycle.Status{}
			}
		}
		hear := func(m protocol.Message) {
			s.Receive(m)
			if ack, ok := m.(*protocol.Ack); ok {
				for _, told := range heard[ack.MessageID] {
					arn, status, _ := strings.Cut(told, "=")
					acked[arn] = lifecycle.Latest(acked[arn], lifecycle.Status(status))
				}
			}
		}
		pick := func(list *[]protocol.Message, keep bool) protocol.Message {
			if len(*list) == 0 {
				return nil
			}
			i := rapid.IntRange(0, len(*list)-1).Draw(t, "which")
			m := (*list)[i]
			if !keep {
				*list = slices.Delete(*list, i, i+1)
			}
			return m
		}
		tasks := 0
		t.Repeat(map[string]func(*rapid.T){
			"place": func(t *rapid.T) {
				count := rapid.IntRange(1, 25).Draw(t, "count")
				on := rapid.SampledFrom([]string{"i1", "i1", "i2"}).Draw(t, "instance")
				w.update(func(tx *state.Tx) {
					for range count {
						tasks++
						w.putTask(tx, fmt.Sprintf("t%03d", tasks), on, lifecycle.Running, lifecycle.Pending)
						s.Note(taskARN(fmt.Sprintf("t%03d", tasks)))
					}
				})
				speak()
			},
			"stop": func(t *rapid.T) {
				if tasks == 0 {
					t.Skip("no task")
				}
				id := fmt.Sprintf("t%03d", rapid.IntRange(1, tasks).Draw(t, "task"))
				noted := rapid.Bool().Draw(t, "noted") // a lost note must not matter
				w.update(func(tx *state.Tx) {
					task, _ := state.Tasks.Get(tx, taskARN(id))
					task.Desired = lifecycle.Stopped
					state.Tasks.Put(tx, task)
				})
				if noted {
					s.Note(taskARN(id))
				}
				speak()
			},
			"deliver": func(t *rapid.T) {
				if m := pick(&a.inbox, rapid.IntRange(0, 9).Draw(t, "twice") == 0); m != nil {
					a.take(m)
				}
			},
			"answer": func(t *rapid.T) {
				if m := pick(&a.outbox, rapid.IntRange(0, 9).Draw(t, "twice") == 0); m != nil {
					hear(m)
					speak()
				}
			},
			"lose": func(t *rapid.T) { pick(&a.inbox, false); pick(&a.outbox, false) },
			"wait": func(t *rapid.T) {
				w.now = w.now.Add(time.Duration(rapid.IntRange(1, 40).Draw(t, "seconds")) * time.Second)
				speak()
			},
			"reconnect": func(t *rapid.T) {
				w.update(func(tx *state.Tx) { s.Disconnect(tx, w.now) })
				s, _ = w.connect(Hello{Instance: instanceARN("i1")})
				a.inbox, a.outbox, acked = nil, nil, map[string]lifecycle.Status{}
				speak()
			},
		})

		for range 20 { // heal: nothing is lost any more
			w.now = w.now.Add(heartbeatInterval)
			speak()
			for _, m := range a.inbox {
				a.take(m)
			}
			for _, m := range a.outbox {
				hear(m)
			}
			a.inbox, a.outbox = nil, nil
		}
		w.store.View(func(r *state.Reader) {
			for task := range state.Tasks.By(r, "node", "n1") {
				if a.wishes[task.ARN] != task.Desired {
					t.Fatalf("%s should be %s, the node knows %q", last(task.ARN), task.Desired, a.wishes[task.ARN])
				}
			}
		})
		if len(s.flying) > 0 || len(s.noted) > 0 {
			t.Fatalf("after healing, %d tasks are unacknowledged and %d noted", len(s.flying), len(s.noted))
		}
	})
}

func checkOwn(t *rapid.T, w *world, arn string) {
	w.store.View(func(r *state.Reader) {
		if task, ok := state.Tasks.Get(r, arn); !ok || task.NodeID != "n1" {
			t.Fatalf("node n1 was told of %s, which is on %q", last(arn), task.NodeID)
		}
	})
}

func TestAFrameHoldsAnyPayload(t *testing.T) {
	w := newWorld(t)
	big := strings.Repeat("<", 60<<10) // six bytes each in JSON
	w.update(func(tx *state.Tx) {
		putNode(tx, "n1", false)
		putInstance(tx, "i1", "n1", "ACTIVE")
		d, _ := state.TaskDefinitions.Get(tx, definitionARN)
		d.Spec.ContainerDefinitions = slices.Clone(d.Spec.ContainerDefinitions)
		d.Spec.ContainerDefinitions[0].Image = &big
		state.TaskDefinitions.Put(tx, d)
		for i := range 10 {
			w.putTask(tx, fmt.Sprintf("t%d", i), "i1", lifecycle.Running, lifecycle.Pending)
		}
	})
	s, err := w.connect(Hello{Instance: instanceARN("i1")})
	if err != nil {
		t.Fatal(err)
	}
	tasks := 0
	for _, m := range w.send(s) {
		frame, err := protocol.Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		if len(frame) > protocol.MaxFrame {
			t.Errorf("a frame of %d bytes", len(frame))
		}
		tasks += len(m.(*protocol.Payload).Tasks)
	}
	if tasks != 10 {
		t.Errorf("%d of 10 tasks were sent", tasks)
	}
}

package sim

import (
	"context"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/cockroachdb/datadriven"

	"havn/lifecycle"
	"havn/state"
)

// TestTranscripts plays what seeds have found, as stories that stay: seeds change with the world, stories
// do not. Every step of a story is checked as every step of a seed is. The commands:
//
//	node NAME [cluster=NAME] [cpu=N]     a machine, of every cluster or of one; its agent starts
//	cluster NAME  delete NAME
//	define FAMILY [image=NAME] [port=N] [containers=N]
//	run CLUSTER FAMILY [count=N] [token=TEXT]
//	stop TASK
//	deregister NODE CLUSTER [force]
//	always FAULT...  never FAULT...      as in faults; each is certain or absent
//	break NODE                           its connection
//	cut NODE  join NODE  crash NODE  reboot NODE  kill-server
//	wait DURATION                        and say what happened
//	tasks                                as DescribeTasks shows them
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := newStory()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) (said string) {
			defer func() {
				if f, ok := recover().(*Failure); ok {
					t.Errorf("%s: %s: %s", d.Pos, f.Promise, f.What)
					said = s.said()
				}
			}()
			if err := s.play(d); err != nil {
				return err.Error() + "\n"
			}
			return s.said()
		})
	})
}

type story struct {
	*world
	shown int // of the transcript
}

// newStory is a world in which nothing goes wrong that is not told to.
func newStory() *story {
	w := newWorld(Options{Seed: 1, Trace: true})
	w.faults, w.nodes = faults{Disasters: map[string]float64{}}, nil
	w.log.SetFaults(state.Faults{})
	w.boot()
	return &story{world: w}
}

func (s *story) said() string {
	text := s.transcript.String()[s.shown:]
	s.shown = s.transcript.Len()
	if text == "" {
		return "nothing\n"
	}
	return text
}

func (s *story) play(d *datadriven.TestData) error {
	arg := func(i int) string { return d.CmdArgs[i].Key }
	with := map[string]string{}
	for _, a := range d.CmdArgs {
		if len(a.Vals) > 0 {
			with[a.Key] = a.Vals[0]
		} else {
			with[a.Key] = ""
		}
	}
	number := func(name string, otherwise int) int {
		if n, err := strconv.Atoi(with[name]); err == nil {
			return n
		}
		return otherwise
	}
	switch d.Cmd {
	case "node":
		n := &node{w: s.world, id: arg(0), cluster: with["cluster"], cpu: int64(number("cpu", 1024)), memory: 1024, rack: "r1",
			settings: lifecycle.Settings{CleanupWait: time.Minute}}
		n.begin(1)
		s.nodes = append(s.nodes, n)
		n.boot()
	case "cluster":
		s.users.createCluster(s.server, "user", arg(0))
	case "delete":
		s.users.deleteCluster(s.server, "user", arg(0))
	case "define":
		s.users.registerDefinition(s.server, "user", s.define(arg(0), with["image"], number("port", 0), number("containers", 1)))
	case "run":
		in := &sdk.RunTaskInput{Cluster: aws.String(arg(0)), TaskDefinition: aws.String(arg(1)), Count: aws.Int32(int32(number("count", 1)))}
		if token := with["token"]; token != "" {
			in.ClientToken, in.StartedBy = &token, &token
		}
		s.users.run(s.server, "user", in)
	case "stop":
		for _, task := range s.users.tasks(s.server, func(t state.Task) bool { return short(t.ARN) == "task "+arg(0) }) {
			s.users.stop(s.server, "user", task)
		}
	case "deregister":
		s.deregister(arg(0), arg(1), d.HasArg("force"))
	case "always", "never":
		for _, a := range d.CmdArgs {
			if err := s.fault(a.Key, d.Cmd == "always"); err != nil {
				return err
			}
		}
	case "break":
		s.named(arg(0)).agent.link.lose()
	case "cut", "join":
		s.named(arg(0)).cutOff = d.Cmd == "cut"
	case "crash":
		s.named(arg(0)).crash("killed")
	case "reboot":
		s.named(arg(0)).crash("reboots")
		s.named(arg(0)).runtime.Lose()
		s.named(arg(0)).disturbed = true
	case "kill-server":
		s.die("killed")
	case "wait":
		t, err := time.ParseDuration(arg(0))
		if err != nil {
			return err
		}
		s.run(t, nil)
	case "tasks":
		s.tasks()
	default:
		return fmt.Errorf("unknown command %s", d.Cmd)
	}
	if s.server != nil {
		s.server.tell()
	}
	s.check()
	return nil
}

func (s *story) define(family, image string, port, containers int) *sdk.RegisterTaskDefinitionInput {
	if image == "" {
		image = "good"
	}
	in := &sdk.RegisterTaskDefinitionInput{Family: &family}
	for i := range containers {
		c := types.ContainerDefinition{Name: aws.String(string(rune('a' + i))), Image: &image, Memory: aws.Int32(32)}
		if port > 0 && i == 0 {
			c.PortMappings = []types.PortMapping{{ContainerPort: aws.Int32(80), HostPort: aws.Int32(int32(port))}}
		}
		in.ContainerDefinitions = append(in.ContainerDefinitions, c)
	}
	return in
}

func (s *story) deregister(node, cluster string, force bool) {
	arns := s.users.instances(s.server, func(i state.Instance) bool { return i.NodeID == node && clusterName(i.ClusterARN) == cluster })
	err := s.server.do(byUser, func(ctx context.Context) error {
		_, err := s.server.api.DeregisterContainerInstance(ctx, &sdk.DeregisterContainerInstanceInput{Cluster: &cluster,
			ContainerInstance: &arns[0], Force: &force})
		return err
	})
	s.say("user", "deregisters %s from %s%s", node, cluster, showError(err))
}

func (s *story) named(name string) *node {
	for _, n := range s.nodes {
		if n.id == name {
			return n
		}
	}
	panic("no node " + name)
}

// fault makes one kind of fault certain, or lets it never happen.
func (s *story) fault(name string, certain bool) error {
	often := map[bool]float64{true: 1}[certain]
	if f := reflect.ValueOf(&s.faults).Elem().FieldByName(name); f.IsValid() && f.CanFloat() {
		f.SetFloat(often)
		return nil
	}
	for _, n := range s.nodes {
		f := reflect.ValueOf(&n.runtime.faults).Elem().FieldByName(name)
		if !f.IsValid() {
			return fmt.Errorf("unknown fault %s", name)
		}
		f.SetFloat(often)
	}
	return nil
}

func (s *story) tasks() {
	s.view(func(r *state.Reader) {
		for t := range state.Tasks.All(r) {
			var containers []string
			for _, c := range t.Containers {
				text := c.Name + " " + string(c.Last)
				if c.ExitCode != nil {
					text += fmt.Sprintf(" with %d", *c.ExitCode)
				}
				containers = append(containers, text)
			}
			s.say("tasks", "%s on %s is %s, desired %s: %s; %s %s", short(t.ARN), t.NodeID, t.Last, t.Desired, strings.Join(containers, ", "), t.StopCode, t.StoppedReason)
		}
	})
}

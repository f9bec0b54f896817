package schedule

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// The transcripts under testdata read as sessions. Run the tests with
// -rewrite to write down what happens now, and review the difference.
//
//	nodes                    a node a line: ID and what differs from an ACTIVE,
//	                         connected one with 1024 units and 1024 MiB
//	place [keep]             an ask a line, see parseAsk; "where" begins a memberOf
//	                         expression, "keep" makes the decision real
//	left                     what is left on each node
//	match                    an expression a line: the nodes it holds on, or
//	                         the error with a caret under its place
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		if strings.Contains(path, "fuzz") {
			return
		}
		nodes := map[string]Node{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			sorted := func() []Node {
				var all []Node
				for _, id := range slices.Sorted(maps.Keys(nodes)) {
					all = append(all, nodes[id])
				}
				return all
			}
			switch d.Cmd {
			case "nodes":
				for line := range strings.Lines(d.Input) {
					n := parseNode(t, strings.Fields(line))
					nodes[n.ID] = n
				}
				return ""
			case "place":
				var asks []Ask
				for line := range strings.Lines(d.Input) {
					asks = append(asks, parseAsk(t, strings.TrimSpace(line))...)
				}
				bindings, refusals := Place(sorted(), asks)
				if d.HasArg("keep") {
					for _, b := range bindings {
						i := slices.IndexFunc(asks, func(a Ask) bool { return a.ID == b.Ask })
						nodes[b.Node], _ = nodes[b.Node].With(&asks[i])
					}
				}
				return showAnswers(bindings, refusals)
			case "left":
				var out strings.Builder
				for _, n := range sorted() {
					fmt.Fprintf(&out, "%s: cpu %d memory %d gpus %v tcp %v udp %v groups %v\n", n.ID, n.CPU, n.Memory, n.GPUs, n.TCPPorts, n.UDPPorts, n.Groups)
				}
				return out.String()
			case "match":
				var out strings.Builder
				for line := range strings.Lines(d.Input) {
					out.WriteString(showMatch(sorted(), strings.TrimSuffix(line, "\n")))
				}
				return out.String()
			}
			d.Fatalf(t, "unknown command %s", d.Cmd)
			return ""
		})
	})
}

func showAnswers(bindings []Binding, refusals []Refusal) string {
	var out strings.Builder
	for _, b := range bindings {
		fmt.Fprintf(&out, "%s -> %s", b.Ask, b.Node)
		if len(b.GPUs) > 0 {
			fmt.Fprintf(&out, " %v", b.GPUs)
		}
		out.WriteByte('\n')
	}
	for _, r := range refusals {
		fmt.Fprintf(&out, "%s refused\n", r.Ask)
		for _, n := range r.Nodes {
			fmt.Fprintf(&out, "  %s: %s\n", n.Node, n.Reason)
		}
	}
	return out.String()
}

func showMatch(nodes []Node, text string) string {
	q, err := ParseQuery(text)
	if wrong := (*QueryError)(nil); errors.As(err, &wrong) {
		return fmt.Sprintf("%s\n%*s %s\n", text, wrong.Offset+1, "^", err)
	}
	var ids []string
	for i := range nodes {
		if q.Match(&nodes[i]) {
			ids = append(ids, nodes[i].ID)
		}
	}
	if ids == nil {
		ids = []string{"none"}
	}
	return fmt.Sprintf("%s\n    %s\n", text, strings.Join(ids, " "))
}

func parseNode(t *testing.T, words []string) Node {
	n := Node{ID: words[0], Status: StatusActive, Connected: true, CPU: 1024, Memory: 1024, Attributes: map[string]string{}, Groups: map[string]int{}}
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "disconnected":
			n.Connected = false
		case "impaired":
			n.Impaired = true
		case "status":
			n.Status = value
		case "agent":
			n.AgentVersion = value
		case "ec2":
			n.EC2InstanceID = value
		case "registered":
			at, err := time.Parse(time.RFC3339, value)
			if err != nil {
				t.Fatal(err)
			}
			n.RegisteredAt = at
		case "zone":
			n.Attributes["ecs.availability-zone"] = value
		case "attribute":
			name, value, _ := strings.Cut(value, ":")
			n.Attributes[name] = value
		case "cpu":
			n.CPU = number(t, value)
		case "memory":
			n.Memory = number(t, value)
		case "gpus":
			n.GPUs = strings.Split(value, ",")
		case "tcp":
			n.TCPPorts = append(n.TCPPorts, number(t, value))
		case "udp":
			n.UDPPorts = append(n.UDPPorts, number(t, value))
		case "running":
			n.Running = number(t, value)
		case "task":
			n.Groups[value]++
		default:
			t.Fatalf("unknown word %q", word)
		}
	}
	return n
}

func parseAsk(t *testing.T, line string) (asks []Ask) {
	line, expression, where := strings.Cut(line, " where ")
	words := strings.Fields(line)
	a, count := Ask{}, 1
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "count":
			count = number(t, value)
		case "group":
			a.Group = value
		case "cpu":
			a.CPU = number(t, value)
		case "memory":
			a.Memory = number(t, value)
		case "gpus":
			a.GPUs = number(t, value)
		case "tcp":
			a.TCPPorts = append(a.TCPPorts, number(t, value))
		case "udp":
			a.UDPPorts = append(a.UDPPorts, number(t, value))
		case "requires":
			name, value, _ := strings.Cut(value, ":")
			a.Requires = append(a.Requires, Attribute{name, value})
		case "distinct":
			a.Constraints = append(a.Constraints, Constraint{Type: DistinctInstance})
		case Spread, Binpack, Random:
			a.Strategies = append(a.Strategies, Strategy{key, value})
		case "seed":
			a.Seed = uint64(number(t, value))
		default:
			t.Fatalf("unknown word %q", word)
		}
	}
	if where {
		a.Constraints = append(a.Constraints, Constraint{Type: MemberOf, Query: mustParse(t, expression)})
	}
	for i := range count {
		a.ID = words[0]
		if count > 1 {
			a.ID += "-" + strconv.Itoa(i+1)
		}
		asks = append(asks, a)
	}
	return asks
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

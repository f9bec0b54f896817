package containerd

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"havn/lifecycle"
	"havn/protocol"
)

// What a container knows of the network, and can reach.
func TestNetworkFields(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", busybox(t, nil))
	for _, test := range []struct {
		name, mode, config, host string
		links                    string
		command                  string
		want, not                string
	}{
		{"extraHosts", "bridge", "", `{"ExtraHosts":["db.example:10.9.8.7","six:fd00::1","node:host-gateway"]}`, "",
			"cat /etc/hosts; ping -c1 -W5 node", "10.9.8.7\tdb.example\nfd00::1\tsix\n|1 packets received", ""},
		{"extraHosts on the host", "host", "", `{"ExtraHosts":["db.example:10.9.8.7"]}`, "", "cat /etc/hosts", "10.9.8.7\tdb.example\n", ""},
		{"resolvers", "bridge", "", `{"Dns":["10.9.8.7"],"DnsSearch":["shop.example"]}`, "", "cat /etc/resolv.conf",
			"nameserver 10.9.8.7\n|search shop.example\n", ""},
		{"links", "bridge", "", "", "d:database d", "cat /etc/hosts; ping -c1 -W5 database && ping -c1 -W5 d", "\tdatabase d |\td |1 packets received", ""},
		{"no network", "bridge", `{"NetworkDisabled":true}`, "", "", "cat /proc/net/dev; ping -c1 127.0.0.1", "lo:|1 packets received", "eth0"},
		{"no network on the host", "host", `{"NetworkDisabled":true}`, "", "", "cat /proc/net/dev", "lo:", "eth0"},
	} {
		task := oneTask("web", "sh", "-c", test.command)
		task.NetworkMode = test.mode
		c := &task.Containers[0]
		c.DockerConfig = &protocol.DockerConfig{Config: test.config, HostConfig: test.host}
		c.Links = strings.Fields(test.links)
		if test.mode == "bridge" { // and a neighbour
			task.Containers = append(task.Containers, protocol.Container{Name: "d", Image: "web"})
		}
		n.must(task, lifecycle.Connect, "")
		for _, v := range []lifecycle.Verb{lifecycle.Create, lifecycle.Start, lifecycle.Wait} {
			n.must(task, v, "c")
		}
		out := n.output(task, "c")
		for want := range strings.SplitSeq(test.want, "|") {
			if !strings.Contains(out, want) {
				t.Errorf("%s: %q is not in\n%s", test.name, want, out)
			}
		}
		if test.not != "" && strings.Contains(out, test.not) {
			t.Errorf("%s: %q is in\n%s", test.name, test.not, out)
		}
		n.clean(task)
	}
	for links, want := range map[string]string{"nobody": "could not get container for nobody", "c": "could not get container for c"} {
		task := oneTask("web")
		task.NetworkMode, task.Containers[0].Links = "bridge", []string{links}
		if why := n.refused(task); !strings.Contains(why, want) {
			t.Errorf("%s: %s", links, why)
		}
	}
	for host, want := range map[string]string{
		`{"ExtraHosts":["db:10.0.0"]}`: "invalid IP address in add-host", `{"ExtraHosts":["a b:10.0.0.1"]}`: "cannot stand in /etc/hosts",
		`{"Dns":["x"]}`: "invalid DNS server",
	} {
		task := oneTask("web")
		task.Containers[0].DockerConfig = &protocol.DockerConfig{HostConfig: host}
		if why := n.refused(task); !strings.Contains(why, want) {
			t.Errorf("%s: %s", host, why)
		}
	}
	n.noLeaks()
}

func TestARangeOfPortsIsOneBinding(t *testing.T) {
	n := newNode(t)
	n.load("web:latest", busybox(t, nil))
	task, _, ready := counted(t, "echo answer | nc -l -p 8002 & trap 'exit 0' TERM; until cat /proc/net/tcp6 /proc/net/tcp | /bin/busybox grep -q :1F42; do :; done; echo >/count/ready; wait; sleep 1000000 & wait")
	task.NetworkMode = "bridge"
	task.Containers[0].PortMappings = []protocol.PortMapping{{ContainerPortRange: "8000-8003", Protocol: "tcp"}, {ContainerPort: 9000, Protocol: "udp"}}
	r := n.must(task, lifecycle.Connect, "")
	n.run(task)
	ready()
	if len(r.Bindings) != 2 || r.Bindings[0].ContainerPortRange != "8000-8003" || r.Bindings[1].ContainerPort != 9000 || r.Bindings[1].HostPort == 0 {
		t.Fatalf("%+v", r.Bindings)
	}
	var first, last int
	if _, err := fmt.Sscanf(r.Bindings[0].HostPortRange, "%d-%d", &first, &last); err != nil || last-first != 3 {
		t.Fatalf("%+v, %v", r.Bindings[0], err)
	}
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", first+2))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if answer, err := io.ReadAll(conn); string(answer) != "answer\n" {
		t.Errorf("%q, %v", answer, err)
	}
	n.must(task, lifecycle.Stop, "c")
	n.must(task, lifecycle.Wait, "c")
	n.clean(task)
	n.noLeaks()
}

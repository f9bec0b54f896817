package network

import (
	"errors"
	"fmt"
	"net/netip"
)

// Mode is how a container is connected, in the words of a task definition's networkMode.
type Mode string

const (
	// Bridge gives a namespace with an address on this Havn's bridge, and bindings for the published ports.
	Bridge Mode = "bridge"
	// Host gives no namespace: the container uses the host's, and its ports are the host's.
	Host Mode = "host"
	// None gives a namespace with a loopback interface and nothing else.
	None Mode = "none"
)

// Protocol is the transport of a port.
type Protocol string

const (
	TCP Protocol = "tcp"
	UDP Protocol = "udp"
)

// An Endpoint is what is asked for.
type Endpoint struct {
	// ID is unique per container: letters, digits, '.', '_', '-', not first a '.', at most 128 of them.
	ID    string
	Mode  Mode
	Ports []Port
}

// A Port is a container port to publish, or Count consecutive ones.
type Port struct {
	ContainerPort uint16
	// HostPort 0 means a free one of the dynamic range. With Count it is the first of them.
	HostPort uint16
	// Count 0 means 1.
	Count    uint16
	Protocol Protocol // empty means TCP
}

// An Attachment is what an endpoint got.
type Attachment struct {
	Netns       string // path of a bind-mounted network namespace; empty for Host
	IP, Gateway netip.Addr
	PrefixBits  int
	Bindings    []Binding
}

// A Binding says that a host port leads to a container port; with Count, that as many from there on do.
type Binding struct {
	BindIP        string   `json:"bindIP"`
	ContainerPort uint16   `json:"containerPort"`
	HostPort      uint16   `json:"hostPort"`
	Count         uint16   `json:"count"` // at least 1
	Protocol      Protocol `json:"protocol"`
}

// PortTakenError says that a host port is in use: by a process of the host, by another container, or by another Havn.
type PortTakenError struct {
	Port     uint16
	Protocol Protocol
	// Who has it, as far as that could be seen: an endpoint of this Network by its ID, or else a process of the host
	// as "name (pid 123)".
	Endpoint, Process string
}

func (e *PortTakenError) Error() string {
	text := fmt.Sprintf("host port %d/%s is already in use", e.Port, e.Protocol)
	switch {
	case e.Endpoint != "":
		text += " by endpoint " + e.Endpoint
	case e.Process != "":
		text += " by " + e.Process
	}
	return text
}

// ErrClosed is what a Network answers after Close or Destroy.
var ErrClosed = errors.New("network is closed")

// maxPorts limits the host ports of one endpoint: each is a bound socket. ECS allows 100 mappings and ranges.
const maxPorts = 2000

func (e Endpoint) check() error {
	if !validID(e.ID) {
		return fmt.Errorf("endpoint id %q is not 1 to 128 letters, digits, '.', '_' or '-'", e.ID)
	}
	if e.Mode != Bridge && e.Mode != Host && e.Mode != None {
		return fmt.Errorf("network mode %q is none of bridge, host, none", e.Mode)
	}
	if e.Mode == None && len(e.Ports) > 0 {
		return errors.New("network mode none takes no ports")
	}
	total := 0
	for _, p := range e.Ports {
		b := p.binding()
		last := int(b.Count) - 1
		switch {
		case b.Protocol != TCP && b.Protocol != UDP:
			return fmt.Errorf("protocol %q is neither tcp nor udp", p.Protocol)
		case b.ContainerPort == 0:
			return errors.New("container port 0 cannot be published")
		case int(b.ContainerPort)+last > 65535 || int(b.HostPort)+last > 65535:
			return fmt.Errorf("%d ports from %d (host %d) on go past 65535", b.Count, b.ContainerPort, b.HostPort)
		case e.Mode == Host && b.HostPort != 0 && b.HostPort != b.ContainerPort:
			return fmt.Errorf("network mode host cannot lead host port %d to container port %d", b.HostPort, b.ContainerPort)
		}
		total += int(b.Count)
	}
	if total > maxPorts {
		return fmt.Errorf("%d published ports are more than %d", total, maxPorts)
	}
	return nil
}

// binding is the port with its defaults filled in; HostPort may still be 0.
func (p Port) binding() Binding {
	b := Binding{BindIP: "0.0.0.0", ContainerPort: p.ContainerPort, HostPort: p.HostPort,
		Count: max(p.Count, 1), Protocol: p.Protocol}
	if b.Protocol == "" {
		b.Protocol = TCP
	}
	return b
}

// validID also makes an ID safe as the name of a file.
func validID(id string) bool {
	if len(id) == 0 || len(id) > 128 || id[0] == '.' {
		return false
	}
	for _, c := range []byte(id) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

package metadata

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"havn/agent/network"
	"havn/lifecycle"
)

// The faults, as ECS names them. Amazon ECS developer guide, "Use fault injection with your Amazon ECS workloads".
const (
	blackholePort = "network-blackhole-port"
	latency       = "network-latency"
	packetLoss    = "network-packet-loss"
)

// The limits of a fault.
const (
	maxSources   = 100
	maxDelay     = 600_000 // milliseconds
	everyPercent = 100
)

// faultWish is the body of a request. What is not of the fault that is named is not looked at.
type faultWish struct {
	Port        *uint16
	Protocol    *string
	TrafficType *string

	DelayMilliseconds  *uint64
	JitterMilliseconds *uint64
	LossPercent        *uint64
	Sources            []string
	SourcesToFilter    []string
	FlowsPercent       *uint64
}

type faultAnswer struct {
	Status string `json:",omitempty"`
	Error  string `json:",omitempty"`
}

// decodeFault reads what fault is meant. To stop or to look at one it is enough to say which; an empty body then says
// that there is nothing more to say.
func decodeFault(name, action string, body io.Reader) (network.Fault, error) {
	var wish faultWish
	d := json.NewDecoder(body)
	d.DisallowUnknownFields()
	if err := d.Decode(&wish); err != nil && !(errors.Is(err, io.EOF) && action != "start" && name != blackholePort) {
		return nil, fmt.Errorf("failed to decode request: %w", err)
	}
	switch {
	case name == blackholePort:
		return wish.blackhole()
	case name == latency && action == "start":
		return wish.latency()
	case name == latency:
		return network.Latency{}, nil
	case action == "start":
		return wish.loss()
	}
	return network.Loss{}, nil
}

func (w faultWish) blackhole() (network.Fault, error) {
	switch {
	case w.Port == nil:
		return nil, missing("Port")
	case w.Protocol == nil || *w.Protocol == "":
		return nil, missing("Protocol")
	case w.TrafficType == nil || *w.TrafficType == "":
		return nil, missing("TrafficType")
	case *w.Protocol != "tcp" && *w.Protocol != "udp":
		return nil, invalid(*w.Protocol, "Protocol")
	case *w.TrafficType != "ingress" && *w.TrafficType != "egress":
		return nil, invalid(*w.TrafficType, "TrafficType")
	}
	except, err := prefixes("SourcesToFilter", w.SourcesToFilter)
	return network.Blackhole{Port: *w.Port, Protocol: network.Protocol(*w.Protocol), Ingress: *w.TrafficType == "ingress", Except: except}, err
}

func (w faultWish) latency() (network.Fault, error) {
	switch {
	case w.DelayMilliseconds == nil:
		return nil, missing("DelayMilliseconds")
	case w.JitterMilliseconds == nil:
		return nil, missing("JitterMilliseconds")
	case *w.DelayMilliseconds > maxDelay:
		return nil, invalid(strconv.FormatUint(*w.DelayMilliseconds, 10), "DelayMilliseconds")
	case *w.JitterMilliseconds > maxDelay:
		return nil, invalid(strconv.FormatUint(*w.JitterMilliseconds, 10), "JitterMilliseconds")
	}
	affected, err := w.affected()
	return network.Latency{Delay: time.Duration(*w.DelayMilliseconds) * time.Millisecond,
		Jitter: time.Duration(*w.JitterMilliseconds) * time.Millisecond, Affected: affected}, err
}

func (w faultWish) loss() (network.Fault, error) {
	switch {
	case w.LossPercent == nil:
		return nil, missing("LossPercent")
	case *w.LossPercent < 1 || *w.LossPercent > everyPercent:
		return nil, invalid(strconv.FormatUint(*w.LossPercent, 10), "LossPercent")
	}
	affected, err := w.affected()
	return network.Loss{Percent: int(*w.LossPercent), Affected: affected}, err
}

func (w faultWish) affected() (a network.Affected, err error) {
	if len(w.Sources) == 0 {
		return a, missing("Sources")
	}
	a.FlowsPercent = everyPercent
	if p := w.FlowsPercent; p != nil {
		if *p < 1 || *p > everyPercent {
			return a, invalid(strconv.FormatUint(*p, 10), "FlowsPercent")
		}
		a.FlowsPercent = int(*p)
	}
	if a.Sources, err = prefixes("Sources", w.Sources); err != nil {
		return a, err
	}
	a.Except, err = prefixes("SourcesToFilter", w.SourcesToFilter)
	return a, err
}

// prefixes reads IPv4 addresses and CIDR blocks: the bridge knows no other.
func prefixes(parameter string, texts []string) ([]netip.Prefix, error) {
	if len(texts) > maxSources {
		return nil, fmt.Errorf("parameter %s can have at most %d values", parameter, maxSources)
	}
	var all []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if a, single := netip.ParseAddr(text); single == nil {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil || !p.Addr().Is4() {
			return nil, invalid(text, parameter)
		}
		all = append(all, p.Masked())
	}
	return all, nil
}

func missing(parameter string) error {
	return fmt.Errorf("required parameter %s is missing", parameter)
}

func invalid(value, parameter string) error {
	return fmt.Errorf("invalid value %s for parameter %s", lifecycle.Clip(value), parameter)
}

// fault starts, stops or looks at a fault of the caller's own network. ECS injects faults into the network of a task in
// the modes host and awsvpc. Havn does it where the network is the container's own, which is bridge mode, and nowhere
// else: in host mode the fault would be everybody's.
func (s *Server) fault(w http.ResponseWriter, r *http.Request, q request) {
	name, action := q.more[0], q.more[1]
	if !slices.Contains([]string{blackholePort, latency, packetLoss}, name) || !slices.Contains([]string{"start", "stop", "status"}, action) {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		return
	}
	refuse := func(status int, format string, args ...any) {
		answer(w, status, faultAnswer{Error: fmt.Sprintf(format, args...)})
	}
	f, err := decodeFault(name, action, r.Body)
	if err != nil {
		refuse(http.StatusBadRequest, "%v", err)
		return
	}
	record, container, err := s.caller(r, q.id)
	switch {
	case errors.Is(err, errUnknown):
		refuse(http.StatusNotFound, "unable to lookup container: %s", q.id)
		return
	case err != nil:
		refuse(http.StatusInternalServerError, "unable to obtain container metadata for container: %s", q.id)
		return
	case !record.Task.EnableFaultInjection:
		refuse(http.StatusBadRequest, "enableFaultInjection is not enabled for task: %s", record.Task.ARN)
		return
	}
	i := slices.IndexFunc(record.Life.Containers, func(c lifecycle.Container) bool { return c.Name == container })
	status, err := s.inject(r, record.Life.Containers[i].RuntimeID, f, action)
	switch {
	case errors.Is(err, network.ErrNoOwnNetwork):
		refuse(http.StatusBadRequest, "%s mode is not supported. Please use bridge mode: the fault is for the container's own network only.", record.Task.NetworkMode)
	case errors.Is(err, network.ErrFaultRunning):
		refuse(http.StatusConflict, "There is already one %s fault running", name)
	case err != nil:
		s.Log.Warn("cannot inject a fault", "task", record.Task.ARN, "fault", name, "action", action, "error", err)
		refuse(http.StatusInternalServerError, "%v", err)
	default:
		s.Log.Info("a task asks for a fault", "task", record.Task.ARN, "fault", name, "action", action, "status", status)
		answer(w, http.StatusOK, faultAnswer{Status: status})
	}
}

func (s *Server) inject(r *http.Request, id string, f network.Fault, action string) (status string, err error) {
	switch action {
	case "start":
		return "running", s.Faults.StartFault(r.Context(), id, f)
	case "stop":
		return "stopped", s.Faults.StopFault(r.Context(), id, f)
	}
	running, err := s.Faults.FaultRunning(r.Context(), id, f)
	if running {
		return "running", err
	}
	return "not-running", err
}

package metadata

import (
	"fmt"
	"strings"
	"testing"

	"havn/agent/network"
)

func TestWhichFaultIsMeant(t *testing.T) {
	for _, c := range []struct{ name, action, body, want string }{
		{blackholePort, "start", `{"Port":80,"Protocol":"tcp","TrafficType":"ingress"}`, "{Port:80 Protocol:tcp Ingress:true Except:[]}"},
		{blackholePort, "status", `{"Port":53,"Protocol":"udp","TrafficType":"egress","SourcesToFilter":["10.0.0.1","10.1.2.3/16"]}`,
			"{Port:53 Protocol:udp Ingress:false Except:[10.0.0.1/32 10.1.0.0/16]}"},
		{blackholePort, "stop", ``, "failed to decode request: EOF"},
		{blackholePort, "start", `{}`, "required parameter Port is missing"},
		{blackholePort, "start", `{"Port":80}`, "required parameter Protocol is missing"},
		{blackholePort, "start", `{"Port":80,"Protocol":"tcp"}`, "required parameter TrafficType is missing"},
		{blackholePort, "start", `{"Port":80,"Protocol":"icmp","TrafficType":"ingress"}`, "invalid value icmp for parameter Protocol"},
		{blackholePort, "start", `{"Port":80,"Protocol":"tcp","TrafficType":"up"}`, "invalid value up for parameter TrafficType"},
		{blackholePort, "start", `{"Port":70000}`, "failed to decode request: json: cannot unmarshal number 70000 into Go struct field faultWish.Port of type uint16"},
		{latency, "start", `{"DelayMilliseconds":100,"JitterMilliseconds":5,"Sources":["0.0.0.0/0"]}`,
			"{Delay:100ms Jitter:5ms Affected:{Sources:[0.0.0.0/0] Except:[] FlowsPercent:100}}"},
		{latency, "start", `{"JitterMilliseconds":5,"Sources":["0.0.0.0/0"]}`, "required parameter DelayMilliseconds is missing"},
		{latency, "start", `{"DelayMilliseconds":100,"Sources":["0.0.0.0/0"]}`, "required parameter JitterMilliseconds is missing"},
		{latency, "start", `{"DelayMilliseconds":100,"JitterMilliseconds":5}`, "required parameter Sources is missing"},
		{latency, "start", `{"DelayMilliseconds":600001,"JitterMilliseconds":5}`, "invalid value 600001 for parameter DelayMilliseconds"},
		{latency, "stop", ``, "{Delay:0s Jitter:0s Affected:{Sources:[] Except:[] FlowsPercent:0}}"},
		{latency, "start", ``, "failed to decode request: EOF"},
		{packetLoss, "start", `{"LossPercent":6,"Sources":["10.0.0.1"],"SourcesToFilter":["10.0.0.2"],"FlowsPercent":50}`,
			"{Percent:6 Affected:{Sources:[10.0.0.1/32] Except:[10.0.0.2/32] FlowsPercent:50}}"},
		{packetLoss, "start", `{"Sources":["10.0.0.1"]}`, "required parameter LossPercent is missing"},
		{packetLoss, "start", `{"LossPercent":0,"Sources":["10.0.0.1"]}`, "invalid value 0 for parameter LossPercent"},
		{packetLoss, "start", `{"LossPercent":101,"Sources":["10.0.0.1"]}`, "invalid value 101 for parameter LossPercent"},
		{packetLoss, "start", `{"LossPercent":5,"Sources":["::1"]}`, "invalid value ::1 for parameter Sources"},
		{packetLoss, "start", `{"LossPercent":5,"Sources":["example.com"]}`, "invalid value example.com for parameter Sources"},
		{packetLoss, "start", `{"LossPercent":5,"Sources":["10.0.0.1"],"FlowsPercent":0}`, "invalid value 0 for parameter FlowsPercent"},
		{packetLoss, "start", `{"LossPercent":5,"Colour":"red"}`, `failed to decode request: json: unknown field "Colour"`},
		{packetLoss, "status", `{}`, "{Percent:0 Affected:{Sources:[] Except:[] FlowsPercent:0}}"},
	} {
		f, err := decodeFault(c.name, c.action, strings.NewReader(c.body))
		got := fmt.Sprintf("%+v", f)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s %s %s\n\tis   %s\n\twant %s", c.action, c.name, c.body, got, c.want)
		}
	}
}

func FuzzFault(f *testing.F) {
	f.Add(0, true, `{"Port":80,"Protocol":"tcp","TrafficType":"ingress","SourcesToFilter":["10.0.0.0/8"]}`)
	f.Add(1, true, `{"DelayMilliseconds":1,"JitterMilliseconds":1,"Sources":["1.2.3.4"],"FlowsPercent":3}`)
	f.Add(2, true, `{"LossPercent":1,"Sources":["1.2.3.4/0"]}`)
	f.Add(2, false, ``)
	f.Fuzz(func(t *testing.T, kind int, start bool, body string) {
		name := []string{blackholePort, latency, packetLoss}[uint(kind)%3]
		action := "stop"
		if start {
			action = "start"
		}
		fault, err := decodeFault(name, action, strings.NewReader(body))
		if err != nil {
			return
		}
		var a network.Affected
		switch fault := fault.(type) {
		case network.Latency:
			a = fault.Affected
		case network.Loss:
			a = fault.Affected
			if start && (fault.Percent < 1 || fault.Percent > 100) {
				t.Errorf("%s is taken for %+v", body, fault)
			}
		case network.Blackhole:
			return
		}
		if start && (len(a.Sources) == 0 || a.FlowsPercent < 1 || a.FlowsPercent > 100) {
			t.Errorf("%s is taken for %+v", body, a)
		}
		for _, p := range append(a.Sources, a.Except...) {
			if !p.Addr().Is4() || p != p.Masked() {
				t.Errorf("%s is taken for %+v", body, p)
			}
		}
	})
}

package sim

import (
	"testing"
	"testing/synctest"
	"time"

	"havn/agent"
	"havn/agent/runtimetest"
	"havn/protocol"
)

// The programs of the suite.
var suite = map[string]Program{
	"obedient":   {TermTime: 20 * time.Millisecond},
	"stubborn":   {IgnoresTerm: true},
	"exits-3":    {RunsFor: time.Millisecond, ExitCode: 3},
	"no-command": {NoCommand: true},
	"slow":       {PullTime: time.Hour},
	"sick":       {TermTime: 20 * time.Millisecond, ProbeCode: 1},
	"hanging":    {TermTime: 20 * time.Millisecond, ProbeTime: time.Hour},
}

func TestRuntimeDoesWhatEveryRuntimeMust(t *testing.T) {
	runtimetest.Test(t, runtimetest.Config{
		Open: func(*testing.T) runtimetest.Node {
			r := NewRuntime(RuntimeConfig{Seed: 1, Programs: suite})
			return runtimetest.Node{Runtime: r, Reopen: func(*testing.T) agent.Runtime {
				r = r.Reopen()
				return r
			}}
		},
		Run: func(t *testing.T, name string, f func(*testing.T)) {
			t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
		},
		NetworkMode:    "bridge",
		Obedient:       protocol.Container{Image: "obedient"},
		Stubborn:       protocol.Container{Image: "stubborn"},
		ExitsThree:     protocol.Container{Image: "exits-3"},
		MissingImage:   protocol.Container{Image: "missing"},
		MissingCommand: protocol.Container{Image: "no-command"},
		SlowPull:       protocol.Container{Image: "slow"},
		Well:           protocol.Container{Image: "obedient"},
		Sick:           protocol.Container{Image: "sick"},
		Hanging:        protocol.Container{Image: "hanging"},
	})
}

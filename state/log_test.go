package state_test

import (
	"testing"

	"havn/state"
	"havn/state/statetest"
)

func TestMemoryIsALog(t *testing.T) {
	statetest.Test(t, func(*testing.T) state.Log { return &state.Memory{} })
}

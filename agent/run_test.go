package agent

import "testing"

func TestANodeKeepsItsName(t *testing.T) {
	dir := t.TempDir()
	first, err := nodeID(dir)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := nodeID(dir); err != nil || second != first {
		t.Errorf("%s, then %s (%v)", first, second, err)
	}
	if other, err := nodeID(t.TempDir()); err != nil || other == first {
		t.Errorf("two nodes are named %s (%v)", other, err)
	}
}

package etcd

import (
	"strings"
	"testing"
)

// TestOneHavnLeads: a state has one leader at a time, the next one leads as soon as it has gone, and nobody
// leads a state that was begun as another region or account.
func TestOneHavnLeads(t *testing.T) {
	socket := shortSocket(t)
	startTest(t, socket)
	dial := func() *Log {
		l, err := Dial(t.Context(), DialConfig{Endpoints: []string{"unix://" + socket}})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	first, second := dial(), dial()
	lost, err := first.Lead(t.Context(), "us-east-1 000000000000")
	if err != nil {
		t.Fatal(err)
	}
	followed := make(chan error, 1)
	go func() {
		_, err := second.Lead(t.Context(), "us-east-1 000000000000")
		followed <- err
	}()
	select {
	case <-lost:
		t.Fatal("the first lost its lease")
	case err := <-followed:
		t.Fatalf("the second did not wait: %v", err)
	default:
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-followed; err != nil {
		t.Errorf("the second cannot lead after the first: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	third := dial()
	t.Cleanup(func() { third.Close() })
	if _, err := third.Lead(t.Context(), "eu-west-1 000000000000"); err == nil || !strings.Contains(err.Error(), "us-east-1") {
		t.Errorf("leading the state of another region: %v", err)
	}
}

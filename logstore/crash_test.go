package logstore

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// victim is the folder in which this process appends until it is killed, in a test of its parent.
const victim = "HAVN_LOGSTORE_VICTIM"

func TestMain(m *testing.M) {
	if dir := os.Getenv(victim); dir != "" {
		if err := appendForever(dir); err != nil {
			fmt.Println("error:", err)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// appendForever says of each event that it was acknowledged, from four streams at a time.
func appendForever(dir string) error {
	s, err := Open(Config{Dir: dir, Log: quiet})
	if err != nil {
		return err
	}
	failed := make(chan error)
	for stream := range 4 {
		go func() {
			for n := 0; ; n++ {
				message := fmt.Sprintf("%d %d", stream, n)
				if err := s.Append(context.Background(), id(1), id(stream), int64(n), []Entry{{int64(n), message}}); err != nil {
					failed <- err
					return
				}
				os.Stdout.WriteString(message + "\n") // unbuffered: what was said was acknowledged
			}
		}()
	}
	return <-failed
}

func TestKillLosesNoAcknowledgedEvent(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	acknowledged := map[int]int{} // events, by stream
	for range 3 {
		child := exec.Command(self)
		child.Env = append(os.Environ(), victim+"="+dir)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		clear(acknowledged)
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			stream, number, _ := strings.Cut(lines.Text(), " ")
			at, err := strconv.Atoi(stream)
			if err != nil {
				t.Fatal(lines.Text())
			}
			last, err := strconv.Atoi(number)
			if err != nil {
				t.Fatal(lines.Text())
			}
			acknowledged[at] = last + 1
			if n == 200 {
				child.Process.Kill() //nolint:errcheck // what it has said before it dies is read on
			}
		}
		child.Wait() //nolint:errcheck // it was killed
	}
	s, err := Open(Config{Dir: dir, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if len(acknowledged) == 0 {
		t.Fatal("nothing was acknowledged")
	}
	for stream, events := range acknowledged {
		found := map[int64]bool{}
		for e, err := range s.Events(t.Context(), Query{Group: id(1), Streams: []ID{id(stream)}, To: End}) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Message != fmt.Sprintf("%d %d", stream, e.Time) {
				t.Fatalf("event %v of stream %d", e, stream)
			}
			found[e.Time] = true
		}
		for n := range events {
			if !found[int64(n)] {
				t.Errorf("event %d of stream %d was acknowledged, and is gone", n, stream)
			}
		}
	}
}

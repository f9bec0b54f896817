package etcd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"havn/state"
)

// The crash test runs this binary as a writer, kills it with SIGKILL at a random moment, and runs it again on
// the same folder, several hundred times. Each life first checks and tells what it found, then writes until
// it is killed:
//
//	found LANE N     the last write of a lane that is there; its records are whole
//	up
//	ack LANE N       write N of a lane was acknowledged
//
// A lane is a goroutine that writes numbers in order, each in one transaction of three records: its head,
// and two records of a slot that must always be equal.
const (
	lanes = 4
	slots = 16
	lives = 250
	// budget bounds the test on a slow machine, and leastLives is what must fit in.
	budget     = 60 * time.Second
	leastLives = 200
)

type mark struct {
	ID   string
	N    int
	Fill string // so that a commit spans pages
}

var marks = state.NewTable("crash-mark", 1, func(m mark) string { return m.ID })

func TestMain(m *testing.M) {
	if dir := os.Getenv("HAVN_CRASH_DIR"); dir != "" {
		if err := live(dir); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// live is one life of the writer. It only returns with an error.
func live(dir string) error {
	ctx := context.Background()
	// Without etcd's warnings: a write-ahead file that was cut off is to be expected here.
	l, err := StartEmbedded(ctx, Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	s, err := state.Open(ctx, l)
	if err != nil {
		return err
	}
	var next [lanes]int
	s.View(func(r *state.Reader) {
		for lane := range lanes {
			head, _ := marks.Get(r, fmt.Sprint(lane, "/head"))
			next[lane] = head.N + 1
			for slot := range slots {
				// The last number up to the head that belongs into this slot.
				want := max(0, head.N-(head.N-slot+slots)%slots)
				a, _ := marks.Get(r, fmt.Sprint(lane, "/a/", slot))
				b, _ := marks.Get(r, fmt.Sprint(lane, "/b/", slot))
				if a.N != want || b.N != want {
					err = fmt.Errorf("lane %d: head %d, slot %d has %d and %d, want %d", lane, head.N, slot, a.N, b.N, want)
				}
			}
			fmt.Println("found", lane, head.N)
		}
	})
	if err != nil {
		return err
	}
	fmt.Println("up")

	var wg sync.WaitGroup
	var errs [lanes]error
	for lane := range lanes {
		wg.Go(func() {
			for n := next[lane]; errs[lane] == nil; n++ {
				errs[lane] = s.Update(ctx, func(tx *state.Tx) error {
					fill := strings.Repeat("x", n%7*300)
					marks.Put(tx, mark{ID: fmt.Sprint(lane, "/head"), N: n})
					marks.Put(tx, mark{ID: fmt.Sprint(lane, "/a/", n%slots), N: n, Fill: fill})
					marks.Put(tx, mark{ID: fmt.Sprint(lane, "/b/", n%slots), N: n, Fill: fill})
					return nil
				})
				if errs[lane] == nil {
					fmt.Println("ack", lane, n)
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs[:]...)
}

func TestKillLosesNoAcknowledgedWrite(t *testing.T) {
	const seed = 20251122
	chance := rand.New(rand.NewPCG(seed, seed))
	dir := filepath.Join(t.TempDir(), "etcd")
	begin := time.Now()
	var acked [lanes]int
	writes, starved := 0, 0
	life := 0
	for ; life < lives; life++ {
		if took := time.Since(begin); took > budget && life >= leastLives {
			t.Logf("%d lives instead of %d: they took %v", life, lives, took)
			break
		}
		before := acked
		up := crash(t, dir, chance, &acked)
		if !up {
			starved++
		}
		for lane := range lanes {
			writes += acked[lane] - before[lane]
		}
	}
	t.Logf("%d lives in %v, %d of them killed before they were up; %d acknowledged writes, none lost", life, time.Since(begin).Round(time.Millisecond), starved, writes)
	if writes < life || starved > life/2 {
		t.Errorf("that is too little to say anything")
	}
}

// crash is one life, as its killer sees it. It compares what the writer found with what was acknowledged, and
// notes what it acknowledges.
func crash(t *testing.T, dir string, chance *rand.Rand, acked *[lanes]int) (up bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "HAVN_CRASH_DIR="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := func() { cmd.Process.Kill() }
	// One life in ten is killed at some moment of its start, the others while they write.
	early := chance.IntN(10) == 0
	delay := time.Duration(chance.IntN(40_000)) * time.Microsecond
	if early {
		timer := time.AfterFunc(2*delay, kill)
		defer timer.Stop()
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var lane, n int
		line := lines.Text()
		switch {
		case line == "up":
			up = true
			if !early {
				timer := time.AfterFunc(delay, kill)
				defer timer.Stop()
			}
		case scan(line, "found %d %d", &lane, &n):
			if n < acked[lane] {
				t.Fatalf("lane %d: %d was acknowledged, and only %d is there", lane, acked[lane], n)
			}
			acked[lane] = n
		case scan(line, "ack %d %d", &lane, &n):
			acked[lane] = n
		case strings.HasPrefix(line, "ack"), strings.HasPrefix(line, "found"): // cut off by the kill
		default:
			kill()
			t.Fatalf("the writer says: %s", line)
		}
	}
	cmd.Wait() //nolint:errcheck // killed
	return up
}

func scan(line, format string, lane, n *int) bool {
	parsed, err := fmt.Sscanf(line, format, lane, n)
	return err == nil && parsed == 2
}

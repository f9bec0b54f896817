package containerd

import (
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"havn/lifecycle"
)

func TestWhichImagesMayGo(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	all := []keptImage{
		{name: "just used", used: ago(time.Second)},
		{name: "used today", used: ago(5 * time.Hour)},
		{name: "runs", used: ago(1000 * time.Hour), inUse: true},
		{name: "out of an archive", used: ago(1000 * time.Hour), loaded: true},
		{name: "old", used: ago(200 * time.Hour)},
		{name: "oldest", used: ago(300 * time.Hour)},
	}
	for _, test := range []struct {
		scarce bool
		maxAge time.Duration
		want   []string
	}{
		{false, 168 * time.Hour, []string{"oldest", "old"}},
		{false, 1000 * time.Hour, nil},
		{true, 168 * time.Hour, []string{"oldest", "old", "used today"}},
		{true, time.Millisecond, []string{"oldest", "old", "used today", "just used"}},
	} {
		if got := expendable(all, test.scarce, test.maxAge, now); !slices.Equal(got, test.want) {
			t.Errorf("scarce %v, at most %v old: %q, want %q", test.scarce, test.maxAge, got, test.want)
		}
	}
}

func TestWhenADiskIsScarceAndFull(t *testing.T) {
	const gib = 1 << 30
	for _, test := range []struct {
		disk         Disk
		scarce, full bool
	}{
		{Disk{Size: 250 * gib, Free: 5 * gib}, false, false},
		{Disk{Size: 250 * gib, Free: 3 * gib}, true, false},
		{Disk{Size: 250 * gib, Free: gib / 8}, true, true},
		{Disk{Size: gib, Free: gib / 5}, false, false},
		{Disk{Size: gib, Free: gib / 20}, true, false},
		{Disk{Size: gib, Free: gib / 50}, true, true},
	} {
		if scarce, full := test.disk.Scarce(), test.disk.Full(); scarce != test.scarce || full != test.full {
			t.Errorf("%+v: scarce %v, full %v", test.disk, scarce, full)
		}
	}
}

func TestImagesAreInUseWhateverTheDataFolderIsCalled(t *testing.T) {
	for _, name := range []string{"plain", "x[1]", "a*b?", `back\slash`} {
		r := &Runtime{dataDir: filepath.Join(t.TempDir(), name)}
		if inUse, err := r.imagesInUse(); err != nil || len(inUse) > 0 {
			t.Errorf("%s: before there is a task: %v, %v", name, inUse, err)
		}
		if err := r.markImage("task/default/1", "c", "web:1"); err != nil {
			t.Fatal(err)
		}
		if inUse, err := r.imagesInUse(); err != nil || !inUse["web:1"] {
			t.Errorf("%s: in use are %v, %v", name, inUse, err)
		}
	}
}

func TestTidyKeepsWhatIsUsed(t *testing.T) {
	n, reg := newNode(t), newRegistry(t)
	used, _ := reg.push("used:1", busybox(t, nil))
	pulledOnly, _ := reg.push("pulled:1", busybox(t, nil))
	unused, _ := reg.push("unused:1", busybox(t, nil))
	n.load("loaded:latest", busybox(t, nil))
	runs, waits, past := oneTask(used), oneTask(pulledOnly), oneTask(unused)
	n.run(runs)
	n.must(waits, lifecycle.Pull, "c")
	n.run(past)
	n.must(past, lifecycle.Stop, "c")
	n.must(past, lifecycle.Remove, "c")

	names := func() (all []string) {
		list, err := n.Images().ListImages(within(t))
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range list {
			all = append(all, i.Name)
		}
		return all
	}
	tidied := func(at time.Time) []string {
		t.Helper()
		removed, err := n.Tidy(within(t), at)
		if err != nil {
			t.Fatal(err)
		}
		return removed
	}
	if removed := tidied(time.Now().Add(DefaultImageMaxAge - time.Hour)); len(removed) > 0 {
		t.Errorf("removed too early: %q", removed)
	}
	later := time.Now().Add(DefaultImageMaxAge + time.Hour)
	if removed := tidied(later); !slices.Equal(removed, []string{unused}) {
		t.Errorf("removed %q, want %q", removed, unused)
	}
	if got := names(); len(got) != 3 {
		t.Errorf("there are %q", got)
	}
	n.must(waits, lifecycle.Connect, "")
	n.must(waits, lifecycle.Create, "c") // its image is still there
	n.clean(runs)
	n.clean(waits)
	n.clean(past)
	if removed := tidied(later); len(removed) != 2 {
		t.Errorf("when nothing runs, removed %q", removed)
	}
	n.noLeaks()
}

// A pull that comes while its image is being removed has an image when it is done.
func TestAPullBesideTidy(t *testing.T) {
	n, reg := newNode(t), newRegistry(t)
	ref, _ := reg.push("web:1", busybox(t, nil))
	for i := range 4 {
		task := oneTask(ref)
		n.must(task, lifecycle.Connect, "")
		var both sync.WaitGroup
		both.Go(func() { n.do(task, lifecycle.Pull, "c") })
		both.Go(func() {
			if _, err := n.Tidy(within(t), time.Now().Add(2*DefaultImageMaxAge)); err != nil {
				t.Error(fmt.Errorf("round %d: %w", i, err))
			}
		})
		both.Wait()
		n.must(task, lifecycle.Create, "c")
		n.must(task, lifecycle.Start, "c")
		n.clean(task)
	}
}

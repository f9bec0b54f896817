package containerd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"

	"havn/lifecycle"
	"havn/protocol"
)

// The floor is what a bare containerd client needs to create and start an image on the same engine: a record with a
// snapshot, a task, its start. Runtime is what Perform needs for it, with Docker's seccomp profile, /etc files, log and
// a bridged network. Compare their numbers from one run; RuntimeAndFloor takes turns, so that both meet the same
// weather:
//
//	go test -run=^$ -bench=. -benchtime=50x ./agent/containerd

func BenchmarkFloor(b *testing.B)           { benchmark(b, true, false) }
func BenchmarkRuntime(b *testing.B)         { benchmark(b, false, true) }
func BenchmarkRuntimeAndFloor(b *testing.B) { benchmark(b, true, true) }

func benchmark(b *testing.B, floor, runtime bool) {
	n := newNode(b)
	n.load("bench:latest", busybox(b, nil))
	took := make(durations)
	for b.Loop() {
		if floor {
			n.floor(took)
		}
		if runtime {
			n.timed(took)
		}
	}
	took.report(b)
}

func (n *node) floor(took durations) {
	b, ctx := n.tb, context.Background()
	taskNumber++
	id := fmt.Sprintf("floor-%d", taskNumber)
	img, err := n.client.GetImage(ctx, "docker.io/library/bench:latest")
	if err != nil {
		b.Fatal(err)
	}
	runc := client.WithRuntime(n.shim, &options.Options{BinaryName: n.runc, Root: filepath.Join(n.runtimeDir, "r")})
	begin := time.Now()
	c, err := n.client.NewContainer(ctx, id, client.WithNewSnapshot(id, img), runc, client.WithNewSpec(oci.WithImageConfig(img)))
	if err != nil {
		b.Fatal(err)
	}
	t, err := c.NewTask(ctx, cio.NullIO)
	if err != nil {
		b.Fatal(err)
	}
	if err := t.Start(ctx); err != nil {
		b.Fatal(err)
	}
	took.add("floor", begin)
	if _, err := t.Delete(ctx, client.WithProcessKill); err != nil {
		b.Fatal(err)
	}
	if err := c.Delete(ctx, client.WithSnapshotCleanup); err != nil {
		b.Fatal(err)
	}
}

func (n *node) timed(took durations) {
	task := oneTask("bench")
	task.NetworkMode = "bridge"
	begin := time.Now()
	for _, v := range []lifecycle.Verb{lifecycle.Connect, lifecycle.Pull, lifecycle.Create, lifecycle.Start} {
		begin := time.Now()
		e := lifecycle.Effect{Verb: v}
		if v != lifecycle.Connect {
			e.Container = "c"
		}
		if r := n.Perform(context.Background(), task, e); r.Reason != "" {
			n.tb.Fatal(r.Reason)
		}
		took.add(string(v), begin)
	}
	took.add("runtime", begin)
	n.clean(task)
}

// durations collects how long things took, by their name.
type durations map[string][]time.Duration

func (d durations) add(what string, begin time.Time) { d[what] = append(d[what], time.Since(begin)) }

func (d durations) report(b *testing.B) {
	at := func(what string, percent int) float64 {
		all := d[what]
		slices.Sort(all)
		return float64(all[len(all)*percent/100].Microseconds()) / 1000
	}
	for what := range d {
		b.ReportMetric(at(what, 50), what+"-p50-ms")
	}
	for _, what := range []string{"floor", "runtime"} {
		if len(d[what]) > 0 {
			b.ReportMetric(at(what, 99), what+"-p99-ms")
		}
	}
	if len(d["floor"]) > 0 && len(d["runtime"]) > 0 {
		b.ReportMetric(at("runtime", 50)/at("floor", 50), "runtime/floor")
	}
	b.ReportMetric(0, "ns/op") // it would count the cleaning
}

// Opening includes the first answer, with no containers to adopt.
func BenchmarkOpen(b *testing.B) {
	n := newNode(b)
	for b.Loop() {
		b.StopTimer()
		n.Runtime.Close()
		b.StartTimer()
		r, err := Open(context.Background(), n.config)
		if err != nil {
			b.Fatal(err)
		}
		n.Runtime = r
	}
}

// Idle tells what an open engine adds to the process's memory, in the kernel's count, and what a running container
// does, in this process and in its shim.
func BenchmarkIdleMemory(b *testing.B) {
	const containers = 10
	before := residentOf(os.Getpid())
	n := newNode(b)
	n.load("bench:latest", busybox(b, nil))
	idle := residentOf(os.Getpid())
	var tasks []*protocol.Task
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var waits sync.WaitGroup
	for range containers {
		task := oneTask("bench")
		n.run(task)
		waits.Go(func() { n.Perform(ctx, task, lifecycle.Effect{Verb: lifecycle.Wait, Container: "c"}) })
		tasks = append(tasks, task)
	}
	for b.Loop() {
	}
	b.ReportMetric(idle-before, "engine-MiB")
	b.ReportMetric((residentOf(os.Getpid())-idle)/containers, "MiB/container")
	b.ReportMetric(residentOf(n.shimOf(tasks[0])), "shim-MiB")
	cancel()
	waits.Wait()
	for _, task := range tasks {
		n.clean(task)
	}
}

func residentOf(pid int) float64 {
	debug.FreeOSMemory()
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(data)) {
		if kib, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, _ := strconv.ParseFloat(strings.Fields(kib)[0], 64)
			return n / 1024
		}
	}
	return 0
}

// Command bench measures Havn and prints what docs/performance.md records: each number beside the floor or
// the peer that it is to be compared with, measured in the same run, because absolute times of one machine
// on one day say little.
//
//	make bench                 # everything, some minutes
//	go run ./bench -only tasks # one part: start, api, tasks, memory, many, schedule, scale, service, proxy
//
// It starts a Havn of its own, from bin/, with its own data folder and port, and stops it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// result is one line of the report.
type result struct {
	what  string
	value string
	aim   string // what the project promises itself; empty where nothing was promised
}

// measurement is a part of the bench.
type measurement struct {
	name    string
	measure func(ctx context.Context, c config) ([]result, error)
}

// config is what the flags say.
type config struct {
	bin    string
	rounds int
}

var measurements = []measurement{
	{"start", measureStart},
	{"api", measureAPI},
	{"tasks", measureTasks},
	{"memory", measureMemory},
	{"many", measureMany},
	{"schedule", measureSchedule},
	{"scale", measureScale},
	{"service", measureService},
	{"proxy", measureProxy},
}

func main() {
	play()
	only := flag.String("only", "", "comma-separated parts to measure: start, api, tasks, memory, many, schedule, scale, service, proxy")
	var c config
	flag.StringVar(&c.bin, "bin", "bin", "folder of havn, havn-shim and runc")
	flag.IntVar(&c.rounds, "rounds", 60, "tasks started one after the other, and cold starts times ten")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, c, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, c config, only string) error {
	if os.Geteuid() != 0 {
		return errors.New("it runs containers, so it needs root")
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err
	}
	fmt.Printf("%s, %d CPUs, load before %.14s\n", time.Now().UTC().Format("2006-01-02 15:04 MST"), runtime.NumCPU(), load)
	var all []result
	for _, m := range measurements {
		if only != "" && !slices.Contains(strings.Split(only, ","), m.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "measuring: %s\n", m.name)
		results, err := m.measure(ctx, c)
		if err != nil {
			return fmt.Errorf("cannot measure %s: %w", m.name, err)
		}
		all = append(all, results...)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "WHAT\tMEASURED\tAIM")
	for _, r := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\n", r.what, r.value, r.aim)
	}
	return w.Flush()
}

// percentile is the value below which p percent of the sorted durations are.
func percentile(d []time.Duration, p int) time.Duration {
	slices.Sort(d)
	return d[min(len(d)-1, len(d)*p/100)]
}

func millis(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
)

var placements = regexp.MustCompile(`(?m)^Benchmark(\w+)/asks=(\d+)\s.*?([\d.]+) placements/s`)

var perCall = regexp.MustCompile(`(?m)^BenchmarkPlace/(\S+?)(?:-\d+)?\s+\d+\s+([\d.]+) ns/op`)

// measureSchedule runs the benchmarks of package schedule: 5,000 nodes, spread over zones, and a memberOf
// constraint, on one CPU.
func measureSchedule(ctx context.Context, _ config) ([]result, error) {
	out, err := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-cpu", "1", "-benchtime", "1s", "-bench", "^Benchmark(Place|Cluster)$", "./schedule").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	var results []result
	for _, m := range placements.FindAllStringSubmatch(string(out), -1) {
		kind := map[string]string{"Place": "nodes given with each call", "Cluster": "nodes prepared once"}[m[1]]
		aim := ""
		if m[2] == "1000" {
			aim = "over 50000/s"
		}
		results = append(results, result{fmt.Sprintf("schedule, 5,000 nodes, calls of %s asks, %s", m[2], kind), m[3] + " placements/s", aim})
	}
	if len(results) == 0 {
		return nil, fmt.Errorf("no numbers in:\n%s", out)
	}
	// What RunTask pays today: it reads its nodes out of the state for each call.
	out, err = exec.CommandContext(ctx, "go", "test", "-run", "^$", "-cpu", "1", "-bench", "^BenchmarkPlace$", "./placement").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	for _, m := range perCall.FindAllStringSubmatch(string(out), -1) {
		results = append(results, result{"placement of one RunTask call, " + m[1], m[2] + " ns", ""})
	}
	return results, nil
}

package metadata

import (
	"context"
	"sync"
	"time"

	"havn/agent"
	"havn/agent/observe"
)

// Stats are a container's statistics as Docker's API words them ("ContainerStats"), and a rate that ECS adds.
type Stats struct {
	Read         time.Time             `json:"read"`
	Preread      time.Time             `json:"preread"`
	PIDs         pidStats              `json:"pids_stats"`
	Blkio        blkioStats            `json:"blkio_stats"`
	NumProcs     int                   `json:"num_procs"` // of Windows
	Storage      struct{}              `json:"storage_stats"`
	CPU          cpuStats              `json:"cpu_stats"`
	PreCPU       cpuStats              `json:"precpu_stats"`
	Memory       memoryStats           `json:"memory_stats"`
	Name         string                `json:"name"`
	ID           string                `json:"id"`
	Networks     map[string]interfaces `json:"networks,omitempty"`
	NetworkRates *networkRates         `json:"network_rate_stats,omitempty"`
}

type pidStats struct {
	Current uint64 `json:"current,omitempty"`
	Limit   uint64 `json:"limit,omitempty"`
}

type blkioStats struct {
	Bytes    []blkioEntry `json:"io_service_bytes_recursive"`
	Serviced []blkioEntry `json:"io_serviced_recursive"`
}

type blkioEntry struct {
	Major uint64 `json:"major"`
	Minor uint64 `json:"minor"`
	Op    string `json:"op"`
	Value uint64 `json:"value"`
}

type cpuStats struct {
	Usage struct {
		Total        uint64   `json:"total_usage"`
		PerProcessor []uint64 `json:"percpu_usage,omitempty"`
		Kernel       uint64   `json:"usage_in_kernelmode"`
		User         uint64   `json:"usage_in_usermode"`
	} `json:"cpu_usage"`
	System     uint64 `json:"system_cpu_usage,omitempty"`
	Online     int    `json:"online_cpus,omitempty"`
	Throttling struct {
		Periods   uint64 `json:"periods"`
		Throttled uint64 `json:"throttled_periods"`
		Time      uint64 `json:"throttled_time"`
	} `json:"throttling_data"`
}

type memoryStats struct {
	Usage    uint64            `json:"usage,omitempty"`
	Max      uint64            `json:"max_usage,omitempty"`
	Stats    map[string]uint64 `json:"stats,omitempty"`
	Failures uint64            `json:"failcnt,omitempty"`
	Limit    uint64            `json:"limit,omitempty"`
}

type interfaces struct {
	RxBytes   uint64 `json:"rx_bytes"`
	RxPackets uint64 `json:"rx_packets"`
	RxErrors  uint64 `json:"rx_errors"`
	RxDropped uint64 `json:"rx_dropped"`
	TxBytes   uint64 `json:"tx_bytes"`
	TxPackets uint64 `json:"tx_packets"`
	TxErrors  uint64 `json:"tx_errors"`
	TxDropped uint64 `json:"tx_dropped"`
}

type networkRates struct {
	Rx float64 `json:"rx_bytes_per_sec"`
	Tx float64 `json:"tx_bytes_per_sec"`
}

// statsOf words two samples of a container, of which before was taken first.
func statsOf(c Container, before, now observe.Sample) Stats {
	s := Stats{
		Read: now.At, Preread: before.At, Name: "/" + c.DockerName, ID: c.DockerID,
		CPU: cpuOf(now), PreCPU: cpuOf(before), PIDs: pidStats(now.PIDs),
		Memory: memoryStats{now.Memory.Usage, now.Memory.Max, now.Memory.Stats, now.Memory.Failures, now.Memory.Limit},
	}
	for _, d := range now.Disk {
		s.Blkio.Bytes = append(s.Blkio.Bytes,
			blkioEntry{d.Major, d.Minor, "read", d.ReadBytes}, blkioEntry{d.Major, d.Minor, "write", d.WriteBytes})
		s.Blkio.Serviced = append(s.Blkio.Serviced,
			blkioEntry{d.Major, d.Minor, "read", d.Reads}, blkioEntry{d.Major, d.Minor, "write", d.Writes})
	}
	if now.Interfaces == nil {
		return s
	}
	s.Networks = map[string]interfaces{}
	rates := networkRates{}
	seconds := now.At.Sub(before.At).Seconds()
	for name, n := range now.Interfaces {
		s.Networks[name] = interfaces(n)
		if was, ok := before.Interfaces[name]; ok && seconds > 0 && n.RxBytes >= was.RxBytes && n.TxBytes >= was.TxBytes {
			rates.Rx += float64(n.RxBytes-was.RxBytes) / seconds
			rates.Tx += float64(n.TxBytes-was.TxBytes) / seconds
		}
	}
	s.NetworkRates = &rates
	return s
}

func cpuOf(s observe.Sample) (c cpuStats) {
	c.Usage.Total, c.Usage.PerProcessor, c.Usage.Kernel, c.Usage.User = s.CPU.Total, s.CPU.PerProcessor, s.CPU.Kernel, s.CPU.User
	c.System, c.Online = s.SystemCPU, s.Online
	c.Throttling.Periods, c.Throttling.Throttled, c.Throttling.Time = s.CPU.Periods, s.CPU.Throttled, s.CPU.Waited
	return c
}

const (
	// apart is the shortest time between two samples that are compared, and how long the first answer takes.
	apart = 250 * time.Millisecond
	// stale is the age from which on a sample is no use to compare with.
	stale = time.Minute
)

// sampler remembers the sample before, of containers that are asked about.
type sampler struct {
	mu   sync.Mutex
	last map[string][2]observe.Sample // by the container's id: an earlier one, and the newest
}

// sample returns what was counted before and what is counted now.
func (p *sampler) sample(ctx context.Context, id string, take func(context.Context) (observe.Sample, error)) (before, now observe.Sample, err error) {
	if now, err = take(ctx); err != nil {
		return before, now, err
	}
	if before, ok := p.compared(id, now); ok {
		return before, now, nil
	}
	before = now
	select {
	case <-time.After(apart):
	case <-ctx.Done():
		return before, now, ctx.Err()
	}
	if now, err = take(ctx); err == nil {
		p.remember(id, before, now)
	}
	return before, now, err
}

// compared returns the youngest remembered sample that is old enough to compare with, and remembers a new one.
func (p *sampler) compared(id string, now observe.Sample) (before observe.Sample, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pair, known := p.last[id]
	for _, candidate := range pair {
		if age := now.At.Sub(candidate.At); known && age >= apart && age < stale {
			before, ok = candidate, true
		}
	}
	if ok && now.At.Sub(pair[1].At) >= apart {
		p.last[id] = [2]observe.Sample{pair[1], now}
	}
	return before, ok
}

// remember forgets those that nobody has asked about for long on the way.
func (p *sampler) remember(id string, before, now observe.Sample) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil {
		p.last = map[string][2]observe.Sample{}
	}
	for other, pair := range p.last {
		if now.At.Sub(pair[1].At) >= stale {
			delete(p.last, other)
		}
	}
	p.last[id] = [2]observe.Sample{before, now}
}

// containerStats returns the statistics of one container; nil while it does not run.
func (s *Server) containerStats(ctx context.Context, r agent.Record, name string) *Stats {
	doc := containerDocument(v4, r, name, observe.Facts{})
	if doc.KnownStatus != "RUNNING" {
		return nil
	}
	before, now, err := s.samples.sample(ctx, doc.DockerID, func(ctx context.Context) (observe.Sample, error) {
		return s.Runtime.Sample(ctx, &r.Task, name)
	})
	if err != nil { // it may have ended just now
		s.Log.Info("cannot measure a container", "task", r.Task.ARN, "container", name, "error", err)
		return nil
	}
	stats := statsOf(doc, before, now)
	return &stats
}

// taskStats returns the statistics of all containers of a task, by their Docker ids.
func (s *Server) taskStats(ctx context.Context, r agent.Record) map[string]*Stats {
	all := map[string]*Stats{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, c := range r.Life.Containers {
		if c.RuntimeID == "" {
			continue
		}
		wg.Go(func() {
			stats := s.containerStats(ctx, r, c.Name)
			mu.Lock()
			defer mu.Unlock()
			all[c.RuntimeID] = stats
		})
	}
	wg.Wait()
	return all
}

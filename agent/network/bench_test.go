package network

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// BenchmarkConnect measures Connect of a bridge endpoint with one dynamic port, by so many goroutines; and the same
// when each is followed by its Disconnect, as where tasks come and go.
func BenchmarkConnect(b *testing.B) {
	for _, workers := range []int{1, 8} {
		for _, stay := range []bool{true, false} {
			b.Run(fmt.Sprintf("workers=%d/stay=%t", workers, stay), func(b *testing.B) { benchmarkConnect(b, workers, stay) })
		}
	}
}

func benchmarkConnect(b *testing.B, workers int, stay bool) {
	n := openLab(b, labConfig(b))
	var mu sync.Mutex
	var connects, disconnects []time.Duration
	var wg sync.WaitGroup
	next := make(chan int)
	for range workers {
		wg.Go(func() {
			for i := range next {
				id := fmt.Sprint(i)
				start := time.Now()
				_, err := n.Connect(context.Background(), Endpoint{ID: id, Mode: Bridge, Ports: []Port{{ContainerPort: 80}}})
				up := time.Now()
				if err == nil && !stay {
					err = n.Disconnect(context.Background(), id)
				}
				down := time.Now()
				if err != nil {
					b.Error(err)
				}
				mu.Lock()
				connects, disconnects = append(connects, up.Sub(start)), append(disconnects, down.Sub(up))
				mu.Unlock()
			}
		})
	}
	for i := 0; b.Loop(); i++ {
		next <- i
	}
	close(next)
	wg.Wait()
	for name, all := range map[string][]time.Duration{"connect": connects, "disconnect": disconnects} {
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, name+"-p50-ms")
		b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, name+"-p99-ms")
	}
}

package metadata

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"havn/agent"
)

// counted counts how often the agent is asked for all its tasks.
type counted struct {
	tasks node
	times atomic.Int32
}

func (c *counted) Task(ctx context.Context, arn string) (agent.Record, bool, error) {
	return c.tasks.Task(ctx, arn)
}

func (c *counted) Tasks(ctx context.Context) ([]agent.Record, error) {
	c.times.Add(1)
	return c.tasks.Tasks(ctx)
}

// Somebody on the host's network guesses ids. A container that starts then is not refused for it, and the agent is not
// asked once for each guess.
func TestWhoGuessesKeepsNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		asked := &counted{tasks: b.node}
		b.Tasks = asked
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() {
				id := fmt.Sprintf("01234567-0000-4000-8000-%012x", i)
				if status, _ := b.ask("", "GET", "/v4/"+id, ""); status != http.StatusNotFound && status != http.StatusTooManyRequests {
					t.Error(status)
				}
			})
		}
		synctest.Wait()
		b.crowd.rate(asker{}).SetBurst(0)
		b.IDs.mu.Lock()
		clear(b.IDs.known) // as if web were new
		b.IDs.mu.Unlock()
		begun := time.Now()
		if status, body := b.ask("", "GET", "/v4/"+b.IDs.Of(taskB, "web"), ""); status != http.StatusOK || time.Since(begun) > time.Second {
			t.Errorf("%d %s after %v", status, body, time.Since(begun))
		}
		wg.Wait()
		if got := asked.times.Load(); got > 200 {
			t.Errorf("the agent was asked %d times", got)
		}
		if status, _ := b.ask("", "GET", "/v4/01234567-0000-4000-8000-000000000000", ""); status != http.StatusTooManyRequests {
			t.Errorf("who guesses gets %d", status)
		}
	})
}

// link is a connection that only knows whether it has been closed.
type link struct {
	net.Conn
	from   netip.Addr
	closed bool
}

func (l *link) Close() error         { l.closed = true; return nil }
func (l *link) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(netip.AddrPortFrom(l.from, 1)) }

func TestWhoStaysWithoutAskingMakesRoom(t *testing.T) {
	var c crowd
	for _, at := range []struct {
		door  door
		limit int
	}{{onBridge, maxConns}, {onHost, maxHostConns}, {bySibling, maxHostConns}} {
		from := netip.MustParseAddr("10.192.0.2")
		var links []*link
		var visits []*visit
		arrive := func() {
			links = append(links, &link{from: from})
			visits = append(visits, c.arrive(links[len(links)-1], at.door))
		}
		for range at.limit {
			arrive()
		}
		done := c.asking(visits[0])
		arrive()
		for i, l := range links {
			if want := i == 1; l.closed != want {
				t.Errorf("door %d: the connection %d is closed: %v", at.door, i, l.closed)
			}
		}
		for _, v := range visits[2:] {
			defer c.asking(v)()
		}
		arrive() // all are being answered
		if last := links[len(links)-1]; !last.closed || links[0].closed {
			t.Errorf("door %d: the new one is closed: %v, the first: %v", at.door, last.closed, links[0].closed)
		}
		if at.door == onBridge { // another container is not concerned
			if l := (&link{from: netip.MustParseAddr("10.192.0.3")}); c.arrive(l, onBridge) == nil || l.closed {
				t.Error("another is closed")
			}
		}
		done()
		arrive()
		if last := links[len(links)-1]; last.closed || !links[0].closed {
			t.Errorf("door %d: the first does not make room", at.door)
		}
	}
	for conn := range c.visits {
		c.connState(conn, http.StateClosed)
	}
	if len(c.visits)+len(c.places) != 0 {
		t.Errorf("%d connections of %d places are left", len(c.visits), len(c.places))
	}
}

// Containers come and go. What is known of those who do not ask any more is forgotten, and of who asks too often not.
func TestWhoAsksNoMoreIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c crowd
		busy := c.rate(asker{id: "busy"})
		for i := range 10 * maxAskers {
			time.Sleep(time.Millisecond)
			c.rate(asker{id: fmt.Sprint(i)})
			busy.AllowN(time.Now(), int(busy.Tokens()))
		}
		if len(c.rates) > maxAskers || c.rate(asker{id: "busy"}) != busy {
			t.Errorf("%d are known", len(c.rates))
		}
	})
}

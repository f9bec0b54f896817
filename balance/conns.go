package balance

import (
	"io"
	"net"
	"sync"
)

// conns are the connections of clients that are being served, and the goroutines that do.
type conns struct {
	mu      sync.Mutex
	clients map[io.Closer]bool
	ended   bool
	working sync.WaitGroup
}

// run runs f in a goroutine that end waits for.
func (c *conns) run(f func()) { c.working.Go(f) }

// serve runs f for a client, and closes it afterwards.
func (c *conns) serve(conn *net.TCPConn, f func(*net.TCPConn)) { c.hold(conn, func() { f(conn) }) }

// hold runs f in a goroutine that closing conn ends, and closes it afterwards.
func (c *conns) hold(conn io.Closer, f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		conn.Close()
		return
	}
	if c.clients == nil {
		c.clients = map[io.Closer]bool{}
	}
	c.clients[conn] = true
	c.working.Go(func() {
		defer func() {
			conn.Close()
			c.mu.Lock()
			defer c.mu.Unlock()
			delete(c.clients, conn)
		}()
		f()
	})
}

// end closes what is open, and returns when all is quiet.
func (c *conns) end() {
	c.mu.Lock()
	c.ended = true
	for conn := range c.clients {
		conn.Close()
	}
	c.mu.Unlock()
	c.working.Wait()
}

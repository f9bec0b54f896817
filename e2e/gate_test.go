package e2e

import (
	"context"
	"sync"
)

// gate holds those who want to pass, when it is told to.
type gate struct {
	mu     sync.Mutex
	closed chan struct{} // closed while the gate is open
	held   chan struct{} // closed once somebody has been held
}

func newGate() *gate {
	open := make(chan struct{})
	close(open)
	return &gate{closed: open, held: make(chan struct{})}
}

func (g *gate) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed, g.held = make(chan struct{}), make(chan struct{})
}

func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.closed:
	default:
		close(g.closed)
	}
}

// pass returns true as soon as the gate is open.
func (g *gate) pass(ctx context.Context) bool {
	g.mu.Lock()
	closed := g.closed
	select {
	case <-closed:
	default:
		select {
		case <-g.held:
		default:
			close(g.held)
		}
	}
	g.mu.Unlock()
	select {
	case <-closed:
		return true
	case <-ctx.Done():
		return false
	}
}

// waitHeld returns when somebody is held.
func (g *gate) waitHeld(ctx context.Context) {
	g.mu.Lock()
	held := g.held
	g.mu.Unlock()
	select {
	case <-held:
	case <-ctx.Done():
	}
}

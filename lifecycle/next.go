package lifecycle

import "time"

// Next names the effects that should be under way now, and when to ask again if nothing is observed
// before; zero means never. The shell starts those that are not under way, and cancels those under way
// that are not named. Two effects of one container overlap only where Next names both (Wait and Stop,
// Wait and Probe, Ship and any); else the shell lets the cancelled one end before it starts the next.
func (t Task) Next(now time.Time) (want []Effect, wake time.Time) {
	w := wanted{now: now}
	running := t.Desired != Stopped
	if running && !t.Connected {
		w.add(Effect{Verb: Connect})
	}
	discard := later(t.Retry.At, t.StoppedAt.Add(t.cleanupWait()))
	for _, c := range t.Containers {
		t.nextOf(c, running, &w)
		switch {
		case !c.mayPrint():
		case c.Phase != Removed:
			w.retry(c.ShipRetry, Effect{Verb: Ship, Container: c.Name})
		case t.Last != Stopped || now.Before(discard): // else it has had its time
			w.retry(c.ShipRetry, Effect{Verb: Drain, Container: c.Name})
		}
	}
	switch {
	case running || !t.all(Removed):
	case !t.Disconnected:
		w.retry(t.Retry, Effect{Verb: Disconnect})
	case !t.Discarded:
		w.retry(Retry{At: discard}, Effect{Verb: Discard})
	}
	return w.effects, w.wake
}

func (t Task) nextOf(c Container, running bool, w *wanted) {
	stop := Effect{Verb: Stop, Container: c.Name, Grace: t.grace(c)}
	switch c.Phase {
	case Waiting: // here and below: a task that should stop has ended what had not been created
		if ready, until := t.mayBegin(c); ready {
			w.add(Effect{Verb: Pull, Container: c.Name})
		} else if !until.IsZero() {
			w.at(until)
		}
	case Pulled:
		if t.Connected {
			w.add(Effect{Verb: Create, Container: c.Name})
		}
	case Created:
		if running {
			w.add(Effect{Verb: Start, Container: c.Name, Round: c.Round})
		} else if t.isLeft(c.Name) {
			w.retry(c.Retry, stop) // a start whose end we did not see may have succeeded
		}
	case Started:
		w.add(Effect{Verb: Wait, Container: c.Name, Round: c.Round})
		switch {
		case running && c.Check.On():
			probe, due := c.probe()
			w.retry(Retry{At: due}, probe)
		case !running && !c.Stopped && t.isLeft(c.Name):
			w.retry(c.Retry, stop)
		}
	case Ended: // also while the others run on: a container that is not essential is cleared away
		w.retry(c.Retry, Effect{Verb: Remove, Container: c.Name})
	}
}

func (t Task) grace(c Container) time.Duration {
	switch {
	case c.StopTimeout > 0:
		return c.StopTimeout
	case t.StopTimeout > 0:
		return t.StopTimeout
	}
	return DefaultStopTimeout
}

func (t Task) cleanupWait() time.Duration {
	if t.CleanupWait > 0 {
		return t.CleanupWait
	}
	return DefaultCleanupWait
}

// wanted collects the answer of Next.
type wanted struct {
	now     time.Time
	effects []Effect
	wake    time.Time
}

func (w *wanted) add(e Effect) { w.effects = append(w.effects, e) }

// retry adds an effect whose time has come; else it asks to be woken then.
func (w *wanted) retry(r Retry, e Effect) {
	if !w.now.Before(r.At) {
		w.add(e)
	} else {
		w.at(r.At)
	}
}

// at asks to be woken then. What is due now is Elapse's to see.
func (w *wanted) at(t time.Time) {
	if w.now.Before(t) && (w.wake.IsZero() || t.Before(w.wake)) {
		w.wake = t
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

package rollout

import "time"

// Next is what is to be done now for a service. It changes nothing it was given; doing the plan and asking again comes
// to an end: a plan without starts, stops and changes.
func Next(v View, now time.Time) Plan {
	if !v.Service.Active {
		return retire(v)
	}
	if v.Service.External {
		return external(v, now)
	}
	switch v.Deployment.Settings.Strategy {
	case BlueGreen, Linear, Canary:
		return shift(v, now)
	default:
		return roll(v, now)
	}
}

// retire stops all that a DRAINING service has, whatever its minimum; protection is against scaling in, not against
// the end.
func retire(v View) Plan {
	p := Plan{Deployment: v.Deployment, Finished: true}
	for _, t := range v.Tasks {
		switch {
		case t.Live():
			p.Stop = append(p.Stop, Stop{Task: t.ID, Reason: scaling(v)})
			fallthrough
		case t.Phase == Stopping:
			p.Finished = false
		default:
			p.Count = append(p.Count, t.ID)
		}
	}
	return p
}

// scaling is why a task is stopped that is there once too often.
func scaling(v View) string {
	return "Scaling activity initiated by (deployment " + v.Names[v.Deployment.Heading] + ")"
}

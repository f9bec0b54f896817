package rollout

import "time"

// Next is what is to be done now for a service. It changes nothing it was given; doing the plan and asking again comes
// to an end: a plan without starts, stops and changes.
func Next(v View, now time.Time) Plan {
	switch v.Deployment.Settings.Strategy {
	case BlueGreen, Linear, Canary:
		return shift(v, now)
	default:
		return roll(v, now)
	}
}

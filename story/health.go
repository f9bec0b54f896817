package story

import (
	"slices"
	"strings"

	"havn/cause"
	"havn/lifecycle"
	"havn/state"
)

// health is what each container's health check has come to. What came before that is not known any more.
func health(t state.Task) []state.Step {
	var steps []state.Step
	for _, h := range t.Health {
		if string(h.Status) == string(lifecycle.UnknownHealth) {
			continue
		}
		text := "became " + string(h.Status)
		if said := oneLine(h.Message); said != "" {
			text += ": " + said
		}
		steps = append(steps, state.Step{What: Health, At: h.Since, Container: h.Name, Text: text})
	}
	return steps
}

// sick finds the first container that is UNHEALTHY, an essential one if there is any.
func sick(f Facts, which func(state.ContainerHealth) bool) (found state.ContainerHealth, ok bool) {
	for _, h := range f.Task.Health {
		if string(h.Status) != string(lifecycle.Unhealthy) || !which(h) {
			continue
		}
		if essential(f.Definition, h.Name) {
			return h, true
		}
		if !ok {
			found, ok = h, true
		}
	}
	return found, ok
}

// alive reports whether that container has not stopped.
func alive(t state.Task) func(state.ContainerHealth) bool {
	return func(h state.ContainerHealth) bool {
		return slices.ContainsFunc(t.Containers, func(c state.Container) bool { return c.Name == h.Name && c.Last != lifecycle.Stopped })
	}
}

// awaitedBy reports whether the container did not start because that one did not become healthy.
func awaitedBy(f Facts, c state.Container) func(state.ContainerHealth) bool {
	return func(h state.ContainerHealth) bool {
		if !strings.Contains(c.Reason, unmet+" ["+h.Name+"]") {
			return false
		}
		for _, d := range f.Definition.Spec.ContainerDefinitions {
			if d.Name == nil || *d.Name != c.Name {
				continue
			}
			for _, on := range d.DependsOn {
				if on.ContainerName != nil && *on.ContainerName == h.Name && string(on.Condition) == string(lifecycle.UntilHealthy) {
					return true
				}
			}
		}
		return false
	}
}

// illness is that a container's health check failed.
func illness(h state.ContainerHealth, named bool) cause.Cause {
	words := "the health check failed"
	if named {
		words = "the health check of container " + h.Name + " failed"
	}
	if said := oneLine(h.Message); said != "" {
		words += ", and said: " + said
	} else {
		words += ", and said nothing"
	}
	return cause.New(cause.Unhealthy, words)
}

package route

// Ready works out what follows from a table's members: which targets are open, what conditions mean, and so on. Build
// has done it; it is for tables that are made in other ways.
func (t *Table) Ready() *Table {
	for _, g := range t.Groups {
		g.ready()
	}
	for _, l := range t.Listeners {
		l.Settings = settings(l.Balancer.Attributes, l.Record.Attributes)
		for i := range l.Rules {
			l.Rules[i].ready()
		}
	}
	return t
}

func (r *Rule) ready() {
	r.conditions = compileConditions(r.Conditions)
	r.transforms = compileTransforms(r.Transforms)
	if f := r.Action.Forward; f != nil {
		f.total = 0
		for _, w := range f.Groups {
			f.total += int64(w.Weight)
		}
	}
}

package rollout

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever becomes of tasks, and however the sets are scaled: a round never starts more than a set is short of, nor stops
// a protected task of one that stays; and once nothing fails any more, each set comes to its share and is steady, and
// those that drain are gone.
func TestTaskSetsComeToTheirShare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(1_000_000, 0)
		v := View{Service: Service{Active: true, External: true}, Names: map[string]string{}}
		for n := range rapid.IntRange(1, 3).Draw(t, "sets") {
			v.TaskSets = append(v.TaskSets, TaskSet{ID: fmt.Sprint("set", n), Revision: fmt.Sprint("r", n)})
		}
		ids := 0
		round := func() (changed bool) {
			p := Next(v, now)
			for _, s := range p.Start {
				short := 0
				for _, set := range v.TaskSets {
					if set.ID == s.TaskSet {
						short = set.Want
					}
				}
				for _, task := range v.Tasks {
					if task.Revision == s.Revision && task.Live() && task.Phase != Unhealthy && !task.Drained {
						short--
					}
				}
				if s.Count > short {
					t.Fatalf("%s is short of %d and starts %d", s.TaskSet, short, s.Count)
				}
				for range s.Count {
					ids++
					v.Tasks = append(v.Tasks, Task{ID: fmt.Sprint(ids), Revision: s.Revision, CreatedAt: now})
				}
			}
			stopped := map[string]bool{}
			for _, s := range p.Stop {
				stopped[s.Task] = true
			}
			counted := map[string]bool{}
			for _, id := range p.Count {
				counted[id] = true
			}
			healthy := map[string]bool{}
			for _, id := range p.Healthy {
				healthy[id] = true
			}
			var left []Task
			for _, task := range v.Tasks {
				draining := false
				for _, set := range v.TaskSets {
					draining = draining || set.Revision == task.Revision && set.Draining
				}
				if stopped[task.ID] {
					if task.Protected && !draining && task.Phase != Unhealthy && !task.Drained {
						t.Fatalf("%s is protected and stopped", task.ID)
					}
					task.Phase = Stopping
				}
				if healthy[task.ID] {
					task.HealthyAt = now
				}
				if counted[task.ID] {
					task.Failed = false
					if task.Phase == Stopped {
						continue
					}
				}
				left = append(left, task)
			}
			v.Tasks = left
			var sets []TaskSet
			for _, set := range p.TaskSets {
				gone := false
				for _, id := range p.Gone {
					gone = gone || id == set.ID
				}
				if !gone {
					sets = append(sets, set)
				}
			}
			v.TaskSets = sets
			if !p.Again.IsZero() {
				now = p.Again
			}
			return len(p.Start)+len(p.Stop)+len(p.Gone) > 0
		}
		live := func() { // what nodes do when nothing fails
			for i, task := range v.Tasks {
				switch task.Phase {
				case Starting, Running, Unhealthy:
					v.Tasks[i].Phase = Healthy
				case Stopping:
					v.Tasks[i].Phase = Stopped
				}
			}
		}
		for range rapid.IntRange(0, 20).Draw(t, "events") {
			switch set := rapid.IntRange(0, len(v.TaskSets)).Draw(t, "of"); {
			case set < len(v.TaskSets) && rapid.Bool().Draw(t, "scale"):
				v.TaskSets[set].Want = rapid.IntRange(0, 5).Draw(t, "want")
				if rapid.IntRange(0, 9).Draw(t, "drain") == 0 {
					v.TaskSets[set].Want, v.TaskSets[set].Draining = 0, true
				}
			case len(v.Tasks) > 0:
				task := &v.Tasks[rapid.IntRange(0, len(v.Tasks)-1).Draw(t, "task")]
				switch rapid.IntRange(0, 4).Draw(t, "fate") {
				case 0:
					task.Phase, task.Failed = Stopped, true
				case 1:
					if task.Live() {
						task.Phase = Unhealthy
					}
				case 2:
					task.Protected = true
				case 3:
					task.Drained = true
				default:
					live()
				}
			}
			now = now.Add(time.Second)
			round()
		}
		for i := range v.Tasks {
			v.Tasks[i].Protected = false
		}
		for n := 0; ; n++ {
			live()
			if changed := round(); !changed && n > 3 {
				break
			}
			if n > 60 {
				t.Fatalf("no end: %+v", v)
			}
		}
		for _, set := range v.TaskSets {
			count := 0
			for _, task := range v.Tasks {
				if task.Revision == set.Revision && task.Phase == Healthy && !task.Drained {
					count++
				}
			}
			if set.Draining || !set.Steady || count != set.Want {
				t.Fatalf("%+v has %d healthy tasks of %+v", set, count, v.Tasks)
			}
		}
	})
}

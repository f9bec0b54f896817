package sim

import "testing"

// TestEveryDefectIsCaught breaks one thing at a time and expects the check of the promise that it breaks
// to fail. A check that no defect can make fail would prove nothing.
func TestEveryDefectIsCaught(t *testing.T) {
	for _, c := range []struct {
		defect  Defect
		promise string
	}{
		{StartsAnew, "a container is started once"},
		{StopsTooSoon, "STOPPED means that nothing runs"},
		{IgnoresStop, "nothing starts after its task was told to stop"},
		{ForgetsTokens, "a token makes one set of tasks"},
		{ForgetToSubtract, "what is taken and what remains is the whole"},
		{LogLies, "what was acknowledged is never lost"},
		{GoesBack, "a status never goes back"},
		{SpeaksTooSoon, "a status has one owner"},
		{WrongWriter, "a field has one writer"},
		{LosesLastWord, "every task is where it should be"},
		{KeepsNetworks, "nothing is left on a node"},
		{SharesPorts, "no two tasks have one port"},
		{Overbooks, "no node is over capacity"},
		{StopsTooMany, "a service has no fewer healthy tasks than its minimum"},
		{StartsTooMany, "a service has no more than its maximum"},
		{StartsBeside, "a DAEMON service has one task on each node"},
		{NeverReplaces, "a service comes to what it should be"},
	} {
		t.Run(string(c.defect), func(t *testing.T) {
			t.Parallel()
			const within = 100
			caught := map[string]int{}
			for seed := uint64(1); seed <= within; seed++ {
				if _, failure := Run(Options{Seed: seed, Defect: c.defect}); failure != nil {
					caught[failure.Promise]++
					if failure.Promise == c.promise {
						t.Logf("caught by seed %d: %v", seed, failure)
						return
					}
				}
			}
			t.Errorf("in %d seeds nobody saw that %q was broken; seen: %v", within, c.promise, caught)
		})
	}
}

// TestASeedIsAlwaysTheSame: a run hangs on its seed alone, or no failure could be shown again.
func TestASeedIsAlwaysTheSame(t *testing.T) {
	for seed := uint64(1); seed <= 10; seed++ {
		one, two := transcriptOf(seed), transcriptOf(seed)
		if one != two {
			t.Errorf("seed %d: two runs differ", seed)
		}
	}
}

func transcriptOf(seed uint64) string {
	w := newWorld(Options{Seed: seed, Trace: true})
	w.live()
	w.heal()
	return w.transcript.String()
}

package e2e

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
)

const rounds = 20

// promise is what an answer of the API has promised about a task.
type promise struct {
	lasts   bool // runs until it is told to stop
	stopped bool // StopTask was acknowledged
	unsure  bool // StopTask was asked for, and no answer came
}

// Havn is killed twenty times while tasks are run and stopped. What was acknowledged holds, nothing is started twice, and
// in the end nothing is left. HAVN_TEST_SEED repeats a run's choices.
func TestAcknowledgedTasksSurviveRandomKills(t *testing.T) {
	needRoot(t)
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("HAVN_TEST_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("HAVN_TEST_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))

	h := newSite(t).start(t)
	h.load("busybox.tar")
	h.define("lasts", box("c", `echo begins; trap "exit 0" TERM; while true; do sleep 1; done`))
	h.define("brief", box("c", "echo begins; exit 3"))

	promises := map[string]*promise{}
	var arns []string // in order, so that the seed chooses the same
	step := func(choice, which int) {
		if choice > 2 && len(arns) > 0 {
			arn := arns[which%len(arns)]
			p := promises[arn]
			p.unsure = true
			if _, err := h.StopTask(within(t), &ecs.StopTaskInput{Task: &arn}); err == nil {
				p.stopped = true
			}
			return
		}
		family := []string{"lasts", "brief"}[which%2]
		out, err := h.RunTask(within(t), &ecs.RunTaskInput{TaskDefinition: &family})
		if err != nil {
			return // nothing was promised
		}
		for _, f := range out.Failures {
			t.Errorf("no place for a task: %s", aws.ToString(f.Reason))
		}
		for _, task := range out.Tasks {
			promises[*task.TaskArn] = &promise{lasts: family == "lasts"}
			arns = append(arns, *task.TaskArn)
		}
	}
	for range rounds {
		for range rng.IntN(5) {
			step(rng.IntN(4), rng.Int())
		}
		choice, which := rng.IntN(4), rng.Int()
		var last sync.WaitGroup
		last.Go(func() { step(choice, which) }) // the kill comes before, within, or after this one
		if err := crash(h.home); err != nil {
			t.Fatal(err)
		}
		last.Wait()
		h.up()
	}

	counts := map[string]int{}
	for arn, p := range promises {
		switch {
		case p.lasts && !p.unsure:
			h.running(arn)
			counts["running"]++
		case p.stopped || !p.lasts:
			task := h.stopped(arn)
			exit := task.Containers[0].ExitCode
			if !p.lasts && !p.unsure && aws.ToInt32(exit) != 3 {
				t.Errorf("%s was not stopped, and should have ended with 3: %s %s %v %s", arn, task.StopCode,
					aws.ToString(task.StoppedReason), exit, aws.ToString(task.Containers[0].Reason))
			}
			counts["stopped"]++
		default:
			counts["unsure"]++
		}
		if begins := strings.Count(logOf(h.home, arn), "begins"); begins > 1 || begins == 0 && !p.unsure {
			t.Errorf("%s began %d times", arn, begins)
		}
	}
	t.Logf("%d tasks: %v", len(promises), counts)
	if len(promises) < rounds/2 {
		t.Errorf("only %d tasks: too few to say anything", len(promises))
	}
}

func logOf(home, arn string) string {
	cmd := exec.Command(filepath.Join(binaries, "havn"), "logs", arn, "--data-dir", home)
	var out bytes.Buffer
	cmd.Stdout = &out
	cmd.Run() // fails where there is no log, which is what it then says
	return out.String()
}

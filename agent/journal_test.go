package agent

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"havn/lifecycle"
	"havn/protocol"
)

func record(arn string) Record {
	return Record{Task: protocol.Task{ARN: arn, Family: "web"},
		Life: lifecycle.New([]lifecycle.Spec{{Name: "web", Essential: true}}, lifecycle.Settings{})}
}

func open(t *testing.T, path string) (*journal, []Record, string) {
	t.Helper()
	var log bytes.Buffer
	j, records, err := openJournal(path, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.close() })
	return j, records, log.String()
}

func TestTheJournalRemembers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j, records, _ := open(t, path)
	if len(records) != 0 {
		t.Fatalf("a new journal has %d records", len(records))
	}
	for _, p := range []*Plan{
		{Save: []Record{record("a"), record("b")}, Timeline: 7},
		{Forget: []string{"a"}},
		{},
	} {
		if err := j.write(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.register("demo", "arn-1"); err != nil {
		t.Fatal(err)
	}
	if j.timeline() != 0 {
		t.Error("the timeline of another instance is kept")
	}
	if err := j.write(&Plan{Timeline: 8}); err != nil {
		t.Fatal(err)
	}
	if err := j.register("demo", "arn-1"); err != nil {
		t.Fatal(err)
	}
	j.close()
	j, records, _ = open(t, path)
	if len(records) != 1 || records[0].Task.ARN != "b" || records[0].Life.Containers[0].Name != "web" {
		t.Errorf("records %+v", records)
	}
	if j.timeline() != 8 || string(j.get(keyInstance)) != "arn-1" || string(j.get(keyCluster)) != "demo" {
		t.Errorf("timeline %d, instance %s, cluster %s", j.timeline(), j.get(keyInstance), j.get(keyCluster))
	}
}

func TestADamagedJournalIsMovedAside(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, path string){
		"not a journal at all": func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte(strings.Repeat("nonsense ", 4096)), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"pages overwritten": func(t *testing.T, path string) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for i := range b[2*os.Getpagesize():] { // the two first hold what bbolt checks when it opens
				b[2*os.Getpagesize()+i] = 0xA5
			}
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"a record of another shape": func(t *testing.T, path string) {
			j, _, _ := open(t, path)
			r := record("a")
			if err := j.write(&Plan{Save: []Record{r}}); err != nil {
				t.Fatal(err)
			}
			j.close()
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, bytes.ReplaceAll(b, []byte(`{"Task":`), []byte(`["Task":`)), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"empty pages": func(t *testing.T, path string) {
			if err := os.Truncate(path, 4096); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "journal.db")
			j, _, _ := open(t, path)
			if err := j.write(&Plan{Save: []Record{record("a")}}); err != nil {
				t.Fatal(err)
			}
			j.close()
			damage(t, path)
			j, records, log := open(t, path)
			if len(records) != 0 || !strings.Contains(log, "moved aside") {
				t.Errorf("%d records, log %q", len(records), log)
			}
			if aside, _ := filepath.Glob(path + ".damaged-*"); len(aside) != 1 {
				t.Errorf("moved aside: %v", aside)
			}
			if err := j.write(&Plan{Save: []Record{record("b")}}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTwoAgentsCannotShareAJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	open(t, path)
	_, _, err := openJournal(path, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "another agent") {
		t.Errorf("error %v", err)
	}
}

func BenchmarkJournalTurn(b *testing.B) {
	j, _, err := openJournal(filepath.Join(b.TempDir(), "journal.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer j.close()
	r := record("arn:aws:ecs:us-east-1:000000000000:task/demo/0123456789abcdef0123456789abcdef")
	for b.Loop() {
		r.Life.StoppingAt = time.Now()
		if err := j.write(&Plan{Save: []Record{r}}); err != nil {
			b.Fatal(err)
		}
	}
}

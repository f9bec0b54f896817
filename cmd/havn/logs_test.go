package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"havn/agent/logging/jsonfile"
)

func TestLogsArePrintedAsAsked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.log")
	w, err := jsonfile.NewWriter(jsonfile.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", jsonfile.MaxPart+10)
	for _, part := range [][2]string{{"stdout", "one\n"}, {"stderr", "two\n"}, {"stdout", long + "\n"}, {"stdout", "four\n"}} {
		if err := w.Copy(part[0], strings.NewReader(part[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		p        logPrinter
		out, err string
	}{
		"all":   {logPrinter{tail: -1}, "one\n" + long + "\nfour\n", "two\n"},
		"none":  {logPrinter{tail: 0}, "", ""},
		"last":  {logPrinter{tail: 1}, "four\n", ""},
		"parts": {logPrinter{tail: 2}, long + "\nfour\n", ""},
		"later": {logPrinter{tail: -1, since: time.Now().Add(time.Hour)}, "", ""},
	} {
		var out, errs bytes.Buffer
		c.p.out, c.p.err = &out, &errs
		if err := c.p.printThere(jsonfile.NewReader(path, jsonfile.Position{})); err != nil || out.String() != c.out || errs.String() != c.err {
			t.Errorf("%s: %q and %q, %v", name, out.String(), errs.String(), err)
		}
	}
	var out bytes.Buffer
	p := logPrinter{out: &out, err: &out, tail: -1, times: true}
	if err := p.printThere(jsonfile.NewReader(path, jsonfile.Position{})); err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n") {
		if at, rest, _ := strings.Cut(line, " "); rest == "" {
			t.Errorf("no time in %.40q", line)
		} else if _, err := time.Parse(time.RFC3339Nano, at); err != nil {
			t.Error(err)
		}
	}
}

func TestLogFlagsAreChecked(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if at, err := sinceOf("10m", now); err != nil || !at.Equal(now.Add(-10*time.Minute)) {
		t.Error(at, err)
	}
	if at, err := sinceOf("2026-01-02T03:04:05Z", now); err != nil || !at.Equal(now) {
		t.Error(at, err)
	}
	if n, err := tailOf("7"); err != nil || n != 7 {
		t.Error(n, err)
	}
	for _, bad := range []string{"x", "-1"} {
		if _, err := tailOf(bad); err == nil {
			t.Errorf("--tail %s is good", bad)
		}
	}
	if _, err := sinceOf("yesterday", now); err == nil {
		t.Error("--since yesterday is good")
	}
}

func TestLogsAreFoundWhateverTheDataFolderIsCalled(t *testing.T) {
	h := home{dir: filepath.Join(t.TempDir(), "x[1]*")}
	for _, name := range []string{"web.log", "web.log.1", "web.log-cursor"} {
		if err := os.MkdirAll(h.path("logs", "0123"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(h.path("logs", "0123", name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"01"}, {"0123", "web"}} {
		if path, err := h.logFile(args); err != nil || path != h.path("logs", "0123", "web.log") {
			t.Errorf("%q: %q, %v", args, path, err)
		}
	}
	for args, want := range map[[2]string]string{{"0123", "web.log-cursor"}: "it has: web", {"9", "web"}: "no logs of a task 9"} {
		if _, err := h.logFile(args[:]); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", args, err)
		}
	}
}

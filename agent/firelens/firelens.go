// Package firelens writes the configuration of a task's log router, Fluent Bit or Fluentd, as the Amazon ECS container agent
// does: what it listens on, what it adds to each record, and where the output of each container goes. It is pure: what is
// asked for in, a text out. Amazon ECS Developer Guide, "Send Amazon ECS logs to an AWS service or AWS Partner".
package firelens

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Port is where a router listens beside its socket, if it has an address of its own.
const Port = "24224"

// What a router finds in its container.
const (
	SocketFolder = "/var/run"
	SocketName   = "fluent.sock"
)

// The kinds of routers.
const (
	FluentBit = "fluentbit"
	Fluentd   = "fluentd"
)

// ConfigPath is where a router of a kind looks for its configuration; ExternalPath where one that S3 holds is put.
func ConfigPath(kind string) string {
	if kind == Fluentd {
		return "/fluentd/etc/fluent.conf"
	}
	return "/fluent-bit/etc/fluent-bit.conf"
}

// ExternalPath is beside ConfigPath.
func ExternalPath(kind string) string {
	if kind == Fluentd {
		return "/fluentd/etc/external.conf"
	}
	return "/fluent-bit/etc/external.conf"
}

// Tag is what the output of a container of the task with an ID is sent under.
func Tag(container, taskID string) string { return container + "-firelens-" + taskID }

// Router is what the configuration follows from.
type Router struct {
	Kind    string
	Memory  int64             // of its container, in MiB; zero for no limit
	Network bool              // it has an address of its own, where it listens on Port
	Record  map[string]string // fields that it adds to each record
	Include string            // path of a further configuration; empty for none
	Sources []Source
}

// Source is a container whose output goes through the router, with its log options.
type Source struct {
	Container string
	Options   map[string]string
}

// Options of the log driver awsfirelens that are not the output's.
const (
	includePattern = "include-pattern"
	excludePattern = "exclude-pattern"
	// BufferLimit is the number of lines that may be in memory on their way to the router.
	BufferLimit = "log-driver-buffer-limit"
)

// Config is the configuration's text. Its error names the option that cannot be written.
func (r Router) Config() (string, error) {
	d, ok := dialects[r.Kind]
	if !ok {
		return "", fmt.Errorf("a log router of the type %q is not known", r.Kind)
	}
	w := &writer{dialect: d}
	w.inputs(r)
	for _, s := range r.Sources {
		for _, pattern := range []struct{ option, name string }{{includePattern, "include"}, {excludePattern, "exclude"}} {
			if text := s.Options[pattern.option]; text != "" {
				d.grep(w, d.match(s.Container), pattern.name == "include", text)
			}
		}
	}
	if len(r.Record) > 0 {
		d.record(w, r.Record)
	}
	if r.Include != "" {
		w.line(0, d.include, r.Include)
		w.line(0)
	}
	for _, s := range r.Sources {
		if err := w.output(s); err != nil {
			return "", err
		}
	}
	if w.err != nil {
		return "", w.err
	}
	return w.b.String(), nil
}

// dialect is how a kind of router wants things said.
type dialect struct {
	name    string // of the option that names an output's plugin
	include string
	stars   string // match the rest of a tag
	section func(w *writer, kind, match string, body [][2]string)
	grep    func(w *writer, match string, keep bool, pattern string)
	record  func(w *writer, fields map[string]string)
}

var dialects = map[string]dialect{FluentBit: fluentBit, Fluentd: fluentd}

func (d dialect) match(container string) string { return container + "-firelens" + d.stars }

// writer collects lines.
type writer struct {
	dialect dialect
	b       strings.Builder
	err     error
}

// line writes one, and remembers it if a value would make two of it.
func (w *writer) line(indent int, words ...string) {
	text := strings.Join(slices.DeleteFunc(words, func(s string) bool { return s == "" }), " ")
	if strings.ContainsAny(text, "\n\r\x00") && w.err == nil {
		w.err = fmt.Errorf("an option of the log router has a line break in it: %.100q", text)
	}
	w.b.WriteString(strings.Repeat("    ", indent) + text + "\n")
}

// Where a router can be asked whether it is well, and the tag of what is sent there.
const (
	healthPort = "8877"
	healthTag  = "firelens-healthcheck"
)

// Half of the router's memory may be full of what comes in; 25 MB if its memory has no limit.
func (r Router) buffer() string {
	if r.Memory > 0 {
		return fmt.Sprintf("%dMB", max(1, r.Memory/2))
	}
	return "25MB"
}

func (w *writer) inputs(r Router) {
	socket := SocketFolder + "/" + SocketName
	if r.Kind == Fluentd {
		if r.Network {
			w.dialect.section(w, "source", "", [][2]string{{"@type", "forward"}, {"bind", "0.0.0.0"}, {"port", Port}})
		}
		w.dialect.section(w, "source", "", [][2]string{{"@type", "unix"}, {"path", socket}})
		return
	}
	if r.Network { // on the host's network, the next task's router would find the ports taken
		w.dialect.section(w, "INPUT", "", [][2]string{{"Name", "tcp"}, {"Tag", healthTag}, {"Listen", "127.0.0.1"}, {"Port", healthPort}})
		w.dialect.section(w, "INPUT", "", [][2]string{{"Name", "forward"}, {"Listen", "0.0.0.0"}, {"Port", Port}, {"Mem_Buf_Limit", r.buffer()}})
		w.dialect.section(w, "OUTPUT", healthTag, [][2]string{{"Name", "null"}})
	}
	w.dialect.section(w, "INPUT", "", [][2]string{{"Name", "forward"}, {"unix_path", socket}, {"Mem_Buf_Limit", r.buffer()}})
}

// output writes where a container's output goes, unless that is left to the configuration that is included.
func (w *writer) output(s Source) error {
	own := maps.Clone(s.Options)
	for _, name := range []string{includePattern, excludePattern, BufferLimit, w.dialect.name} {
		delete(own, name)
	}
	plugin := s.Options[w.dialect.name]
	if plugin == "" {
		if len(own) == 0 {
			return nil
		}
		return fmt.Errorf("unable to apply log options of container %s to firelens config: missing output key %s which is required for firelens configuration",
			s.Container, w.dialect.name)
	}
	body := [][2]string{{w.dialect.name, plugin}}
	for _, name := range slices.Sorted(maps.Keys(own)) {
		body = append(body, [2]string{name, own[name]})
	}
	kind := "OUTPUT"
	if w.dialect.name == fluentd.name {
		kind = "match"
	}
	w.dialect.section(w, kind, w.dialect.match(s.Container), body)
	return nil
}

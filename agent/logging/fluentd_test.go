package logging

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tinylib/msgp/msgp"
)

// forwarded is a server that speaks Fluentd's protocol, and passes on each batch that it takes.
type forwarded struct {
	net.Listener
	batches chan []any
	hangUp  bool // after each batch
	ack     func(chunk string) string
}

func newForwarded(t *testing.T, network, address string) *forwarded {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &forwarded{Listener: l, batches: make(chan []any, 100)}
}

func (f *forwarded) serve() {
	for {
		conn, err := f.Accept()
		if err != nil {
			return
		}
		f.read(conn)
		conn.Close()
	}
}

func (f *forwarded) read(conn net.Conn) {
	for r := msgp.NewReader(conn); ; {
		batch, err := r.ReadIntf()
		if err != nil {
			return
		}
		if options := batch.([]any)[2:]; f.ack != nil && len(options) == 1 {
			conn.Write(msgp.AppendMapStrStr(nil, map[string]string{"ack": f.ack(options[0].(map[string]any)["chunk"].(string))}))
		}
		if f.batches <- batch.([]any); f.hangUp {
			return
		}
	}
}

// texts are what the entries of a batch say.
func texts(batch []any) (all []string) {
	for _, entry := range batch[1].([]any) {
		all = append(all, entry.([]any)[1].(map[string]any)["log"].(string))
	}
	return all
}

func quiet(t *testing.T) *Shipper {
	t.Helper()
	s, err := NewShipper(Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestFluentdGoesOnAfterAKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), strings.Repeat("long", 30), "s")
	s := quiet(t)
	c := container(t, "fluentd", map[string]string{"fluentd-address": "unix://" + path, "fluentd-retry-wait": "1ms", "fluentd-buffer-limit": "2", "fluentd-request-ack": "true"})
	logOf(t, c, "one\ntwo\nthree\n")
	if err := s.Prepare(t.Context(), c); err != nil {
		t.Errorf("a destination that is not there keeps the container from starting: %v", err)
	}
	ctx, kill := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Ship(ctx, c) }() // nobody is there
	f := listenAt(t, path)
	f.ack = func(chunk string) string { return chunk }
	f.hangUp = true // so that the second batch needs a new connection
	go f.serve()
	first, second := texts(<-f.batches), texts(<-f.batches)
	if fmt.Sprint(first, second) != "[one two] [three]" {
		t.Errorf("got %q and %q", first, second)
	}
	kill()
	<-ended
	logOf(t, c, "four\n") // while nobody looks
	if err := s.Drain(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	last := texts(<-f.batches)
	if last[0] == "three" { // its cursor had not been written
		last = last[1:]
	}
	if len(last) == 0 {
		last = texts(<-f.batches)
	}
	if fmt.Sprint(last) != "[four]" {
		t.Errorf("got %q", last)
	}
}

func TestFluentdRecords(t *testing.T) {
	f := newForwarded(t, "tcp", "127.0.0.1:0")
	f.ack = func(chunk string) string { return chunk }
	go f.serve()
	c := container(t, "fluentd", map[string]string{"fluentd-address": f.Addr().String(), "fluentd-request-ack": "true",
		"tag": "app.{{.Name}}", "labels": "team"})
	c.Labels = map[string]string{"team": "shop"}
	c.Family, c.Version = "web", "3"
	batch := []Message{{Text: []byte("hello"), Stream: "stdout", Time: epoch.Add(5)}}
	name := "/ecs-web-3-" + c.Name + "-" + c.ID[:min(20, len(c.ID))]
	for subSecond, at := range map[string]string{"false": fmt.Sprint(epoch.Unix()), "true": epoch.Add(5).Local().String()} {
		c.Config.Config["fluentd-sub-second-precision"] = subSecond
		d, err := newFluentd(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.send(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		d.Close()
		got := <-f.batches
		entry := got[1].([]any)[0].([]any)
		if raw, ok := entry[0].(*msgp.RawExtension); ok {
			entry[0] = time.Unix(int64(be32(raw.Data[:4])), int64(be32(raw.Data[4:])))
		}
		if fmt.Sprint(entry[0]) != at || got[0] != "app."+c.Name {
			t.Errorf("time %v, tag %v", entry[0], got[0])
		}
		want := map[string]any{"container_id": c.ID, "container_name": name, "source": "stdout", "log": "hello", "team": "shop"}
		if fmt.Sprint(entry[1]) != fmt.Sprint(want) {
			t.Errorf("got  %v\nwant %v", entry[1], want)
		}
	}
	f.ack = func(string) string { return "another" }
	d, err := newFluentd(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.send(t.Context(), batch); err == nil || !strings.Contains(err.Error(), `acknowledges "another"`) || d.conn != nil {
		t.Errorf("got %v", err)
	}
}

func be32(b []byte) uint32 {
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// With fluentd-max-retries, what nobody takes is left out, and what comes after it goes.
func TestFluentdGivesUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := quiet(t)
	c := container(t, "fluentd", map[string]string{"fluentd-address": "unix://" + path, "fluentd-retry-wait": "1ms", "fluentd-max-retries": "2"})
	logOf(t, c, "lost\n")
	if err := s.Drain(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	f := listenAt(t, path)
	go f.serve()
	logOf(t, c, "kept\n")
	if err := s.Drain(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if got := texts(<-f.batches); fmt.Sprint(got) != "[kept]" {
		t.Errorf("got %q", got)
	}
}

// A socket is not looked for behind a link.
func TestFluentdFollowsNoLink(t *testing.T) {
	dir := t.TempDir()
	newForwarded(t, "unix", filepath.Join(dir, "s"))
	symlink(t, filepath.Join(dir, "s"), filepath.Join(dir, "link"))
	d, err := newFluentd(container(t, "fluentd", map[string]string{"fluentd-address": "unix://" + filepath.Join(dir, "link")}))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.send(t.Context(), []Message{{}}); err == nil {
		t.Error("it went through")
	}
}

func TestFluentdOptions(t *testing.T) {
	for options, want := range map[string]string{
		"":                                    "tcp 127.0.0.1:24224",
		"fluentd-address=logs":                "tcp logs:24224",
		"fluentd-address=logs:1":              "tcp logs:1",
		"fluentd-address=tls://[::1]":         "tls [::1]:24224",
		"fluentd-address=unix:///a/b":         "unix /a/b",
		"fluentd-address=unix://":             "invalid fluentd-address (unix://): it names no path",
		"fluentd-address=udp://logs":          "invalid fluentd-address (udp://logs): unsupported scheme: 'udp'",
		"fluentd-address=tcp://logs/a":        "invalid fluentd-address (tcp://logs/a): should not contain a path element",
		"fluentd-max-retries=-1":              `invalid value for fluentd-max-retries: strconv.ParseUint: parsing "-1": invalid syntax`,
		"fluentd-retry-wait=0s":               `invalid value for fluentd-retry-wait: "0s" is not longer than nothing`,
		"fluentd-buffer-limit=many":           "invalid value for fluentd-buffer-limit: invalid size: 'many'",
		"fluentd-async=often":                 `invalid value for fluentd-async: strconv.ParseBool: parsing "often": invalid syntax`,
		"fluentd-request-ack=1":               "tcp 127.0.0.1:24224",
		"fluentd-write-timeout=1s":            "tcp 127.0.0.1:24224",
		"fluentd-max-retries=4294967295":      "tcp 127.0.0.1:24224",
		"fluentd-async-reconnect-interval=99": "invalid value for fluentd-async-reconnect-interval: it is not from 100ms to 10s",
	} {
		name, value, _ := strings.Cut(options, "=")
		d, err := newFluentd(container(t, "fluentd", map[string]string{name: value}))
		got := fmt.Sprint(err)
		if err == nil {
			got = d.network + " " + d.address
		}
		if got != want {
			t.Errorf("%s: %s, want %s", options, got, want)
		}
	}
}

func FuzzReadAck(f *testing.F) {
	f.Add(msgp.AppendMapStrStr(nil, map[string]string{"ack": "chunk"}), "chunk")
	f.Add([]byte{0xdf, 0xff, 0xff, 0xff, 0xff}, "")
	f.Fuzz(func(t *testing.T, data []byte, chunk string) {
		if ack, err := readAck(bytes.NewReader(data)); err == nil && len(ack) > maxAck {
			t.Errorf("an acknowledgement of %d bytes", len(ack))
		}
		if len(chunk) > maxAck/2 {
			return
		}
		written := msgp.AppendMapHeader(nil, 2)
		written = msgp.AppendInt(msgp.AppendString(written, "of"), 1)
		written = msgp.AppendString(msgp.AppendString(written, "ack"), chunk)
		if ack, err := readAck(bytes.NewReader(written)); err != nil || ack != chunk {
			t.Errorf("wrote %q, read %q, %v", chunk, ack, err)
		}
	})
}

// listenAt serves at a path of any length.
func listenAt(t *testing.T, path string) *forwarded {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	return newForwarded(t, "unix", fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
}

func symlink(t *testing.T, to, at string) {
	t.Helper()
	if err := os.Symlink(to, at); err != nil {
		t.Fatal(err)
	}
}

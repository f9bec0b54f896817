package logging

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"havn/agent/logging/jsonfile"
)

// freePort is an address of this machine at which nobody listens.
func freePort(t *testing.T, network string) string {
	if strings.HasPrefix(network, "udp") {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.LocalAddr().String()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// datagrams receives what comes in packets; text finds a message's in one, if it is whole.
func datagrams(network, address string, text func(packet []byte) string) func(*testing.T, *receiver) {
	return func(t *testing.T, r *receiver) {
		conn, err := net.ListenPacket(network, address)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		r.close = append(r.close, func() { conn.Close(); <-ended })
		go func() {
			defer close(ended)
			b := make([]byte, 1<<16)
			for {
				n, _, err := conn.ReadFrom(b)
				if err != nil {
					return
				}
				if s := text(b[:n]); s != "" {
					r.take(s)
				}
			}
		}()
	}
}

// streams receives what comes over connections; next reads a message's text off one.
func streams(network, address string, secure *tls.Config, next func(*bufio.Reader) (string, error)) func(*testing.T, *receiver) {
	return func(t *testing.T, r *receiver) {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		if secure != nil {
			l = tls.NewListener(l, secure)
		}
		ended := make(chan struct{})
		conns := make(chan net.Conn, 100)
		r.close = append(r.close, func() {
			l.Close()
			<-ended
			close(conns)
			for c := range conns {
				c.Close()
			}
		})
		go func() {
			defer close(ended)
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				conns <- c
				go func() {
					for b := bufio.NewReader(c); ; {
						text, err := next(b)
						if err != nil {
							return
						}
						r.take(text)
					}
				}()
			}
		}()
	}
}

// afterTag is what follows a message's header.
func afterTag(line string) string {
	_, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
	return text
}

func syslogLine(b *bufio.Reader) (string, error) {
	line, err := b.ReadString('\n')
	return afterTag(line), err
}

// syslogCounted reads a message that is preceded by its length.
func syslogCounted(b *bufio.Reader) (string, error) {
	length, err := b.ReadString(' ')
	if err != nil {
		return "", err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(length, " "))
	if err != nil {
		return "", err
	}
	line := make([]byte, n)
	_, err = io.ReadFull(b, line)
	_, text, _ := strings.Cut(string(line), " - ")
	return text, err
}

func TestSyslog(t *testing.T) {
	packet := func(p []byte) string { return afterTag(string(p)) }
	server := httptest.NewTLSServer(nil) // for its certificate
	server.Close()
	folder := t.TempDir()
	dgram, stream := filepath.Join(folder, "dgram"), filepath.Join(folder, "stream")
	udp, tcp, secured := freePort(t, "udp"), freePort(t, "tcp"), freePort(t, "tcp")
	for _, c := range []struct {
		address string
		options map[string]string
		open    func(*testing.T, *receiver)
	}{
		{"udp://" + udp, nil, datagrams("udp", udp, packet)},
		{"tcp://" + tcp, nil, streams("tcp", tcp, nil, syslogLine)},
		{"unix://" + stream, nil, streams("unix", stream, nil, syslogLine)},
		{"tcp+tls://" + secured, map[string]string{"syslog-tls-skip-verify": "true", "syslog-format": "rfc5424"},
			streams("tcp", secured, &tls.Config{Certificates: server.TLS.Certificates}, syslogCounted)},
		{"unixgram://" + dgram, nil, func(t *testing.T, r *receiver) {
			os.Remove(dgram)
			datagrams("unixgram", dgram, packet)(t, r)
		}},
	} {
		t.Run(strings.Split(c.address, ":")[0], func(t *testing.T) {
			t.Parallel()
			options := map[string]string{"syslog-address": c.address}
			for name, value := range c.options {
				options[name] = value
			}
			shipThrough(t, container(t, "syslog", options), newReceiver(c.open), Config{})
		})
	}
}

func TestSyslogFormats(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC).Local()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	pid := os.Getpid()
	for format, want := range map[string]string{
		"":             fmt.Sprintf("<131>%s it[%d]: text\n", at.Format("Jan _2 15:04:05"), pid),
		"rfc3164":      fmt.Sprintf("<131>%s %s it[%d]: text\n", at.Format("Jan _2 15:04:05"), host, pid),
		"rfc5424":      fmt.Sprintf("<131>1 %s %s it %d it - text\n", at.Format("2006-01-02T15:04:05Z07:00"), host, pid),
		"rfc5424micro": fmt.Sprintf("<131>1 %s %s it %d it - text\n", at.Format("2006-01-02T15:04:05.000000Z07:00"), host, pid),
	} {
		s, err := newSyslog(container(t, "syslog", map[string]string{"syslog-format": format, "syslog-facility": "local0", "tag": "it"}))
		if err != nil {
			t.Fatal(err)
		}
		if got := string(s.packet(Message{Stream: jsonfile.Stderr, Time: at.UTC()}, "text")); got != want {
			t.Errorf("%s: %q, want %q", format, got, want)
		}
	}
}

// What no destination could be made of keeps the container from starting, in every driver.
func TestOptionsThatMeanNothing(t *testing.T) {
	s, err := NewShipper(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, c := range []struct{ driver, option, value, want string }{
		{"syslog", "syslog-address", "pigeon://roof", "unsupported scheme: 'pigeon'"},
		{"syslog", "syslog-facility", "attic", "invalid syslog facility"},
		{"syslog", "syslog-format", "rfc1149", "invalid syslog format"},
		{"syslog", "tag", "{{.Colour}}", "cannot read the log option tag"},
		{"gelf", "gelf-address", "", "gelf-address is a required parameter"},
		{"gelf", "gelf-address", "http://h:1", "endpoint needs to be TCP or UDP"},
		{"gelf", "gelf-address", "udp://h", "proto://host:port"},
		{"gelf", "gelf-compression-type", "lzw", "unknown compression type"},
		{"gelf", "gelf-compression-level", "10", "invalid value"},
		{"journald", "labels-regex", "(", "labels-regex"},
		{"splunk", "splunk-token", "", "splunk-token is expected"},
		{"splunk", "splunk-url", "https://h/path", "expected format"},
		{"splunk", "splunk-url", "https://user:hush@h", "expected format"},
		{"splunk", "splunk-format", "yaml", "unknown format"},
		{"splunk", "splunk-gzip-level", "11", "not supported level"},
		{"splunk", "splunk-capath", "/nowhere", "could not read CA certificate"},
		{"splunk", "splunk-insecureskipverify", "perhaps", "neither true nor false"},
	} {
		options := map[string]string{"gelf-address": "udp://h:1", "splunk-url": "http://h", "splunk-token": "hush", "splunk-gzip": "true"}
		options[c.option] = c.value
		err := s.Prepare(t.Context(), container(t, c.driver, options))
		if err == nil || !regexp.MustCompile("^failed to initialize logging driver: .*"+regexp.QuoteMeta(c.want)).MatchString(err.Error()) {
			t.Errorf("%s=%s: got %v, want %s", c.option, c.value, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "hush") {
			t.Errorf("%s=%s: a secret is told: %v", c.option, c.value, err)
		}
	}
}

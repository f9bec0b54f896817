package logging

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"havn/agent/logging/jsonfile"
)

// syslog gives messages to a syslog daemon. Docker documentation, "Syslog logging driver".
type syslog struct {
	link      *link
	facility  int
	format    syslogFormat
	counted   bool // each message is preceded by its length, as RFC 5425 (section 4.3) has it over TLS
	host, tag string
}

// maxSyslogText is how long the text of one message is at most: Docker gives no more to its driver at once, and a datagram
// holds it. A longer line becomes several messages.
const maxSyslogText = 16 << 10

// The severities of standard output and standard error, as Docker has them. RFC 5424, section 6.2.1.
const (
	severityError = 3
	severityInfo  = 6
)

func severity(stream string) int {
	if stream == jsonfile.Stderr {
		return severityError
	}
	return severityInfo
}

// facilities are the names of the facilities, each at its number. RFC 5424, section 6.2.1, and syslog(3).
var facilities = strings.Fields("kern user mail daemon auth syslog lpr news uucp cron authpriv ftp . . . . " +
	"local0 local1 local2 local3 local4 local5 local6 local7")

// localSyslog are the sockets at which a syslog daemon of this machine may be.
var localSyslog = []place{
	{"unixgram", "/dev/log"}, {"unix", "/dev/log"},
	{"unixgram", "/var/run/syslog"}, {"unix", "/var/run/syslog"},
	{"unixgram", "/var/run/log"}, {"unix", "/var/run/log"},
}

func newSyslog(c Container) (*syslog, error) {
	s := &syslog{link: &link{}}
	secured := false
	var err error
	if s.link.places, secured, err = syslogPlaces(c.option("syslog-address")); err != nil {
		return nil, err
	}
	if secured {
		if s.link.tls, err = tlsConfig(c.option("syslog-tls-ca-cert"), c.option("syslog-tls-cert"), c.option("syslog-tls-key")); err != nil {
			return nil, err
		}
		if s.link.tls.InsecureSkipVerify, err = c.flag("syslog-tls-skip-verify", false); err != nil {
			return nil, err
		}
	}
	if s.facility, err = syslogFacility(c.option("syslog-facility")); err != nil {
		return nil, err
	}
	name := c.option("syslog-format")
	if s.format = syslogFormats[name]; s.format == nil {
		return nil, fmt.Errorf("invalid syslog format %q", name)
	}
	s.counted = secured && strings.HasPrefix(name, "rfc5424")
	if s.tag, err = c.tag(""); err != nil {
		return nil, err
	}
	if s.host, err = os.Hostname(); err != nil {
		return nil, err
	}
	return s, nil
}

// syslogPlaces is where the daemon is that the option syslog-address names, and whether to speak TLS with it.
func syslogPlaces(address string) (at []place, secured bool, err error) {
	if address == "" {
		return localSyslog, false, nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, false, fmt.Errorf("cannot read the log option syslog-address: %w", err)
	}
	switch u.Scheme {
	case "unix", "unixgram":
		return []place{{u.Scheme, u.Path}}, false, nil
	case "udp", "tcp", "tcp+tls":
		port := u.Port()
		if port == "" {
			port = "514"
		}
		network, over := strings.CutSuffix(u.Scheme, "+tls")
		return []place{{network, net.JoinHostPort(u.Hostname(), port)}}, over, nil
	}
	return nil, false, fmt.Errorf("unsupported scheme: '%s' in the log option syslog-address", u.Scheme)
}

// syslogFacility is the number of a facility that is given by name or number. Without either it is daemon.
func syslogFacility(text string) (int, error) {
	if text == "" {
		text = "daemon"
	}
	for number, name := range facilities {
		if text == name && name != "." || text == strconv.Itoa(number) {
			return number, nil
		}
	}
	return 0, fmt.Errorf("invalid syslog facility %q", text)
}

// syslogFormat writes one message; the priority is of facility and severity.
type syslogFormat func(priority int, at time.Time, host, tag, text string) string

// syslogFormats are the values of the option syslog-format. All name Havn's process, as Docker names its daemon's.
var syslogFormats = map[string]syslogFormat{
	"": func(priority int, at time.Time, _, tag, text string) string { // what the local daemon of a Unix takes
		return fmt.Sprintf("<%d>%s %s[%d]: %s", priority, at.Format(time.Stamp), tag, os.Getpid(), text)
	},
	"rfc3164": func(priority int, at time.Time, host, tag, text string) string {
		return fmt.Sprintf("<%d>%s %s %s[%d]: %s", priority, at.Format(time.Stamp), host, tag, os.Getpid(), text)
	},
	"rfc5424":      rfc5424(time.RFC3339),
	"rfc5424micro": rfc5424("2006-01-02T15:04:05.000000Z07:00"),
}

func rfc5424(layout string) syslogFormat {
	return func(priority int, at time.Time, host, tag, text string) string {
		return fmt.Sprintf("<%d>1 %s %s %s %d %s - %s", priority, at.Format(layout), host, tag, os.Getpid(), tag, text)
	}
}

func (s *syslog) send(ctx context.Context, batch []Message) error {
	var packets [][]byte
	for _, m := range batch {
		texts := parts(m.Text, maxSyslogText)
		if len(m.Text) == 0 {
			texts = []string{""}
		}
		for _, text := range texts {
			packets = append(packets, s.packet(m, text))
		}
	}
	return s.link.send(ctx, packets)
}

func (s *syslog) packet(m Message, text string) []byte {
	line := s.format(s.facility<<3|severity(m.Stream), m.Time.Local(), s.host, s.tag, text)
	if s.counted {
		return []byte(strconv.Itoa(len(line)) + " " + line)
	}
	return []byte(line + "\n")
}

// Close ends the connection.
func (s *syslog) Close() error { return s.link.Close() }

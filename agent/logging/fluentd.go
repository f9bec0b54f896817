package logging

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	units "github.com/docker/go-units"
	"github.com/tinylib/msgp/msgp"
	"golang.org/x/sys/unix"
)

// Defaults and limits of the options of fluentd. Docker documentation, "Fluentd logging driver".
const (
	fluentdHost      = "127.0.0.1"
	fluentdPort      = "24224"
	fluentdRetryWait = time.Second
	fluentdRetries   = math.MaxInt32
	leastReconnect   = 100 * time.Millisecond
	mostReconnect    = 10 * time.Second
	fluentdDial      = 3 * time.Second // how long it may take to be connected
)

// fluentd gives messages to Fluentd, Fluent Bit, or whoever else speaks their protocol: Fluentd documentation, "Forward
// Protocol Specification v1". Records are those of Docker's driver.
//
// Docker's fluentd-async makes no difference here: a container never waits for this destination to answer.
type fluentd struct {
	network, address string // tcp, tls or unix
	tag              string
	record           map[string]string // what every record has
	subSecond, ack   bool
	retryWait        time.Duration
	maxRetries       int
	writeTimeout     time.Duration // zero: as long as the attempt may take
	reconnect        time.Duration // zero: a connection stays

	conn  net.Conn // nil: none
	since time.Time
}

func newFluentd(c Container) (*fluentd, error) {
	f := &fluentd{retryWait: fluentdRetryWait, maxRetries: fluentdRetries}
	var err error
	if f.network, f.address, err = fluentdAddress(c.option("fluentd-address")); err != nil {
		return nil, err
	}
	if f.tag, err = c.tag(""); err != nil {
		return nil, err
	}
	if f.record, err = c.extra(); err != nil {
		return nil, err
	}
	for name, value := range map[string]string{
		"container_id": c.ID, "container_name": "/" + c.dockerName(),
	} {
		if _, own := f.record[name]; !own {
			f.record[name] = value
		}
	}
	for name, read := range map[string]func(string) error{
		"fluentd-sub-second-precision": func(text string) (err error) { f.subSecond, err = strconv.ParseBool(text); return },
		"fluentd-request-ack":          func(text string) (err error) { f.ack, err = strconv.ParseBool(text); return },
		"fluentd-async":                func(text string) error { _, err := strconv.ParseBool(text); return err },
		"fluentd-retry-wait":           func(text string) (err error) { f.retryWait, err = positive(text); return },
		"fluentd-write-timeout":        func(text string) (err error) { f.writeTimeout, err = positive(text); return },
		"fluentd-max-retries": func(text string) error {
			n, err := strconv.ParseUint(text, 10, 32)
			f.maxRetries = int(min(n, fluentdRetries))
			return err
		},
		"fluentd-buffer-limit": func(text string) error { _, err := units.RAMInBytes(text); return err },
		"fluentd-async-reconnect-interval": func(text string) error {
			ms, err := strconv.ParseUint(text, 10, 16)
			f.reconnect = time.Duration(ms) * time.Millisecond
			if err == nil && ms != 0 && (f.reconnect < leastReconnect || f.reconnect > mostReconnect) {
				return fmt.Errorf("it is not from %v to %v", leastReconnect, mostReconnect)
			}
			return err
		},
	} {
		if text := c.option(name); text != "" {
			if err := read(text); err != nil {
				return nil, fmt.Errorf("invalid value for %s: %w", name, err)
			}
		}
	}
	return f, nil
}

func positive(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err == nil && d <= 0 {
		err = fmt.Errorf("%q is not longer than nothing", text)
	}
	return d, err
}

// fluentdAddress reads the option fluentd-address: [tcp|tls://]HOST[:PORT] or unix:///PATH.
func fluentdAddress(text string) (network, address string, err error) {
	if text == "" {
		return "tcp", net.JoinHostPort(fluentdHost, fluentdPort), nil
	}
	if !strings.Contains(text, "://") {
		text = "tcp://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return "", "", fmt.Errorf("invalid fluentd-address (%s): %w", text, err)
	}
	switch {
	case u.Scheme == "unix" && u.Path != "" && u.Host == "":
		return "unix", u.Path, nil
	case u.Scheme == "unix":
		return "", "", fmt.Errorf("invalid fluentd-address (%s): it names no path", text)
	case u.Scheme != "tcp" && u.Scheme != "tls":
		return "", "", fmt.Errorf("invalid fluentd-address (%s): unsupported scheme: '%s'", text, u.Scheme)
	case u.Path != "":
		return "", "", fmt.Errorf("invalid fluentd-address (%s): should not contain a path element", text)
	}
	host, port := u.Hostname(), u.Port()
	if host == "" {
		host = fluentdHost
	}
	if port == "" {
		port = fluentdPort
	}
	return u.Scheme, net.JoinHostPort(host, port), nil
}

// atOnce is how many messages of the container may be in memory at once. Docker's fluentd-buffer-limit is such a number,
// too; what is beyond it waits in the spool, where Docker would drop it.
func (c Container) atOnce() int {
	if text := c.option("fluentd-buffer-limit"); c.Driver() == "fluentd" && text != "" {
		if n, err := units.RAMInBytes(text); err == nil {
			return int(max(1, min(n, batchMessages)))
		}
	}
	return batchMessages
}

func (f *fluentd) retries() (first time.Duration, most int) { return f.retryWait, f.maxRetries }

func (f *fluentd) send(ctx context.Context, batch []Message) error {
	if f.conn != nil && (hungUp(f.conn) || f.reconnect > 0 && time.Since(f.since) > f.reconnect) {
		f.Close() //nolint:errcheck // all that went through it has been taken
	}
	if f.conn == nil {
		conn, err := f.dial(ctx)
		if err != nil {
			return err
		}
		f.conn, f.since = conn, time.Now()
	}
	err := f.exchange(ctx, batch)
	if err != nil {
		f.Close() //nolint:errcheck // it is of no use any more
	}
	return err
}

func (f *fluentd) dial(ctx context.Context) (net.Conn, error) {
	d := &net.Dialer{Timeout: fluentdDial}
	switch f.network {
	case "tls":
		return (&tls.Dialer{NetDialer: d}).DialContext(ctx, "tcp", f.address)
	case "unix":
		return dialSocket(ctx, d, f.address)
	}
	return d.DialContext(ctx, f.network, f.address)
}

// dialSocket connects to a Unix socket, by whatever length of path, and not to one that a link in its place leads to: a
// log router could put there what it has no way to itself.
func dialSocket(ctx context.Context, d *net.Dialer, path string) (net.Conn, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot reach %s: %w", path, err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	conn, err := d.DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return nil, fmt.Errorf("cannot reach %s: %w", path, err)
	}
	return conn, nil
}

// hungUp reports whether the other side has closed the connection: the first write after that would succeed, and be lost.
func hungUp(conn net.Conn) (closed bool) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	raw, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	control, err := raw.SyscallConn()
	if err != nil {
		return true
	}
	err = control.Read(func(fd uintptr) bool {
		n, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		closed = n == 0 && err == nil || err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
		return true
	})
	return closed || err != nil
}

// exchange sends the batch, and waits for its acknowledgement if there is to be one.
func (f *fluentd) exchange(ctx context.Context, batch []Message) error {
	deadline, _ := ctx.Deadline() // zero: none
	writeBy := deadline
	if f.writeTimeout > 0 {
		if by := time.Now().Add(f.writeTimeout); deadline.IsZero() || by.Before(deadline) {
			writeBy = by
		}
	}
	if err := errors.Join(f.conn.SetReadDeadline(deadline), f.conn.SetWriteDeadline(writeBy)); err != nil {
		return err
	}
	conn := f.conn
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) }) //nolint:errcheck // then it has ended
	defer stop()
	chunk := ""
	if f.ack {
		id := make([]byte, 16)
		rand.Read(id) //nolint:errcheck // it never fails
		chunk = base64.StdEncoding.EncodeToString(id)
	}
	if _, err := conn.Write(f.encode(batch, chunk)); err != nil || !f.ack {
		return err
	}
	got, err := readAck(conn)
	if err == nil && got != chunk {
		err = fmt.Errorf("fluentd acknowledges %.100q instead of %q", got, chunk)
	}
	return err
}

// encode writes the batch in the protocol's mode Forward: [tag, [[time, record] ...], {chunk}].
func (f *fluentd) encode(batch []Message, chunk string) []byte {
	size := uint32(2)
	if chunk != "" {
		size = 3
	}
	b := msgp.AppendArrayHeader(nil, size)
	b = msgp.AppendString(b, f.tag)
	b = msgp.AppendArrayHeader(b, uint32(len(batch)))
	common := slices.Sorted(maps.Keys(f.record))
	for _, m := range batch {
		b = msgp.AppendArrayHeader(b, 2)
		if f.subSecond { // EventTime, the extension type 0 of 8 bytes
			b = append(b, 0xd7, 0)
			b = binary.BigEndian.AppendUint32(b, uint32(m.Time.Unix()))
			b = binary.BigEndian.AppendUint32(b, uint32(m.Time.Nanosecond()))
		} else {
			b = msgp.AppendInt64(b, m.Time.Unix())
		}
		own := [][2]string{}
		for _, field := range [][2]string{{"source", m.Stream}, {"log", string(m.Text)}} {
			if _, taken := f.record[field[0]]; !taken { // by a label or a variable, as in Docker
				own = append(own, field)
			}
		}
		b = msgp.AppendMapHeader(b, uint32(len(common)+len(own)))
		for _, name := range common {
			b = msgp.AppendString(msgp.AppendString(b, name), f.record[name])
		}
		for _, field := range own {
			b = msgp.AppendString(msgp.AppendString(b, field[0]), field[1])
		}
	}
	if chunk != "" {
		b = msgp.AppendMapStrStr(b, map[string]string{"chunk": chunk})
	}
	return b
}

// maxAck is how many bytes an acknowledgement may have. One of Fluentd has 30.
const maxAck = 1 << 10

// readAck reads {"ack": CHUNK}.
func readAck(from io.Reader) (ack string, err error) {
	r := msgp.NewReaderSize(io.LimitReader(from, maxAck), maxAck)
	members, err := r.ReadMapHeader()
	for ; err == nil && members > 0; members-- {
		var name string
		if name, err = r.ReadString(); err != nil {
			break
		}
		if name == "ack" {
			ack, err = r.ReadString()
		} else {
			err = r.Skip()
		}
	}
	if err != nil {
		return "", fmt.Errorf("cannot read the acknowledgement of fluentd: %w", err)
	}
	return ack, nil
}

// Close ends the connection.
func (f *fluentd) Close() error {
	if f.conn == nil {
		return nil
	}
	conn := f.conn
	f.conn = nil
	return conn.Close()
}

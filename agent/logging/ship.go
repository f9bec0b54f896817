package logging

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"havn/agent/logging/jsonfile"
)

// driver gives messages to a destination.
type driver interface {
	// send returns when the destination has taken all of them. After an error they are sent again, all of them.
	send(ctx context.Context, batch []Message) error
	Close() error
}

// Config is what drivers need to know of the node.
type Config struct {
	// Endpoint, Region and Credentials are of the CloudWatch Logs that awslogs uses where its options name no other:
	// Havn's own.
	Endpoint, Region string
	Credentials      aws.CredentialsProvider
	// Journal is the socket of systemd's journal; empty: where it always is.
	Journal string
	Log     *slog.Logger
}

// Shipper ships the logs of all containers of a node.
type Shipper struct {
	config Config
	watch  *watch
}

// NewShipper returns a Shipper. Close ends it.
func NewShipper(c Config) (*Shipper, error) {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	w, err := newWatch()
	if err != nil {
		return nil, fmt.Errorf("cannot watch logs: %w", err)
	}
	return &Shipper{config: c, watch: w}, nil
}

// Close lets go of what the Shipper watches. Ship and Drain must have returned.
func (s *Shipper) Close() error { return s.watch.close() }

// Prepare is called before the container's process starts. What it returns keeps it from starting; a destination that
// does not answer does not.
func (s *Shipper) Prepare(ctx context.Context, c Container) error {
	if !c.Ships() {
		return nil
	}
	d, err := s.open(c)
	if err != nil {
		return fmt.Errorf("failed to initialize logging driver: %w", err)
	}
	if p, ok := d.(interface{ prepare(context.Context) error }); ok {
		attempt, cancel := context.WithTimeout(ctx, sendTime)
		err = p.prepare(attempt)
		cancel()
		if err != nil && ctx.Err() == nil && !refused(err) {
			s.config.Log.Warn("a log's destination does not answer; its container starts", "task", c.TaskARN, "container", c.Name,
				"driver", c.Driver(), "error", err)
			err = nil
		}
	}
	if err = errors.Join(err, d.Close()); err != nil {
		return fmt.Errorf("failed to initialize logging driver: %w", err)
	}
	return nil
}

// open returns the container's driver, which reaches out to its destination only when there is something to send.
func (s *Shipper) open(c Container) (d driver, err error) {
	switch c.Driver() {
	case "awslogs":
		d, err = s.awslogs(c)
	case "fluentd":
		d, err = newFluentd(c)
	case "syslog":
		d, err = newSyslog(c)
	case "journald":
		d, err = newJournald(c, s.config.Journal)
	case "gelf":
		d, err = newGELF(c)
	case "splunk":
		d, err = newSplunk(c)
	default:
		err = fmt.Errorf("logger: no log driver named '%s' is registered", c.Driver())
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

// Limits of what is under way at once, in a driver and on its way there.
const (
	batchMessages = 1000
	batchBytes    = 512 << 10
)

// The delay between two attempts to send.
const (
	firstDelay = 200 * time.Millisecond
	lastDelay  = 10 * time.Second
	// sendTime is how long one attempt may take.
	sendTime = 20 * time.Second
)

// lookEvery is how often a log is looked at without being told that it has changed.
const lookEvery = 2 * time.Second

// Ship ships what the container prints, from the cursor on, until ctx ends. That is its only error. When it returns, the
// cursor is behind everything that the destination has said it took; for that it may wait for an answer for sendTime.
func (s *Shipper) Ship(ctx context.Context, c Container) error { return s.ship(ctx, c, false) }

// Drain ships what is left when nobody writes any more, and returns when it is done. It has no end if the destination does
// not answer.
func (s *Shipper) Drain(ctx context.Context, c Container) error { return s.ship(ctx, c, true) }

func (s *Shipper) ship(ctx context.Context, c Container, ended bool) error {
	one := &shipment{container: c, log: s.config.Log.With("task", c.TaskARN, "container", c.Name, "driver", c.Driver())}
	defer one.close()
	begins, err := multiline(c)
	if err != nil {
		one.log.Warn("a log is shipped line by line", "error", err)
	}
	one.joiner = newJoiner(begins)
	at, err := readCursor(c.Cursor)
	if err != nil {
		one.log.Warn("a log is shipped from its beginning", "error", err)
	}
	one.reader, one.saved = jsonfile.NewReader(c.Log, at), at
	changed, forget := s.watch.folder(c.Log)
	defer forget()
	for ctx.Err() == nil {
		batch, more, err := one.gather(ended, time.Now())
		if len(batch) > 0 && one.driver == nil {
			one.driver, err = s.open(c)
		}
		if len(batch) > 0 && err == nil {
			err = one.sendAll(ctx, batch)
		}
		if err == nil {
			err = one.save()
		}
		switch {
		case ctx.Err() != nil:
		case err != nil:
			one.log.Warn("a log is not shipped; trying again", "error", err)
			one.again(at)
			pause(ctx, lastDelay, nil)
		case more:
		case ended:
			return nil
		default:
			pause(ctx, lookEvery, changed)
		}
		at = one.saved
	}
	return ctx.Err()
}

// pause lasts for a while, or until something has changed.
func pause(ctx context.Context, d time.Duration, changed <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-changed:
	case <-timer.C:
	}
}

// shipment is the shipping of one container's log.
type shipment struct {
	container Container
	reader    *jsonfile.Reader
	joiner    *joiner
	driver    driver // nil as long as there is nothing to send
	saved     jsonfile.Position
	log       *slog.Logger
}

func (s *shipment) close() {
	s.reader.Close()
	if s.driver != nil {
		if err := s.driver.Close(); err != nil {
			s.log.Debug("a log driver ends badly", "error", err)
		}
	}
}

// again makes the next gather begin where the last one that was sent ended.
func (s *shipment) again(at jsonfile.Position) {
	s.reader.Close()
	s.reader, s.joiner = jsonfile.NewReader(s.container.Log, at), newJoiner(s.joiner.begins)
}

// gather reads the next messages. There may be more.
func (s *shipment) gather(ended bool, now time.Time) (batch []Message, more bool, err error) {
	size := 0
	for most := s.container.atOnce(); len(batch) < most && size < batchBytes; {
		line, at, err := s.next()
		if errors.Is(err, io.EOF) {
			batch = append(batch, s.joiner.flush(now.Add(-maxWait))...)
			if ended {
				batch = append(batch, s.joiner.end()...)
			}
			return batch, false, nil
		}
		if err != nil {
			return batch, false, err
		}
		for _, m := range s.joiner.add(line, at) {
			batch = append(batch, m)
			size += len(m.Text)
		}
	}
	return batch, true, nil
}

// next is the reader's next line, and where it begins.
func (s *shipment) next() (jsonfile.Line, jsonfile.Position, error) {
	before := s.reader.Position()
	line, err := s.reader.Next()
	if err != nil {
		return line, before, err
	}
	if s.reader.Lost() {
		s.log.Warn("the oldest of what a container printed is lost: its buffer was full before the destination had taken it")
	}
	if s.reader.Position().File != before.File { // it is the first of another file
		before = jsonfile.Position{File: s.reader.Position().File}
	}
	return line, before, nil
}

// persistent is a driver whose options say after what delay it is tried again first, and how often; then the batch is
// given up. The others are tried without end.
type persistent interface {
	retries() (first time.Duration, most int)
}

// sendAll tries until the destination has taken the batch, or ctx ends, or the batch is given up.
func (s *shipment) sendAll(ctx context.Context, batch []Message) error {
	first, most := firstDelay, math.MaxInt
	if p, ok := s.driver.(persistent); ok {
		first, most = p.retries()
	}
	for delay, tried := first, 0; ; delay, tried = min(2*delay, max(first, lastDelay)), tried+1 {
		// An attempt that is under way when ctx ends goes on: the destination may have taken the batch, and only who
		// hears its answer can note that, so that Drain does not send it again.
		attempt, cancel := context.WithTimeout(context.WithoutCancel(ctx), sendTime)
		err := s.driver.send(attempt, batch)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		switch {
		case tried >= most:
			s.log.Warn("a log's destination takes nothing; what it was given is left out", "messages", len(batch), "error", err)
			return nil
		case tried == 0:
			s.log.Warn("a log's destination takes nothing; trying again", "error", err)
		}
		pause(ctx, delay, nil)
	}
}

// save writes the cursor, if it has moved, and makes room in a spool that waits for it.
func (s *shipment) save() error {
	at := s.joiner.oldest(s.reader.Position())
	if at != s.saved {
		if err := writeCursor(s.container.Cursor, at); err != nil {
			return err
		}
		s.saved = at
	}
	if !s.container.holds() {
		return nil
	}
	return s.reader.Drop(s.container.Log+"."+strconv.Itoa(spoolFiles), at)
}

func readCursor(path string) (at jsonfile.Position, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return at, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &at)
	}
	if err == nil && at.Offset < 0 {
		err = fmt.Errorf("offset %d", at.Offset)
	}
	if err != nil {
		return jsonfile.Position{}, fmt.Errorf("cannot read how far a log is shipped: %w", err)
	}
	return at, nil
}

// writeCursor replaces the cursor whole. If the machine crashes an old one may be found, which sends lines twice.
func writeCursor(path string, at jsonfile.Position) error {
	data, err := json.Marshal(at)
	if err == nil {
		err = os.WriteFile(path+".new", data, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("cannot note how far a log is shipped: %w", err)
	}
	return nil
}

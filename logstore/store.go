package logstore

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Event is one log event.
type Event struct {
	Stream ID
	Position
	Ingested int64 // milliseconds since 1970
	Message  string
}

// Config of a Store.
type Config struct {
	Dir string
	FS  vfs.FS // where Dir is; the operating system's when nil
	Log *slog.Logger
	// MinFree is how many bytes of the disk no event may take; DefaultMinFree when zero.
	MinFree uint64
}

// DefaultMinFree is how much of the disk stays free of new events.
const DefaultMinFree = 64 << 20

// What the engine may take. Together they are small beside the rest of Havn, and enough for what one machine logs.
const (
	cacheBytes    = 8 << 20
	memtableBytes = 8 << 20
	maxOpenFiles  = 256
	compactions   = 1 // at a time: the cores are for containers
)

// Store is where log events are kept. Its methods are for any number of goroutines.
type Store struct {
	config Config

	mu     sync.Mutex     // held while the engine is opened
	engine *engine        // nil until it is needed
	users  sync.WaitGroup // of the engine
	closed bool           // no user comes any more

	watches watches
}

// ErrClosed is what a store that was closed says.
var ErrClosed = errors.New("the log store is closed")

// Open returns the store in a folder. The engine is opened now if there is one in the folder, so that a folder that
// cannot be read is a failed start; otherwise with the first event, so that a machine without logs pays nothing.
func Open(c Config) (*Store, error) {
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.MinFree == 0 {
		c.MinFree = DefaultMinFree
	}
	s := &Store{config: c}
	e, err := s.open(false)
	if err != nil {
		return nil, err
	}
	e.done()
	return s, nil
}

// open returns the engine; nil when there is none yet and create is not set. Call done of what it returns.
func (s *Store) open(create bool) (*engine, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	if s.engine != nil {
		s.users.Add(1)
		return s.engine, nil
	}
	if !create {
		_, err := s.config.FS.Stat(s.config.FS.PathJoin(s.config.Dir, "LOCK"))
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
	}
	e, err := s.start()
	if err != nil {
		return nil, fmt.Errorf("cannot open the log store in %s: %w", s.config.Dir, err)
	}
	s.engine = e
	s.users.Add(1)
	return e, nil
}

// done says that a user needs the engine no more.
func (e *engine) done() {
	if e != nil {
		e.store.users.Done()
	}
}

func (s *Store) start() (*engine, error) {
	if err := s.config.FS.MkdirAll(s.config.Dir, 0o700); err != nil {
		return nil, err
	}
	options := &pebble.Options{
		FS:                         s.config.FS,
		CacheSize:                  cacheBytes,
		MemTableSize:               memtableBytes,
		MaxOpenFiles:               maxOpenFiles,
		FormatMajorVersion:         pebble.FormatNewest,
		CompactionConcurrencyRange: func() (int, int) { return 1, compactions },
		Logger:                     engineLog{s.config.Log},
	}
	options.Levels[0].Compression = func() *sstable.CompressionProfile { return sstable.FastestCompression }
	for i := 1; i < len(options.Levels); i++ {
		options.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.BalancedCompression }
	}
	db, err := pebble.Open(s.config.Dir, options)
	if err != nil {
		return nil, err
	}
	e, err := newEngine(s, db)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return e, nil
}

// Close ends the store, when the calls that are under way have returned. What was appended stays.
func (s *Store) Close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	s.users.Wait()
	if closed || s.engine == nil {
		return nil
	}
	return s.engine.close()
}

// engineLog is where the engine says what happens to it. Its routine is nobody's business.
type engineLog struct{ log *slog.Logger }

func (l engineLog) Infof(format string, args ...any) {
	l.log.Debug("log store: " + fmt.Sprintf(format, args...))
}

func (l engineLog) Errorf(format string, args ...any) {
	l.log.Error("log store: " + fmt.Sprintf(format, args...))
}

// Fatalf must not return: the engine calls it when it cannot keep what it has promised. What was acknowledged is on the
// disk, and a new process reads it.
func (l engineLog) Fatalf(format string, args ...any) {
	panic("log store: " + fmt.Sprintf(format, args...)) //nolint:forbidigo // see above
}

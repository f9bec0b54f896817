package containerd

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"slices"

	"github.com/containerd/log"
)

// logTo sends what containerd logs to l. Its logger is global to the process, and its debug level would make every
// shim open a second socket, so only what matters comes through.
func logTo(l *slog.Logger) {
	log.L.Logger.SetFormatter(forwarder{l.With("component", "containerd")})
	log.L.Logger.SetOutput(io.Discard)
	log.SetLevel("warn")
}

// forwarder is asked to format each line, and passes it on instead.
type forwarder struct{ to *slog.Logger }

func (f forwarder) Format(e *log.Entry) ([]byte, error) {
	// Its words are for those who run containerd, who are not our users: a task that fails to start is no error of
	// ours.
	level := slog.LevelDebug
	if e.Level < log.WarnLevel { // smaller is worse
		level = slog.LevelWarn
	}
	attrs := make([]any, 0, 2*len(e.Data))
	for _, key := range slices.Sorted(maps.Keys(e.Data)) {
		attrs = append(attrs, key, e.Data[key])
	}
	f.to.Log(context.Background(), level, e.Message, attrs...)
	return nil, nil
}

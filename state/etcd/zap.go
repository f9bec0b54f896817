package etcd

import (
	"context"
	"log/slog"
	"slices"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapTo is a zap logger that passes warnings and worse on to slog. etcd tells much, and little of it matters
// to the owner of a Havn.
func zapTo(to *slog.Logger) *zap.Logger { return zap.New(core{to}) }

// noise is what etcd warns of when a cluster of one starts and stops, and all is well.
var noise = []string{
	"since there are still pending configuration changes to apply", // its clock is quick
	"Failed to detect schema version",                              // nothing is on disk yet
	"failed to update storage version",                             // as above; it tries again
	"failed to lock file",                                          // the oldest file is in use, and is not to be purged
	"failed to update cluster version",                             // stopped too soon for it
	"skipping GoAttach",                                            // as above
	"ignored file in WAL directory",                                // a tail that it cut off and kept after a crash
}

type core struct{ to *slog.Logger }

func (core) Enabled(level zapcore.Level) bool { return level >= zapcore.WarnLevel }

func (c core) With(fields []zapcore.Field) zapcore.Core {
	return core{slog.New(c.to.Handler().WithAttrs(attributes(fields)))}
}

func (c core) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

func (c core) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	if slices.ContainsFunc(noise, func(n string) bool { return strings.Contains(entry.Message, n) }) {
		return nil
	}
	level := slog.LevelWarn
	if entry.Level > zapcore.WarnLevel {
		level = slog.LevelError
	}
	c.to.LogAttrs(context.Background(), level, "etcd: "+entry.Message, attributes(fields)...)
	return nil
}

func (core) Sync() error { return nil }

func attributes(fields []zapcore.Field) []slog.Attr {
	m := zapcore.NewMapObjectEncoder()
	for _, field := range fields {
		field.AddTo(m)
	}
	list := make([]slog.Attr, 0, len(m.Fields))
	for _, field := range fields {
		if value, ok := m.Fields[field.Key]; ok {
			list = append(list, slog.Any(field.Key, value))
		}
	}
	return list
}

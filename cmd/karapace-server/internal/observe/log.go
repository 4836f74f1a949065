// Package observe is what an operator sees: structured logs, metrics and health.
package observe

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/sirupsen/logrus"
)

// Logger writes JSON lines of at least a level, and sends the library's own log the same way. The library has one
// logger for the process, so this is for the program to call, once.
func Logger(w io.Writer, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log_level: %q is none of debug, info, warn, error", level)
	}
	log := slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: l}))
	std := logrus.StandardLogger()
	std.SetOutput(io.Discard)
	std.SetLevel(logrus.InfoLevel)
	if l <= slog.LevelDebug {
		std.SetLevel(logrus.DebugLevel)
	}
	std.ReplaceHooks(logrus.LevelHooks{})
	std.AddHook(bridge{log.With("from", "library")})
	return log, nil
}

// bridge passes the library's log on. Every request is logged by the server already, so the library's notes of what goes
// well are for debugging.
type bridge struct{ log *slog.Logger }

func (bridge) Levels() []logrus.Level { return logrus.AllLevels }

func (b bridge) Fire(e *logrus.Entry) error {
	attrs := make([]slog.Attr, 0, len(e.Data))
	for key, value := range e.Data {
		attrs = append(attrs, slog.String(key, fmt.Sprint(value)))
	}
	ctx := e.Context
	if ctx == nil {
		ctx = context.Background()
	}
	b.log.LogAttrs(ctx, levelOf(e.Level), e.Message, attrs...)
	return nil
}

func levelOf(l logrus.Level) slog.Level {
	switch {
	case l <= logrus.ErrorLevel:
		return slog.LevelError
	case l == logrus.WarnLevel:
		return slog.LevelWarn
	default:
		return slog.LevelDebug
	}
}

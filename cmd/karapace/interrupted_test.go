package main

import (
	"context"
	"os"
	"syscall"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/karapace/karapace/cmd/internal/failure"
)

// What ends for a signal was interrupted, whoever took that for a failure of their own.
func TestInterrupted(t *testing.T) {
	for _, session := range []bool{false, true} {
		p := &program{ctx: t.Context()}
		err := p.working(func(*cli.Context) error {
			if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
				return err
			}
			<-p.ctx.Done()
			err := failure.New(failure.Backend, context.Cause(p.ctx), "karapace doctor")
			if session {
				err = sessionError{err}
			}
			return err
		})(nil)
		if kind, hint := failure.Of(err); exitCode(err) != exitInterrupted || kind != failure.Interrupted || hint != "" {
			t.Errorf("exit code %d, kind %s, hint %q: %v", exitCode(err), kind, hint, err)
		}
	}
}

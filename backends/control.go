package backends

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/internal/envlock"
)

// Running asks the kernel whether the container of a state directory runs, under whatever backend. It takes some
// microseconds and changes nothing; a directory that is not there is a container that does not run.
func Running(stateDir string) (Status, error) {
	s, err := envlock.Query(stateDir)
	if err != nil {
		return Status{}, &Error{Op: "ask for the environment's state", Err: err}
	}
	return Status(s), nil
}

// Stop sends TERM to everything in the container of a state directory, KILL after the grace time, and returns when
// nothing of it is left: no process, no mount. A container that does not run gives ErrNotRunning.
func Stop(ctx context.Context, stateDir string, grace time.Duration) error {
	return control("stop the environment", envlock.Stop(ctx, stateDir, grace))
}

// Signal sends sig to everything in the container of a state directory. A container that does not run gives
// ErrNotRunning.
func Signal(stateDir string, sig unix.Signal) error {
	return control("signal the environment", envlock.Signal(stateDir, sig))
}

// Forget removes the locks of a state directory, once a container whose last session has ended is gone. One that has a
// session gives an *Error of kind Busy.
func Forget(ctx context.Context, stateDir string) error {
	done, err := envlock.Delete(ctx, stateDir)
	if err == nil && !done {
		return &Error{Kind: Busy, Op: "remove the environment's state", Err: errors.New("it is running"), Hint: "stop it first"}
	}
	return control("remove the environment's state", err)
}

// ErrNotRunning says that there is no running container to act on.
var ErrNotRunning = envlock.ErrNotRunning

func control(op string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &Error{Op: op, Err: err}
}

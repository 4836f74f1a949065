package nsproc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/internal/cgroup"
	"github.com/karapace/karapace/backends/internal/envlock"
	"github.com/karapace/karapace/backends/internal/forward"
	"github.com/karapace/karapace/backends/internal/rawproc"
	"github.com/karapace/karapace/backends/internal/tty"
)

// Starter makes a container's first process.
type Starter func(ctx context.Context, lock *envlock.Session) (*Process, error)

// Run runs a session of a container: the first, for which start makes the container, or one more. The command dies with the
// thread that made it, which Go ends only when a goroutine ends that is locked to it: no goroutine of a program that runs
// sessions may. (To lock this one would cost a thread of its own.)
func Run(ctx context.Context, backend string, p *Plan, io backends.Stdio, start Starter) (backends.Exit, error) {
	for again := 0; ; {
		exit, err := p.run(ctx, backend, io, start)
		switch {
		case errors.Is(err, errEnded):
		case sourceReplaced(err) && again < replacements:
			again++
		default:
			return exit, Explain("run in the environment", err)
		}
		p.complete = false // what it was composed of may have been replaced with the container
	}
}

// replacements is how often in a row a source of a mount may be replaced while a container starts.
const replacements = 20

// sourceReplaced tells whether a mount could not be attached. It has been opened by then: its file has lost its name since, as when
// somebody has put another one in its place.
func sourceReplaced(err error) bool {
	var step *rawproc.Error
	return errors.Is(err, ErrReplaced) || errors.As(err, &step) && step.Errno == unix.ENOENT && strings.HasPrefix(step.Label, LabelMount+" /")
}

// ErrReplaced is in the error of a starter for which another program mounts, when that has failed and a source is not what it was.
var ErrReplaced = errors.New("it was replaced while it was being mounted")

// errEnded says that the container ended while it was being joined, or was taken away while it was being started.
var errEnded = errors.New("the container has just ended")

func (p *Plan) run(ctx context.Context, backend string, io backends.Stdio, start Starter) (backends.Exit, error) {
	lock, err := envlock.Acquire(ctx, p.State, p.Waiting)
	if err != nil {
		return backends.Exit{}, err
	}
	defer p.leave(lock)
	if lock.Starting {
		if err := MayStart(p.Container); err != nil {
			return backends.Exit{}, err
		}
		if !lock.InPlace() { // another environment has come into the place of this one, with the same record
			return backends.Exit{}, errEnded
		}
		if lock.Groups, err = p.limit(ctx); err != nil {
			return backends.Exit{}, err
		}
		lock.Profile = p.Profile
		first, err := start(ctx, lock)
		if err != nil { // nobody else knows of them yet
			cgroup.Remove(lock.Groups)
		}
		if err != nil && !lock.InPlace() { // what it was to be made of was taken away
			return backends.Exit{}, errEnded
		}
		if err != nil {
			return backends.Exit{}, Explain("start the environment", err)
		}
		defer first.Release()
		if err := errors.Join(lock.Ready(), first.Go()); err != nil {
			return backends.Exit{}, err
		}
	} else if err := MayJoin(p.Container, lock, backend); err != nil {
		return backends.Exit{}, p.meetOther(ctx, lock, err)
	} else if err := p.reach(ctx, lock.Groups); err != nil {
		return backends.Exit{}, err
	}
	if err := p.Complete(); err != nil {
		return backends.Exit{}, err
	}
	s := &Session{
		Pidfd: lock.Pidfd, Flags: p.Flags,
		Command: Command{
			Process: p.Spec.Process, UserNS: p.Mapping != nil, KeepGroups: p.keepsGroups(), Filter: p.Filter, FilterFlags: p.FilterFlags,
		},
		Groups: cgroup.Inside(lock.Groups), ownSignals: p.OwnSignals,
	}
	exit, err := s.run(ctx, io)
	if err != nil && lock.Ended(ctx, err) {
		return exit, errEnded
	}
	return exit, err
}

// keepsGroups says whether the command keeps the supplementary groups of the caller, as whom it runs.
func (p *Plan) keepsGroups() bool {
	return p.Mapping != nil && p.Spec.Process.User.UID == uint32(unix.Getuid()) && p.Spec.Annotations["run.oci.keep_original_groups"] == "1"
}

// meetOther tells what to do about a container that is another than is wanted: errEnded when its last session has ended already.
func (p *Plan) meetOther(ctx context.Context, lock *envlock.Session, other error) error {
	lock.Close() // or it would be kept from ending
	gone, err := envlock.Delete(ctx, p.State)
	switch {
	case err != nil:
		return err
	case gone:
		return errEnded
	}
	return other
}

// leave gives the session's place up and, when it was the last one of a container with limits, removes their group.
func (p *Plan) leave(lock *envlock.Session) {
	lock.Close()
	if len(lock.Groups) == 0 {
		return
	}
	for range 1000 {
		if envlock.RemoveGroups(p.State, lock.Groups) {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// run executes the command and supervises it until it ends.
func (s *Session) run(ctx context.Context, io backends.Stdio) (backends.Exit, error) {
	stdio, done, err := descriptors(io)
	if err != nil {
		return backends.Exit{}, err
	}
	defer done()
	s.Stdio = stdio
	if s.Process.Terminal {
		s.Size = tty.Size(io.In, io.Out)
	}
	var signals *forward.Signals
	if !s.ownSignals {
		signals = takeSignals(s.Process.Terminal)
	}
	started, err := s.Start()
	if err != nil {
		signals.Stop()
		return backends.Exit{}, err
	}
	return started.supervise(ctx, io, signals)
}

func (s *Started) supervise(ctx context.Context, io backends.Stdio, signals *forward.Signals) (backends.Exit, error) {
	if s.Master < 0 {
		return supervise(ctx, s.Pid, nil, signals)
	}
	user, err := newTerminal(io, s.Master)
	if err != nil {
		signals.Stop()
		unix.Kill(s.Pid, unix.SIGKILL)
		rawproc.Wait(s.Pid)
		return backends.Exit{}, err
	}
	defer user.Close()
	return supervise(ctx, s.Pid, user, signals)
}

// descriptors gives the descriptors of io, with /dev/null for what is nil there, until done.
func descriptors(io backends.Stdio) (fds [3]int, done func(), err error) {
	null := -1
	for i, f := range [...]*os.File{io.In, io.Out, io.Err} {
		if f != nil {
			fds[i] = int(f.Fd())
			continue
		}
		if null < 0 {
			if null, err = unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
				return fds, nil, fmt.Errorf("open %s: %w", os.DevNull, err)
			}
		}
		fds[i] = null
	}
	return fds, func() {
		if null >= 0 {
			unix.Close(null)
		}
	}, nil
}

// MayJoin is the error of a session that finds the container run by another backend, or made with another profile than it
// insists on.
func MayJoin(c *backends.Container, lock *envlock.Session, backend string) error {
	name := cmp.Or(lock.Backend, "another")
	switch {
	case lock.Backend != backend:
		return &backends.Error{
			Kind: backends.Busy, Op: "join the environment", Err: errors.New("it is running under the backend " + name),
			Hint: "use --backend " + name + ", or stop the environment first",
		}
	case c.SameProfile && lock.Profile != c.Profile:
		return &backends.Error{
			Kind: backends.Busy, Op: "join the environment",
			Err:  fmt.Errorf("it is running with the profile %s, and not %s", cmp.Or(lock.Profile, "of another session"), c.Profile),
			Hint: "stop the environment first, or leave out --profile to join it as it is",
		}
	}
	return nil
}

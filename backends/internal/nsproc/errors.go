package nsproc

import (
	"context"
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/internal/cgroup"
	"github.com/karapace/karapace/backends/internal/rawproc"
	"github.com/karapace/karapace/backends/userns"
)

// Labels of the ops whose failures mean more than that the backend failed.
const (
	LabelTarget  = "open mount target"
	LabelSource  = "open mount source"
	LabelMount   = "mount"
	labelExecute = "execute"
	labelCreate  = "create mount target"
	labelChange  = "change directory"
)

func explain(op string, err error) error {
	e := &backends.Error{Op: op, Err: err}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var inner *backends.Error
	if errors.As(err, &inner) {
		e.Kind, e.Hint = inner.Kind, inner.Hint
		return e
	}
	var missing *userns.MissingError
	if errors.As(err, &missing) {
		e.Kind, e.Err, e.Hint = backends.Prerequisite, errors.New(missing.Problem), missing.Remedy
		return e
	}
	if errors.Is(err, cgroup.ErrUnavailable) {
		e.Kind, e.Hint = backends.Prerequisite, "use a host with cgroup version 2 and a systemd user session, or take the limits out of the manifest"
		return e
	}
	var step *rawproc.Error
	if errors.As(err, &step) {
		classify(e, step)
	}
	return e
}

// classify knows what an op's failure means to whoever wanted a command to run.
func classify(e *backends.Error, step *rawproc.Error) {
	switch verb := step.Label; {
	case strings.HasPrefix(verb, labelExecute):
		e.Kind = backends.NotExecutable
		if step.Errno == unix.ENOENT || step.Errno == unix.ENOTDIR {
			e.Kind = backends.NotFound
		}
	case strings.HasPrefix(verb, LabelTarget) && (step.Errno == unix.ELOOP || step.Errno == unix.ENOTDIR || step.Errno == unix.EXDEV):
		e.Hint = "the root file system has a symbolic link or a file where the runtime needs a directory; links there are never followed"
	case strings.HasPrefix(verb, labelChange) && (step.Errno == unix.ENOENT || step.Errno == unix.ENOTDIR):
		e.Hint = "name a directory that is there inside; an environment that runs already has of the host what its first session let in, until it is stopped"
	case strings.HasPrefix(verb, LabelSource) && (step.Errno == unix.ELOOP || step.Errno == unix.ENOTDIR):
		e.Hint = "it has been replaced by a symbolic link or a file since it was looked up, and links are not followed then; try again"
	case strings.HasPrefix(verb, labelCreate) && step.Errno == unix.EROFS:
		e.Hint = "the root file system is read-only and does not have it"
	case strings.HasPrefix(verb, "make mounts") && step.Errno == unix.EPERM:
		e.Kind = backends.Prerequisite
		e.Hint = "a security module restricts user namespaces: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or give karapace an AppArmor profile that allows them"
	case strings.HasPrefix(verb, "mount overlay") && step.Errno == unix.ENOENT:
		e.Hint = "a directory of the root file system is gone, or was lost when the store was copied: karapace verify-store --repair"
	case strings.HasPrefix(verb, "mount overlay") && (step.Errno == unix.EPERM || step.Errno == unix.EINVAL || step.Errno == unix.ENODEV):
		e.Hint = "the kernel must allow overlay mounts in user namespaces (Linux 5.11) and the upper directory's file system must keep user xattrs"
	}
}

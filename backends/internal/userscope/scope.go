// Package userscope has the user's systemd take this process into a part of the control group tree that is the user's own. Who has logged
// in on a console or by ssh is in a group of root's, from which the kernel lets nobody move a process into a group that has been delegated to
// him: only systemd can, which is asked for a scope over the user's message bus (org.freedesktop.systemd1(5), StartTransientUnit).
//
// A scope is named after its container and process, is delegated (Delegate=yes, so that systemd leaves the groups below it alone), and goes when nothing
// is left in it. The process itself is put into a group below it, since a group with processes can have no children with
// controllers.
//
// What is spoken is the little of the D-Bus specification 0.42 that this needs: it would be a large library for one call.
package userscope

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/internal/smallfile"
)

// Host is where things are; tests have their own.
type Host struct {
	Bus  string // the socket of the user's bus; empty when there is none
	Root string // of the cgroup file system, version 2
	Self string // the file that names this process's group
}

// own is the group below a scope in which the process itself is.
const own = "session"

var errNotMoved = errors.New("systemd has made a scope, and this process is not in it")

// Enter puts this process, with all its threads, into a scope of its own.
func (h Host) Enter(ctx context.Context, name string) error {
	if h.Bus == "" {
		return errors.New("there is no user's bus (DBUS_SESSION_BUS_ADDRESS, XDG_RUNTIME_DIR)")
	}
	b, err := dial(h.Bus)
	if err != nil {
		return err
	}
	defer b.close()
	pid := unix.Getpid()
	unit := fmt.Sprintf("%s-%d.scope", name, pid)
	if _, err := b.call(startScope(unit, uint32(pid))); err != nil {
		return fmt.Errorf("ask the user's systemd for a scope: %w", err)
	}
	group, err := h.await(ctx, unit)
	if err != nil {
		return err
	}
	dir := filepath.Join(h.Root, group, own)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("make cgroup: %w", err)
	}
	return enter(dir, pid)
}

func enter(dir string, pid int) error {
	file := filepath.Join(dir, "cgroup.procs")
	fd, err := unix.Open(file, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Write(fd, []byte(strconv.Itoa(pid)))
		err = errors.Join(err, unix.Close(fd))
	}
	if err != nil {
		return fmt.Errorf("enter cgroup %s: %w", dir, err)
	}
	return nil
}

// await waits for systemd to have moved this process, and gives the scope's group. The answer to the call comes before that.
func (h Host) await(ctx context.Context, unit string) (string, error) {
	for end := time.Now().Add(patience); time.Now().Before(end); {
		text, err := smallfile.Read(h.Self)
		if err != nil {
			return "", fmt.Errorf("read own cgroup: %w", err)
		}
		for line := range strings.Lines(string(text)) {
			group, found := strings.CutPrefix(strings.TrimSpace(line), "0::")
			if found && filepath.IsAbs(group) && filepath.Base(group) == unit {
				return filepath.Clean(group), nil
			}
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
	return "", errNotMoved
}

const systemd = "org.freedesktop.systemd1"

// startScope is the call StartTransientUnit(name, mode, properties a(sv), auxiliary units a(sa(sv))).
func startScope(unit string, pid uint32) call {
	return call{systemd, "/org/freedesktop/systemd1", systemd + ".Manager", "StartTransientUnit", "ssa(sv)a(sa(sv))", func(e *encoder) {
		e.string(unit)
		e.string("fail")
		e.array(8, func() {
			e.property("Description", "s", func() { e.string("Karapace, a session in an environment with limits") })
			e.property("Delegate", "b", func() { e.uint32(1) })
			e.property("CollectMode", "s", func() { e.string("inactive-or-failed") })
			e.property("PIDs", "au", func() { e.array(4, func() { e.uint32(pid) }) })
		})
		e.array(8, func() {})
	}}
}

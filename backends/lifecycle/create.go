package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/internal/cgroup"
	"github.com/karapace/karapace/backends/internal/nsproc"
)

// CreateOptions are what the command line adds to a bundle.
type CreateOptions struct {
	Bundle      string // empty: the working directory
	PidFile     string // where the first process's pid is written
	Console     string // path of the socket that the terminal's master is sent to
	PreserveFDs int    // how many descriptors from 3 on the process keeps
	KeepKeyring bool   // the caller's session keyring is kept
	// Terminal takes the terminal's master where there is no Console.
	Terminal func(master int) error
}

// Process is the first process of a container, a child of the caller's until it ends.
type Process struct{ Pid int }

// Create is the create operation. The process is the caller's child, who waits for it or ends.
func (s *Store) Create(ctx context.Context, id string, o CreateOptions) (*Process, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	bundle, err := filepath.Abs(o.Bundle)
	if err != nil {
		return nil, err
	}
	spec, document, err := readDocument(bundle)
	if err != nil {
		return nil, err
	}
	p, err := newPlan(id, bundle, s.path(id), spec)
	if err != nil {
		return nil, err
	}
	for _, w := range p.warnings {
		s.Warn(w)
	}
	p.attr.KeepKeyring = o.KeepKeyring
	if spec.Process != nil && spec.Process.Terminal != (o.Console != "" || o.Terminal != nil) {
		if spec.Process.Terminal {
			return nil, invalid("process.terminal needs a console socket, or a command in the foreground")
		}
		if o.Console != "" {
			return nil, invalid("a console socket is for a process with a terminal, and process.terminal is false")
		}
	}
	c, err := s.make(id)
	if err != nil {
		return nil, err
	}
	defer c.close()
	birth := &birth{container: c, plan: p, document: document, options: o}
	proc, err := birth.start(ctx)
	if err != nil {
		birth.undo(ctx)
		return nil, nsproc.Explain("create "+id, err)
	}
	return proc, nil
}

// make makes the directory of a container, locked.
func (s *Store) make(id string) (*container, error) {
	if err := os.MkdirAll(s.Root, 0o700); err != nil {
		return nil, err
	}
	if err := unix.Mkdir(s.path(id), 0o700); err == unix.EEXIST {
		return nil, fmt.Errorf("there is a container %s already", id)
	} else if err != nil {
		return nil, fmt.Errorf("make %s: %w", s.path(id), err)
	}
	return s.openLocked(id)
}

// birth is a container that is being created.
type birth struct {
	*container
	plan     *plan
	document []byte // as it was read
	options  CreateOptions
	groups   cgroup.Place
	hooked   bool // hooks have been called, so that those after its end are due
	proc     *nsproc.Process
}

func (b *birth) start(ctx context.Context) (*Process, error) {
	runtime.LockOSThread() // the process dies with the thread that made it, until it is known
	defer runtime.UnlockOSThread()
	spec := b.plan.Spec
	var err error
	b.groups, err = cgroup.System().Place(cgroup.Request{
		Path: spec.Linux.CgroupsPath, Name: b.id, Resources: spec.Linux.Resources, Rootless: !nsproc.InitialUserNS(),
	})
	if err != nil {
		return nil, err
	}
	if unmount := b.unmountTarget(); len(b.groups.Made) > 0 || unmount != "" {
		// What a create that is killed leaves is found by delete.
		if err := b.save(recordName, &record{Groups: b.groups, Unmount: unmount}); err != nil {
			return nil, err
		}
	}
	m, err := b.maker()
	if err != nil {
		return nil, err
	}
	defer m.close()
	if b.proc, err = m.describe().Start(ctx); err != nil {
		return nil, err
	}
	err = b.publish()
	if err == nil {
		err = b.proc.Go()
	}
	if err == nil {
		err = b.proc.AwaitClosed() // it outlives its creator from here on
	}
	if err != nil {
		b.proc.Kill()
		b.proc = nil
		return nil, err
	}
	b.proc.Free()
	if b.options.Terminal != nil {
		if err := m.takeMaster(b.options.Terminal); err != nil {
			return nil, err
		}
	}
	return &Process{Pid: b.proc.Pid}, nil
}

// note is the record of the process as it is now.
func (b *birth) note(pid int) {
	_, start := process(pid)
	b.rec = &record{
		Pid: pid, Start: start, Bundle: b.plan.Bundle, Root: b.plan.Rootfs.Dir, Created: time.Now().UTC(), Owner: uint32(unix.Getuid()),
		Annotations: b.plan.Spec.Annotations, Join: b.plan.Flags, UserNS: b.plan.Mapping != nil, Groups: b.groups,
		Hooks: b.plan.Spec.Hooks != nil, Process: b.plan.Spec.Process != nil,
	}
	for _, j := range b.plan.join {
		if j.flag == unix.CLONE_NEWUSER {
			b.rec.UserNS = true
		} else {
			b.rec.Join |= j.flag
		}
	}
	if b.rec.Join&unix.CLONE_NEWNS == 0 {
		b.rec.Unmount = b.plan.Target
	}
}

// publish makes the container known. The record comes last.
func (b *birth) publish() error {
	if err := b.container.write(documentName, b.document); err != nil {
		return err
	}
	b.note(b.proc.Pid)
	if file := b.options.PidFile; file != "" {
		if err := writeFile(file, strconv.Itoa(b.rec.Pid)); err != nil {
			return err
		}
	}
	return b.save(recordName, b.rec)
}

// writeFile writes a file whole or not at all.
func writeFile(file, text string) error {
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".")
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// paused calls the hooks of the create operation (config.md, POSIX-platform Hooks).
func (b *birth) paused(ctx context.Context, pid int) error {
	b.note(pid)
	b.hooked = true
	h := b.plan.Spec.Hooks
	state := b.hookState(rspec.StateCreated)
	//lint:ignore SA1019 it is deprecated, and still asked for
	if err := callHooks(ctx, "prestart", h.Prestart, state, runHook); err != nil {
		return err
	}
	state = b.hookState(rspec.StateCreating)
	if err := callHooks(ctx, "createRuntime", h.CreateRuntime, state, runHook); err != nil {
		return err
	}
	return callHooks(ctx, "createContainer", h.CreateContainer, state, b.inside)
}

// hookState is a container's state for hooks.
func (c *container) hookState(status rspec.ContainerState) *rspec.State {
	return &rspec.State{Version: rspec.Version, ID: c.id, Status: status, Pid: c.rec.Pid, Bundle: c.rec.Bundle, Annotations: c.rec.Annotations}
}

// undo removes everything that a failed Create has made.
func (b *birth) undo(ctx context.Context) {
	if b.proc != nil {
		b.proc.Destroy()
	}
	if b.hooked {
		b.poststop(ctx, b.plan.Spec.Hooks)
	}
	b.discard(b.groups, b.unmountTarget())
}

func (b *birth) unmountTarget() string {
	if b.plan.Flags&unix.CLONE_NEWNS == 0 && !b.plan.joins(unix.CLONE_NEWNS) {
		return b.plan.Target
	}
	return ""
}

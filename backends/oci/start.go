package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/internal/envlock"
	"github.com/karapace/karapace/backends/internal/nsproc"
	"github.com/karapace/karapace/backends/internal/rawproc"
)

// container is a container that is being made.
type container struct {
	*Runtime
	plan    *nsproc.Plan
	initial bool           // it is in the initial user namespace
	pinned  map[int]pinned // by the place among the spec's mounts
}

// start makes the process that becomes the runtime, which makes the container's first process.
func (c *container) start(ctx context.Context, lock *envlock.Session) (*nsproc.Process, error) {
	if err := c.plan.Complete(); err != nil {
		return nil, err
	}
	root, err := nsproc.NewRoot(&c.plan.Rootfs, c.initial)
	if err != nil {
		return nil, err
	}
	defer c.releaseSources()
	if err := c.takeSources(); err != nil {
		return nil, err
	}
	if err := c.writeFiles(); err != nil {
		return nil, err
	}
	log, err := c.newLog()
	if err != nil {
		return nil, err
	}
	defer log.Close()
	mask := rawproc.SignalMask()
	first := &nsproc.First{
		Backend: c.name, Session: lock, State: c.plan.State, Mapping: c.plan.Mapping, Flags: unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		Early: func(p *rawproc.Program) {
			p.Call("make mounts private", unix.SYS_MOUNT, rawproc.Int(0), rawproc.Str("/"), rawproc.Int(0), rawproc.Int(unix.MS_REC|unix.MS_PRIVATE), rawproc.Int(0))
		},
		Late: func(p *rawproc.Program) { c.prepare(p, root) },
		Last: func(p *rawproc.Program, exe int) { c.becomeRuntime(p, exe, mask) },
	}
	proc, err := first.Start(ctx)
	if err != nil {
		err = c.explain(err, log)
	}
	if err != nil || c.name != "youki" || c.plan.Flags&unix.CLONE_NEWNET == 0 {
		return proc, err
	}
	if err := c.loopback(lock); err != nil {
		proc.Kill()
		return nil, err
	}
	return proc, nil
}

// explain says why no container was made: in the runtime's own words where it has begun.
func (c *container) explain(err error, log io.Reader) error {
	var step *rawproc.Error
	died := errors.Is(err, nsproc.ErrDied)
	mounting := died || errors.As(err, &step) && step.Errno == unix.ENOENT && strings.HasPrefix(step.Label, labelPin)
	if died {
		err = c.failure(log)
	}
	if !mounting {
		return err
	}
	if source := c.replaced(); source != "" {
		return &backends.Error{
			Op: "mount " + source, Err: fmt.Errorf("%w: %w", nsproc.ErrReplaced, err), Hint: "try again when nothing writes it all the time",
		}
	}
	return err
}

// loopback does what other runtimes do by themselves.
func (c *container) loopback(lock *envlock.Session) error {
	if err := lock.Find(); err != nil {
		return err
	}
	return nsproc.LoopbackOf(lock.Pidfd, c.plan.Mapping != nil)
}

// prepare mounts what the runtime starts from.
func (c *container) prepare(p *rawproc.Program, root *nsproc.Root) {
	mount := func(label, kind, target string, flags int, options string) {
		flags |= unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
		p.Call(label, unix.SYS_MOUNT, rawproc.Str(kind), rawproc.Str(target), rawproc.Str(kind), rawproc.Int(flags), rawproc.Str(options))
	}
	if hybridCgroups() {
		// A layout that crun refuses. What belongs to another user namespace cannot be unmounted, only covered.
		if c.initial {
			const unified = "/sys/fs/cgroup/unified"
			p.Call("hide "+unified, unix.SYS_UMOUNT2, rawproc.Str(unified), rawproc.Int(unix.MNT_DETACH))
		} else if c.name == "crun" {
			mount("hide the cgroups", "tmpfs", "/sys/fs/cgroup", unix.MS_RDONLY, "mode=755")
		}
	}
	trees := c.clone(p)
	checkTargets(p, root.Mount(p, filepath.Join(c.plan.Bundle, "rootfs")), c.targets())
	mount("mount /proc for the runtime", "proc", "/proc", 0, "")
	mount("mount the runtime's state", "tmpfs", filepath.Join(c.plan.State, stateName), 0, "mode=700")
	c.pin(p, trees)
}

// hybridCgroups says whether the host shows cgroup v2 below a v1 hierarchy.
func hybridCgroups() bool {
	var st unix.Statfs_t
	return unix.Statfs("/sys/fs/cgroup/unified", &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

// targets are the paths of the root file system that a runtime works on.
func (c *container) targets() []string {
	paths := []string{"/dev", "/proc", "/sys", "/run"}
	for _, m := range c.plan.Spec.Mounts {
		paths = append(paths, m.Destination)
	}
	for _, d := range c.plan.Spec.Linux.Devices {
		paths = append(paths, d.Path)
	}
	return paths
}

// checkTargets makes sure that no path has a symbolic link in it. What is missing the runtime makes, beneath what is
// there.
func checkTargets(p *rawproc.Program, root rawproc.Reg, paths []string) {
	for _, path := range paths {
		name := strings.TrimPrefix(filepath.Clean(path), "/")
		if name == "" {
			continue
		}
		op, _ := nsproc.Lookup(p, nsproc.LabelTarget+" /"+name, root, name, unix.O_PATH)
		op.Allow(unix.ENOENT)
	}
}

// initFD is where the container's first process, which the runtime is to execute, is open.
const initFD = 6

// becomeRuntime executes the runtime. It outlives the session that has started it, so that it gets none of that one's
// descriptors.
func (c *container) becomeRuntime(p *rawproc.Program, exe int, mask *uint64) {
	null, log := p.Reg(), p.Reg()
	p.Call("change directory to "+c.plan.Bundle, unix.SYS_CHDIR, rawproc.Str(c.plan.Bundle))
	p.Call("keep descriptor", unix.SYS_DUP3, rawproc.Int(exe), rawproc.Int(initFD), rawproc.Int(0))
	p.Call("open "+os.DevNull, unix.SYS_OPENAT, rawproc.Int(unix.AT_FDCWD), rawproc.Str(os.DevNull), rawproc.Int(unix.O_RDWR|unix.O_CLOEXEC), rawproc.Int(0)).Into(null)
	p.Call("open log", unix.SYS_OPENAT, rawproc.Int(unix.AT_FDCWD), rawproc.Str(c.log()), rawproc.Int(unix.O_WRONLY|unix.O_APPEND|unix.O_CLOEXEC), rawproc.Int(0)).Into(log)
	p.RedirectRegs(null, null, log)
	p.CloseRange(initFD+1, ^uint32(0))
	if c.name == "youki" { // which misses the end of a container that comes before it has begun to wait for it
		early := *mask | 1<<(unix.SIGCHLD-1)
		mask = &early
	}
	p.Unblock(mask)
	p.Call("start "+c.path, unix.SYS_EXECVE, rawproc.Str(c.path), rawproc.Strs(c.args()), rawproc.Strs([]string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "XDG_RUNTIME_DIR=" + filepath.Join(c.plan.State, stateName),
	}))
}

func (c *container) args() []string {
	args, log := []string{c.path}, c.log()
	switch c.name {
	case "crun":
		args, log = append(args, "--cgroup-manager=disabled"), "file:"+log // else what is before a colon is the kind of log
	case "youki":
		args = append(args, "--log-level=error")
	}
	return append(args, "--log="+log, "--log-format=json", "--root="+filepath.Join(c.plan.State, stateName),
		"run", "--bundle="+c.plan.Bundle, "--preserve-fds=4", c.plan.ID)
}

func (c *container) log() string { return filepath.Join(c.plan.State, logName) }

// newLog makes the file that the runtime's messages go to, which crun gives away to the user of its container.
func (c *container) newLog() (*os.File, error) {
	if err := os.Remove(c.log()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove log: %w", err)
	}
	f, err := os.OpenFile(c.log(), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make log: %w", err)
	}
	return f, nil
}

// failure is what the runtime has said before it ended.
func (c *container) failure(log io.Reader) error {
	text, err := io.ReadAll(io.LimitReader(log, logLimit))
	if err != nil {
		return fmt.Errorf("%s has failed: %w", c.name, err)
	}
	if message := lastMessage(string(text)); message != "" {
		return &backends.Error{Op: c.name, Err: errors.New(message)}
	}
	return fmt.Errorf("%s has failed without a message", c.name)
}

// logLimit is how much of a runtime's messages is read, in bytes.
const logLimit = 64 << 10

// lastMessage is the last line of a log, whose lines are JSON objects or plain text.
func lastMessage(log string) string {
	var message string
	for line := range strings.Lines(log) {
		var entry struct{ Msg, Message string }
		text := strings.TrimSpace(line)
		if json.Unmarshal([]byte(line), &entry) == nil {
			text = strings.TrimSpace(entry.Msg + entry.Message)
		}
		if text != "" {
			message = text
		}
	}
	return message
}

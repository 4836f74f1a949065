package namespace

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/internal/envlock"
	"github.com/karapace/karapace/backends/internal/nsproc"
	"github.com/karapace/karapace/backends/internal/pid1"
	"github.com/karapace/karapace/backends/internal/rawproc"
)

// start makes the container's first process.
func start(ctx context.Context, p *nsproc.Plan, lock *envlock.Session) (*nsproc.Process, error) {
	b, err := build(p)
	if err != nil {
		return nil, err
	}
	first := &nsproc.First{
		Backend: Name, Session: lock, State: p.State, Mapping: p.Mapping, Flags: p.Flags,
		Early: b.early, Late: b.late, Last: becomeInit,
	}
	return first.Start(ctx)
}

// becomeInit executes the program of package pid1.
func becomeInit(p *rawproc.Program, exe int) {
	nsproc.DropCaps(p)
	p.Call("become init", unix.SYS_EXECVEAT, rawproc.Int(exe), rawproc.Str(""), rawproc.Strs([]string{pid1.Name}), rawproc.Strs(nil), rawproc.Int(unix.AT_EMPTY_PATH))
}

// build prepares everything that can fail before there is a process.
func build(p *nsproc.Plan) (*builder, error) {
	b := &builder{plan: p, initial: p.Initial()}
	var err error
	if b.rootfs, err = nsproc.NewRoot(&p.Rootfs, b.initial); err != nil {
		return nil, err
	}
	for i := range p.Spec.Mounts {
		m, err := b.parse(&p.Spec.Mounts[i])
		if err == nil {
			err = b.substitute(m)
		}
		if err != nil {
			return nil, fmt.Errorf("mount %s: %w", p.Spec.Mounts[i].Destination, err)
		}
		b.mounts = append(b.mounts, m)
	}
	return b, b.parseDevices()
}

// builder appends the ops that make the root file system.
type builder struct {
	plan    *nsproc.Plan
	initial bool // in the initial user namespace
	*rawproc.Program
	rootfs  *nsproc.Root
	mounts  []*mount
	devices []device
	dev     rawproc.Reg // the container's /dev, when that is a file system of its own
	root    rawproc.Reg
}

// early does what needs the caller's credentials, or none: it opens what is bound from the host.
func (b *builder) early(p *rawproc.Program) {
	b.Program = p
	propagation := uintptr(unix.MS_PRIVATE)
	for _, m := range b.mounts {
		if m.propagation != 0 && m.propagation != unix.MS_PRIVATE {
			propagation = unix.MS_SLAVE
		}
	}
	p.Call("make mounts private", unix.SYS_MOUNT, rawproc.Int(0), rawproc.Str("/"), rawproc.Int(0), rawproc.Int(unix.MS_REC|propagation), rawproc.Int(0))
	b.names()
	if b.plan.Flags&unix.CLONE_NEWNET != 0 {
		nsproc.Loopback(p)
	}
	for _, m := range b.mounts {
		if m.bind {
			b.openSource(m)
		}
	}
	for i := range b.devices {
		b.openDevice(&b.devices[i])
	}
}

func (b *builder) names() {
	for _, n := range []struct {
		what, name string
		nr         uintptr
	}{
		{"set hostname", b.plan.Spec.Hostname, unix.SYS_SETHOSTNAME},
		{"set domainname", b.plan.Spec.Domainname, unix.SYS_SETDOMAINNAME},
	} {
		if n.name != "" {
			b.Call(n.what, n.nr, rawproc.Str(n.name), rawproc.Int(len(n.name)))
		}
	}
}

// late makes the root file system, as root of the container, and moves into it.
func (b *builder) late(p *rawproc.Program) {
	spec := b.plan.Spec
	b.root = b.rootfs.Mount(p, filepath.Join(b.plan.Bundle, "rootfs"))
	for _, m := range b.mounts {
		b.mount(m)
	}
	if b.dev != 0 {
		b.fillDev()
	}
	for name, value := range spec.Linux.Sysctl {
		b.sysctl(name, value)
	}
	b.readonlyPaths(spec.Linux.ReadonlyPaths)
	b.maskedPaths(spec.Linux.MaskedPaths)
	if spec.Root.Readonly {
		b.setAttr("make the root read-only", b.root, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}, 0)
	}
	b.pivot()
}

// pivot makes the new root the only one (pivot_root(2), the last of its notes).
func (b *builder) pivot() {
	b.Call("enter the root", unix.SYS_FCHDIR, rawproc.R(b.root))
	b.Call("pivot root", unix.SYS_PIVOT_ROOT, rawproc.Str("."), rawproc.Str("."))
	b.Call("drop the old root", unix.SYS_UMOUNT2, rawproc.Str("."), rawproc.Int(unix.MNT_DETACH))
	b.Call("change directory to /", unix.SYS_CHDIR, rawproc.Str("/"))
}

func (b *builder) sysctl(name, value string) {
	path := "proc/sys/" + strings.ReplaceAll(name, ".", "/")
	_, fd := nsproc.Lookup(b.Program, "open sysctl "+name, b.root, path, unix.O_WRONLY)
	b.Call("set sysctl "+name, unix.SYS_WRITE, rawproc.R(fd), rawproc.Str(value), rawproc.Int(len(value)))
}

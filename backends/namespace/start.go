package namespace

import (
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
func (p *plan) start(lock *envlock.Session) (*nsproc.Process, error) {
	exe, err := pid1.File(p.c.State)
	if err != nil {
		return nil, err
	}
	if exe, err = rawproc.High(exe); err != nil {
		return nil, err
	}
	defer unix.Close(exe)
	p.initial = p.c.Mapping == nil && nsproc.InitialUserNS()
	b, err := p.build()
	if err != nil {
		return nil, err
	}
	first := &nsproc.First{
		Backend: Name, Session: lock, Mapping: p.c.Mapping, Flags: p.flags, Keep: []int{exe},
		Early: b.early, Late: b.late,
		Last: func(prog *rawproc.Program, lock, sessions, control int) {
			becomeInit(prog, exe, lock, sessions, control)
		},
	}
	return first.Start()
}

// becomeInit executes the program of package pid1.
func becomeInit(p *rawproc.Program, exe, lock, sessions, control int) {
	nsproc.DropCaps(p)
	for _, fd := range [...][2]int{{lock, pid1.LockFD}, {sessions, pid1.SessionsFD}, {control, pid1.ControlFD}} {
		p.Call("keep descriptor", unix.SYS_DUP3, rawproc.Int(fd[0]), rawproc.Int(fd[1]), rawproc.Int(0))
	}
	p.Call("close descriptor", unix.SYS_CLOSE, rawproc.Int(lock))
	nsproc.HoldLock(p, pid1.LockFD)
	p.Call("become init", unix.SYS_EXECVEAT, rawproc.Int(exe), rawproc.Str(""), rawproc.Strs([]string{pid1.Name}), rawproc.Strs(nil), rawproc.Int(unix.AT_EMPTY_PATH))
}

// build prepares everything that can fail before there is a process.
func (p *plan) build() (*builder, error) {
	b := &builder{plan: p}
	var err error
	if b.rootfs, err = nsproc.NewRoot(&p.c.Rootfs, p.initial); err != nil {
		return nil, err
	}
	for i := range p.c.Spec.Mounts {
		m, err := b.parse(&p.c.Spec.Mounts[i])
		if err == nil {
			err = b.substitute(m)
		}
		if err != nil {
			return nil, fmt.Errorf("mount %s: %w", p.c.Spec.Mounts[i].Destination, err)
		}
		b.mounts = append(b.mounts, m)
	}
	return b, b.parseDevices()
}

// builder appends the ops that make the root file system.
type builder struct {
	*plan
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
	if b.flags&unix.CLONE_NEWNET != 0 {
		b.loopback()
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
		{"set hostname", b.c.Spec.Hostname, unix.SYS_SETHOSTNAME},
		{"set domainname", b.c.Spec.Domainname, unix.SYS_SETDOMAINNAME},
	} {
		if n.name != "" {
			b.Call(n.what, n.nr, rawproc.Str(n.name), rawproc.Int(len(n.name)))
		}
	}
}

// loopback brings the interface lo up, the only one in a new network namespace (netdevice(7)).
func (b *builder) loopback() {
	var req struct {
		name  [unix.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	copy(req.name[:], "lo")
	req.flags = unix.IFF_UP | unix.IFF_RUNNING
	sock := b.Reg()
	b.Call("open socket", unix.SYS_SOCKET, rawproc.Int(unix.AF_INET), rawproc.Int(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC), rawproc.Int(0)).Into(sock)
	b.Call("bring loopback up", unix.SYS_IOCTL, rawproc.R(sock), rawproc.Int(unix.SIOCSIFFLAGS), rawproc.Value(&req))
}

// late makes the root file system, as root of the container, and moves into it.
func (b *builder) late(p *rawproc.Program) {
	spec := b.c.Spec
	b.root = b.rootfs.Mount(p, filepath.Join(b.c.Bundle, "rootfs"))
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

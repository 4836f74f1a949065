// Package rootfs makes the root file system that a runtime document describes, as steps of a program of system calls
// (package rawproc): the root itself, mounts, devices, sysctls, read-only and masked paths, and the way in.
//
// # Life cycle
//
//	New      reads the document and everything on the host that can be wrong before there is a process
//	Early    opens what is bound from the host, with the credentials of the caller
//	Prepare  mounts everything below the target directory, as root of the container
//	Enter    makes the result the root, the only one where there is a mount namespace
//
// # Invariants
//
// Every path of the root file system is looked up beneath it, and a symbolic link on the way is an error. Nothing is
// attached outside of the target directory, and without a mount namespace of the container's own all of it goes with the
// one mount there.
package rootfs

import (
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/internal/nsproc"
	"github.com/karapace/karapace/backends/internal/rawproc"
)

// Builder appends the ops that make the root file system.
type Builder struct {
	plan    *nsproc.Plan
	initial bool // in the initial user namespace
	*rawproc.Program
	rootfs      *nsproc.Root
	mounts      []*mount
	devices     []device
	dev         rawproc.Reg // the container's /dev, when that is a file system of its own
	root        rawproc.Reg
	propagation uintptr
}

// New prepares everything that can fail before there is a process.
func New(p *nsproc.Plan) (*Builder, error) {
	b := &Builder{plan: p, initial: p.Initial()}
	var err error
	if b.rootfs, err = nsproc.NewRoot(&p.Rootfs, b.initial); err != nil {
		return nil, err
	}
	if b.propagation, err = rootPropagation(p.Spec.Linux.RootfsPropagation); err != nil {
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

// rootPropagation reads linux.rootfsPropagation; 0 is none.
func rootPropagation(name string) (uintptr, error) {
	if name == "" {
		return 0, nil
	}
	kind, recursive := propagationOf(name)
	if kind == 0 {
		return 0, invalid("the root's propagation " + name + " does not exist")
	}
	if recursive {
		return uintptr(kind) | unix.MS_REC, nil
	}
	return uintptr(kind), nil
}

func (b *Builder) ownMounts() bool { return b.plan.Flags&unix.CLONE_NEWNS != 0 }

// Early does what needs the caller's credentials, or none: it opens what is bound from the host.
func (b *Builder) Early(p *rawproc.Program) {
	b.Program = p
	shared := false // with what is on the host, as long as that has not been left
	propagation := uintptr(unix.MS_PRIVATE)
	for _, m := range b.mounts {
		if m.propagation != 0 && m.propagation != unix.MS_PRIVATE {
			propagation = unix.MS_SLAVE
		}
		shared = shared || b.shares(m)
	}
	if b.propagation&(unix.MS_SLAVE|unix.MS_SHARED) != 0 {
		propagation = unix.MS_SLAVE
	}
	if shared {
		b.openSources()
	}
	if b.ownMounts() {
		p.Call("make mounts private", unix.SYS_MOUNT, rawproc.Int(0), rawproc.Str("/"), rawproc.Int(0), rawproc.Int(unix.MS_REC|propagation), rawproc.Int(0))
	}
	b.names()
	if b.plan.Flags&unix.CLONE_NEWNET != 0 {
		nsproc.Loopback(p)
	}
	if !shared {
		b.openSources()
	}
	if b.initial {
		return
	}
	for i := range b.devices {
		b.openDevice(&b.devices[i])
	}
}

func (b *Builder) openSources() {
	for _, m := range b.mounts {
		if m.bind {
			b.openSource(m)
		}
	}
}

func (b *Builder) names() {
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

// Prepare makes the root file system, as root of the container.
func (b *Builder) Prepare(p *rawproc.Program) {
	spec := b.plan.Spec
	b.root = b.rootfs.Mount(p, b.plan.Target)
	for _, m := range b.mounts {
		b.mount(m)
	}
	if b.ensureDev(); b.dev != 0 {
		b.fillDev()
	}
	for name, value := range spec.Linux.Sysctl {
		b.sysctl(name, value)
	}
	b.readonlyPaths(spec.Linux.ReadonlyPaths)
	b.maskedPaths(spec.Linux.MaskedPaths)
}

// Root is the root file system's register, once that is prepared.
func (b *Builder) Root() rawproc.Reg { return b.root }

// Dev is the register of the container's /dev, 0 when the runtime has nothing to put there.
func (b *Builder) Dev() rawproc.Reg { return b.dev }

// Enter makes the new root the only one (pivot_root(2), the last of its notes). Without a mount namespace of the
// container's own there is only chroot(2).
func (b *Builder) Enter(p *rawproc.Program) {
	b.Program = p
	if b.plan.Spec.Root.Readonly {
		b.setAttr("make the root read-only", b.root, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}, 0)
	}
	b.Call("enter the root", unix.SYS_FCHDIR, rawproc.R(b.root))
	if b.ownMounts() {
		b.Call("pivot root", unix.SYS_PIVOT_ROOT, rawproc.Str("."), rawproc.Str("."))
		b.Call("drop the old root", unix.SYS_UMOUNT2, rawproc.Str("."), rawproc.Int(unix.MNT_DETACH))
	} else {
		b.Call("change root", unix.SYS_CHROOT, rawproc.Str("."))
	}
	b.Call("change directory to /", unix.SYS_CHDIR, rawproc.Str("/"))
	if b.propagation != 0 && b.ownMounts() {
		b.Call("set the root's propagation", unix.SYS_MOUNT, rawproc.Int(0), rawproc.Str("/"), rawproc.Int(0), rawproc.Int(b.propagation), rawproc.Int(0))
	}
}

func (b *Builder) sysctl(name, value string) {
	path := "proc/sys/" + strings.ReplaceAll(name, ".", "/")
	_, fd := nsproc.Lookup(b.Program, "open sysctl "+name, b.root, filepath.Clean(path), unix.O_WRONLY)
	b.Call("set sysctl "+name, unix.SYS_WRITE, rawproc.R(fd), rawproc.Str(value), rawproc.Int(len(value)))
}

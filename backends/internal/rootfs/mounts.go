package rootfs

import (
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/internal/nsproc"
	"github.com/karapace/karapace/backends/internal/rawproc"
)

// mount is one entry of the spec's mounts.
type mount struct {
	target        string
	fstype        string // of a new file system
	source        string
	bind          bool // of source, instead of a new file system
	recursive     bool
	file          bool           // source is no directory
	attr          unix.MountAttr // of the mount itself
	deep          unix.MountAttr // of everything below it too
	propagation   uint64
	propagateDeep bool // for everything below too
	data          []string
	fd            rawproc.Reg // of the mount that is not attached yet
}

// substitute replaces what this user namespace may not mount by the host's own, and checks what is bound.
func (b *Builder) substitute(m *mount) error {
	switch {
	case m.bind:
	case m.fstype == "sysfs" && !b.mayMount(unix.CLONE_NEWNET):
		m.bindHost("/sys")
	case m.fstype == "proc" && !b.mayMount(unix.CLONE_NEWPID):
		m.bindHost("/proc")
	case m.fstype == "mqueue" && !b.mayMount(unix.CLONE_NEWIPC):
		m.bindHost("/dev/mqueue")
	case m.fstype == "cgroup" || m.fstype == "cgroup2":
		m.fstype = "cgroup2"
		if !unified() || b.plan.Flags&unix.CLONE_NEWCGROUP == 0 {
			m.bindHost("/sys/fs/cgroup")
			m.deep.Attr_set |= unix.MOUNT_ATTR_RDONLY
		}
	}
	if !m.bind {
		return nil
	}
	if !filepath.IsAbs(m.source) {
		m.source = filepath.Join(b.plan.Bundle, m.source)
	}
	var st unix.Stat_t
	if err := unix.Stat(m.source, &st); err != nil {
		return fmt.Errorf("open %s: %w", m.source, err)
	}
	m.file = st.Mode&unix.S_IFMT != unix.S_IFDIR
	return nil
}

// mayMount says whether the file system that shows a namespace may be mounted here.
func (b *Builder) mayMount(namespace uintptr) bool { return b.initial || b.plan.Owned&namespace != 0 }

func (m *mount) bindHost(source string) {
	m.bind, m.recursive, m.source, m.data = true, true, source, nil
}

// unified says whether the host has nothing but cgroup v2.
func unified() bool {
	var st unix.Statfs_t
	return unix.Statfs("/sys/fs/cgroup", &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

// openSource opens what is bound, as the caller, who may reach what root of the container may not. Where the document is
// ours its source has been resolved, and what has become a link since is refused. In a document from outside the mount is made in its turn, for the order in which mounts are seen is that in which they were made.
func (b *Builder) openSource(m *mount) {
	if b.plan.Foreign && !b.shares(m) {
		m.fd = b.Reg()
		b.Call("open "+m.source, unix.SYS_OPENAT, rawproc.Int(unix.AT_FDCWD), rawproc.Str(m.source), rawproc.Int(unix.O_PATH|unix.O_CLOEXEC), rawproc.Int(0)).Into(m.fd)
		return
	}
	if b.plan.Foreign {
		b.cloneSource(m, rawproc.Int(unix.AT_FDCWD), m.source)
		return
	}
	b.cloneSource(m, rawproc.R(nsproc.Source(b.Program, m.source, !m.file)), "")
}

// shares says whether a mount is to be shared with the host.
func (b *Builder) shares(m *mount) bool {
	return m.bind && m.propagation == unix.MS_SHARED && (!b.plan.Foreign || b.propagation&unix.MS_SHARED != 0)
}

// cloneSource makes the mount of what is bound, which is not attached yet.
func (b *Builder) cloneSource(m *mount, dir rawproc.Arg, path string) {
	m.fd = nsproc.CloneTree(b.Program, "open "+m.source, dir, path, m.recursive)
	attrFlags := uint32(unix.AT_RECURSIVE)
	attr := m.deep
	attr.Propagation = unix.MS_PRIVATE
	if m.propagation != 0 {
		attr.Propagation = m.propagation
	}
	if m.propagation != 0 && !m.propagateDeep {
		m.attr.Propagation, attr.Propagation = m.propagation, unix.MS_PRIVATE
		if m.propagation == unix.MS_SHARED || m.propagation == unix.MS_SLAVE {
			attr.Propagation = 0 // what has left a group of peers does not come back
		}
	}
	b.setAttr("set mount options of "+m.source, m.fd, attr, attrFlags)
	if m.attr == (unix.MountAttr{}) {
		return
	}
	label := "set mount options of " + m.source
	if atime := uint64(unix.MOUNT_ATTR__ATIME | unix.MOUNT_ATTR_NODIRATIME); b.plan.Foreign && !b.initial && m.attr.Attr_set&atime != 0 {
		// How a mount of the host keeps access times is locked in a user namespace.
		b.setAttr(label, m.fd, m.attr, 0).Allow(unix.EPERM).SkipIfOK(1)
		m.attr.Attr_set &^= atime
	}
	b.setAttr(label, m.fd, m.attr, 0)
}

func (b *Builder) setAttr(label string, fd rawproc.Reg, attr unix.MountAttr, flags uint32) *rawproc.Op {
	if attr.Attr_set&unix.MOUNT_ATTR__ATIME != 0 {
		attr.Attr_clr |= unix.MOUNT_ATTR__ATIME
	}
	return b.Call(label, unix.SYS_MOUNT_SETATTR, rawproc.R(fd), rawproc.Str(""), rawproc.Int(unix.AT_EMPTY_PATH|flags), rawproc.Value(&attr), rawproc.Int(unix.MOUNT_ATTR_SIZE_VER0))
}

// mount attaches a mount to its target beneath the root.
func (b *Builder) mount(m *mount) {
	if m.bind && b.plan.Foreign && !b.shares(m) {
		b.cloneSource(m, rawproc.R(m.fd), "")
	}
	if !m.bind {
		m.fd = b.newFS(m)
		if b.plan.Foreign && m.propagation != 0 {
			b.setAttr("set mount options of "+m.target, m.fd, unix.MountAttr{Propagation: m.propagation}, 0)
		}
	}
	target := b.target(m.target, !m.file)
	b.attach(nsproc.LabelMount+" "+m.target, m.fd, target)
	if m.fstype == "mqueue" && !m.bind && b.plan.Mapping != nil {
		// Its root was made with the namespace, before anybody was root in it.
		_, fd := b.lookup("open "+m.target, m.target, unix.O_PATH)
		b.Call("chown "+m.target, unix.SYS_FCHOWNAT, rawproc.R(fd), rawproc.Str(""), rawproc.Int(0), rawproc.Int(0), rawproc.Int(unix.AT_EMPTY_PATH)).Allow(b.mayFail()...)
	}
	if filepath.Clean(m.target) == "/dev" && m.fstype == "tmpfs" && !m.bind {
		_, b.dev = nsproc.Lookup(b.Program, "open /dev", b.root, "dev", unix.O_PATH|unix.O_DIRECTORY)
	}
}

// mayFail is what giving a new namespace's file system to root of the container may fail with: one that the machine's
// root has made belongs to that, who need not exist in the container.
func (b *Builder) mayFail() []unix.Errno {
	if b.plan.Foreign {
		return []unix.Errno{unix.EPERM, unix.EINVAL, unix.EOVERFLOW}
	}
	return nil
}

// target opens a mount target; below a /dev of the container's own from there, since nothing above it can be missing.
func (b *Builder) target(path string, dir bool) rawproc.Reg {
	if rest, ok := strings.CutPrefix(filepath.Clean(path), "/dev/"); ok && b.dev != 0 {
		return nsproc.Target(b.Program, b.dev, rest, path, dir, nsproc.Beneath)
	}
	return nsproc.Target(b.Program, b.root, path, path, dir, b.resolve(path))
}

// resolve says how a path of the container is looked up. Links are followed in a document from outside, as within the
// container, but never where processes and devices are expected.
func (b *Builder) resolve(path string) uint64 {
	if !b.plan.Foreign {
		return nsproc.Beneath
	}
	for _, dir := range [...]string{"/proc", "/sys", "/dev"} {
		if path = filepath.Clean("/" + path); path == dir || strings.HasPrefix(path, dir+"/") {
			return nsproc.Beneath
		}
	}
	return nsproc.Inside
}

// lookup opens a path of the container.
func (b *Builder) lookup(label, path string, flags uint64) (*rawproc.Op, rawproc.Reg) {
	return nsproc.LookupBy(b.Program, label, b.root, strings.TrimPrefix(filepath.Clean("/"+path), "/"), flags, b.resolve(path))
}

func (b *Builder) attach(label string, fd, target rawproc.Reg) *rawproc.Op {
	return b.Call(label, unix.SYS_MOVE_MOUNT, rawproc.R(fd), rawproc.Str(""), rawproc.R(target), rawproc.Str(""), rawproc.Int(unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH))
}

// newFS makes a file system that is not attached anywhere (fsopen(2)).
func (b *Builder) newFS(m *mount) rawproc.Reg {
	label := "mount " + m.target
	ctx, fd := b.Reg(), b.Reg()
	b.Call(label, unix.SYS_FSOPEN, rawproc.Str(m.fstype), rawproc.Int(unix.FSOPEN_CLOEXEC)).Into(ctx)
	source := m.source
	if source == "" {
		source = m.fstype
	}
	for _, option := range append([]string{"source=" + source}, m.data...) {
		b.fsOption(label, ctx, option)
	}
	b.Call(label, unix.SYS_FSCONFIG, rawproc.R(ctx), rawproc.Int(unix.FSCONFIG_CMD_CREATE), rawproc.Int(0), rawproc.Int(0), rawproc.Int(0))
	b.Call(label, unix.SYS_FSMOUNT, rawproc.R(ctx), rawproc.Int(unix.FSMOUNT_CLOEXEC), rawproc.Int(m.attr.Attr_set|m.deep.Attr_set)).Into(fd)
	return fd
}

func (b *Builder) fsOption(label string, ctx rawproc.Reg, option string) {
	label += " (" + option + ")"
	key, value, ok := strings.Cut(option, "=")
	if !ok {
		b.Call(label, unix.SYS_FSCONFIG, rawproc.R(ctx), rawproc.Int(unix.FSCONFIG_SET_FLAG), rawproc.Str(key), rawproc.Int(0), rawproc.Int(0))
		return
	}
	b.Call(label, unix.SYS_FSCONFIG, rawproc.R(ctx), rawproc.Int(unix.FSCONFIG_SET_STRING), rawproc.Str(key), rawproc.Str(value), rawproc.Int(0))
}

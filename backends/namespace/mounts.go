package namespace

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/internal/nsproc"
	"github.com/karapace/karapace/backends/internal/rawproc"
)

// mount is one entry of the spec's mounts.
type mount struct {
	target      string
	fstype      string // of a new file system
	source      string
	bind        bool // of source, instead of a new file system
	recursive   bool
	file        bool // source is no directory
	attr        unix.MountAttr
	propagation uint64
	data        []string
	fd          rawproc.Reg // of the mount that is not attached yet
}

// flagOptions are the mount options that are attributes of a mount: set or cleared.
type flagOption struct {
	name  string
	set   uint64
	clear uint64
}

func flagOptions() []flagOption {
	return []flagOption{
		{"ro", unix.MOUNT_ATTR_RDONLY, 0}, {"rw", 0, unix.MOUNT_ATTR_RDONLY},
		{"nosuid", unix.MOUNT_ATTR_NOSUID, 0}, {"suid", 0, unix.MOUNT_ATTR_NOSUID},
		{"nodev", unix.MOUNT_ATTR_NODEV, 0}, {"dev", 0, unix.MOUNT_ATTR_NODEV},
		{"noexec", unix.MOUNT_ATTR_NOEXEC, 0}, {"exec", 0, unix.MOUNT_ATTR_NOEXEC},
		{"noatime", unix.MOUNT_ATTR_NOATIME, unix.MOUNT_ATTR__ATIME},
		{"strictatime", unix.MOUNT_ATTR_STRICTATIME, unix.MOUNT_ATTR__ATIME},
		{"relatime", 0, unix.MOUNT_ATTR__ATIME},
		{"nodiratime", unix.MOUNT_ATTR_NODIRATIME, 0}, {"diratime", 0, unix.MOUNT_ATTR_NODIRATIME},
		{"nosymfollow", unix.MOUNT_ATTR_NOSYMFOLLOW, 0}, {"symfollow", 0, unix.MOUNT_ATTR_NOSYMFOLLOW},
		{"defaults", 0, 0}, {"async", 0, 0}, {"remount", 0, 0},
	}
}

func propagationOf(option string) uint64 {
	switch strings.TrimPrefix(option, "r") {
	case "private":
		return unix.MS_PRIVATE
	case "slave":
		return unix.MS_SLAVE
	case "shared":
		return unix.MS_SHARED
	}
	if option == "unbindable" || option == "runbindable" {
		return unix.MS_UNBINDABLE
	}
	return 0
}

// parse turns a mount of the spec (config.md, Mounts) into ours.
func (b *builder) parse(m *rspec.Mount) (*mount, error) {
	if len(m.UIDMappings)+len(m.GIDMappings) > 0 {
		return nil, invalid("id-mapped mounts are not supported")
	}
	out := &mount{target: m.Destination, fstype: m.Type, source: m.Source}
	flags := flagOptions()
	for _, option := range m.Options {
		if option == "bind" || option == "rbind" {
			out.bind, out.recursive = true, option == "rbind"
		} else if p := propagationOf(option); p != 0 {
			out.propagation = p
		} else if i := slices.IndexFunc(flags, func(f flagOption) bool { return f.name == option }); i >= 0 {
			out.attr.Attr_set = out.attr.Attr_set&^flags[i].clear | flags[i].set
		} else {
			out.data = append(out.data, option)
		}
	}
	if m.Type == "bind" && !out.bind {
		out.bind, out.recursive = true, true
	}
	switch {
	case !out.bind && out.fstype == "":
		return nil, invalid("it has no type")
	case out.bind && len(out.data) > 0:
		return nil, invalid("a bind mount has no option " + out.data[0])
	}
	return out, nil
}

func invalid(text string) error {
	return &backends.Error{Kind: backends.Invalid, Err: errors.New(text)}
}

// substitute replaces what this user namespace may not mount by the host's own, and checks what is bound.
func (b *builder) substitute(m *mount) error {
	switch {
	case m.bind:
	case m.fstype == "sysfs" && !b.initial && b.plan.Flags&unix.CLONE_NEWNET == 0:
		m.bindHost("/sys")
	case m.fstype == "cgroup" || m.fstype == "cgroup2":
		m.fstype = "cgroup2"
		if !unified() || b.plan.Flags&unix.CLONE_NEWCGROUP == 0 {
			m.bindHost("/sys/fs/cgroup")
			m.attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
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

func (m *mount) bindHost(source string) {
	m.bind, m.recursive, m.source, m.data = true, true, source, nil
}

// unified says whether the host has nothing but cgroup v2.
func unified() bool {
	var st unix.Statfs_t
	return unix.Statfs("/sys/fs/cgroup", &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

// openSource opens what is bound, as the caller, who may reach what root of the container may not.
func (b *builder) openSource(m *mount) {
	m.fd = b.Reg()
	tree := func(flags uint32) *rawproc.Op {
		return b.Call("open "+m.source, unix.SYS_OPEN_TREE, rawproc.Int(unix.AT_FDCWD), rawproc.Str(m.source), rawproc.Int(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|flags)).Into(m.fd)
	}
	attrFlags := uint32(unix.AT_RECURSIVE)
	if !m.recursive {
		// In a user namespace a mount must not lay open what others cover on it.
		tree(0).Allow(unix.EINVAL).SkipIfOK(1)
	}
	tree(unix.AT_RECURSIVE)
	attr := m.attr
	attr.Propagation = m.propagation
	if attr.Propagation == 0 {
		attr.Propagation = unix.MS_PRIVATE
	}
	b.setAttr("set mount options of "+m.source, m.fd, attr, attrFlags)
}

func (b *builder) setAttr(label string, fd rawproc.Reg, attr unix.MountAttr, flags uint32) {
	if attr.Attr_set&unix.MOUNT_ATTR__ATIME != 0 {
		attr.Attr_clr |= unix.MOUNT_ATTR__ATIME
	}
	b.Call(label, unix.SYS_MOUNT_SETATTR, rawproc.R(fd), rawproc.Str(""), rawproc.Int(unix.AT_EMPTY_PATH|flags), rawproc.Value(&attr), rawproc.Int(unix.MOUNT_ATTR_SIZE_VER0))
}

// mount attaches a mount to its target beneath the root.
func (b *builder) mount(m *mount) {
	if !m.bind {
		m.fd = b.newFS(m)
	}
	target := b.target(m.target, !m.file)
	b.attach("mount "+m.target, m.fd, target)
	if m.fstype == "mqueue" && b.plan.Mapping != nil {
		// Its root was made with the namespace, before anybody was root in it.
		_, fd := nsproc.Lookup(b.Program, "open "+m.target, b.root, strings.TrimPrefix(m.target, "/"), unix.O_PATH)
		b.Call("chown "+m.target, unix.SYS_FCHOWNAT, rawproc.R(fd), rawproc.Str(""), rawproc.Int(0), rawproc.Int(0), rawproc.Int(unix.AT_EMPTY_PATH))
	}
	if filepath.Clean(m.target) == "/dev" && m.fstype == "tmpfs" {
		_, b.dev = nsproc.Lookup(b.Program, "open /dev", b.root, "dev", unix.O_PATH|unix.O_DIRECTORY)
	}
}

// target opens a mount target; below a /dev of the container's own from there, since nothing above it can be missing.
func (b *builder) target(path string, dir bool) rawproc.Reg {
	if rest, ok := strings.CutPrefix(filepath.Clean(path), "/dev/"); ok && b.dev != 0 {
		return nsproc.Target(b.Program, b.dev, rest, path, dir)
	}
	return nsproc.Target(b.Program, b.root, path, path, dir)
}

func (b *builder) attach(label string, fd, target rawproc.Reg) *rawproc.Op {
	return b.Call(label, unix.SYS_MOVE_MOUNT, rawproc.R(fd), rawproc.Str(""), rawproc.R(target), rawproc.Str(""), rawproc.Int(unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH))
}

// newFS makes a file system that is not attached anywhere (fsopen(2)).
func (b *builder) newFS(m *mount) rawproc.Reg {
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
	b.Call(label, unix.SYS_FSMOUNT, rawproc.R(ctx), rawproc.Int(unix.FSMOUNT_CLOEXEC), rawproc.Int(m.attr.Attr_set)).Into(fd)
	return fd
}

func (b *builder) fsOption(label string, ctx rawproc.Reg, option string) {
	label += " (" + option + ")"
	key, value, ok := strings.Cut(option, "=")
	if !ok {
		b.Call(label, unix.SYS_FSCONFIG, rawproc.R(ctx), rawproc.Int(unix.FSCONFIG_SET_FLAG), rawproc.Str(key), rawproc.Int(0), rawproc.Int(0))
		return
	}
	b.Call(label, unix.SYS_FSCONFIG, rawproc.R(ctx), rawproc.Int(unix.FSCONFIG_SET_STRING), rawproc.Str(key), rawproc.Str(value), rawproc.Int(0))
}

// readonlyPaths binds paths over themselves, read-only. What is not there need not be protected.
func (b *builder) readonlyPaths(paths []string) {
	for _, path := range paths {
		label := "make " + path + " read-only"
		open, target := nsproc.Lookup(b.Program, label, b.root, strings.TrimPrefix(path, "/"), unix.O_PATH)
		start := b.Len()
		copied := b.Reg()
		b.Call(label, unix.SYS_OPEN_TREE, rawproc.R(target), rawproc.Str(""), rawproc.Int(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|unix.AT_RECURSIVE)).Into(copied)
		b.setAttr(label, copied, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}, unix.AT_RECURSIVE)
		b.attach(label, copied, target)
		open.Allow(unix.ENOENT, unix.ENOTDIR).SkipIfErr(b.Len() - start)
	}
}

// maskedPaths covers files by /dev/null and directories by an empty read-only file system.
func (b *builder) maskedPaths(paths []string) {
	for _, path := range paths {
		label := "mask " + path
		open, target := nsproc.Lookup(b.Program, label, b.root, strings.TrimPrefix(path, "/"), unix.O_PATH)
		start := b.Len()
		null := b.Reg()
		b.Call(label, unix.SYS_OPEN_TREE, rawproc.Int(unix.AT_FDCWD), rawproc.Str("/dev/null"), rawproc.Int(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)).Into(null)
		covered := b.attach(label, null, target)
		empty := b.Len()
		fs := &mount{target: path, fstype: "tmpfs", data: []string{"size=0", "nr_inodes=1"}}
		fs.attr.Attr_set = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
		b.attach(label, b.newFS(fs), target)
		covered.Allow(unix.ENOTDIR, unix.EINVAL).SkipIfOK(b.Len() - empty)
		open.Allow(unix.ENOENT, unix.ENOTDIR).SkipIfErr(b.Len() - start)
	}
}

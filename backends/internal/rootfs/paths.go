package rootfs

import (
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/internal/nsproc"
	"github.com/karapace/karapace/backends/internal/rawproc"
)

// readonlyPaths binds paths over themselves, read-only. What is not there need not be protected.
func (b *Builder) readonlyPaths(paths []string) {
	for _, path := range paths {
		label := "make " + path + " read-only"
		open, target := b.lookup(label, path, unix.O_PATH)
		start := b.Len()
		copied := b.Reg()
		b.Call(label, unix.SYS_OPEN_TREE, rawproc.R(target), rawproc.Str(""), rawproc.Int(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|unix.AT_RECURSIVE)).Into(copied)
		b.setAttr(label, copied, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}, unix.AT_RECURSIVE)
		b.attach(label, copied, target)
		open.Allow(unix.ENOENT, unix.ENOTDIR).SkipIfErr(b.Len() - start)
	}
}

// null is a copy of the mount of /dev/null: of the container's own where it has one, so that nobody in it can change the
// host's by way of a path that is masked with it.
func (b *Builder) null(label string) rawproc.Reg {
	null := b.Reg()
	if b.initial && b.dev != 0 {
		_, fd := nsproc.Lookup(b.Program, label, b.dev, "null", unix.O_PATH)
		b.Call(label, unix.SYS_OPEN_TREE, rawproc.R(fd), rawproc.Str(""), rawproc.Int(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)).Into(null)
		return null
	}
	b.Call(label, unix.SYS_OPEN_TREE, rawproc.Int(unix.AT_FDCWD), rawproc.Str("/dev/null"), rawproc.Int(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)).Into(null)
	return null
}

// maskedPaths covers files by /dev/null and directories by an empty read-only file system. Which it is to be is known before
// a mount is made: one that is attached nowhere would have the process wait, when it is closed, until every processor has
// forgotten it.
func (b *Builder) maskedPaths(paths []string) {
	for _, path := range paths {
		label := "mask " + path
		open, target := b.lookup(label, path, unix.O_PATH|unix.O_DIRECTORY)
		start := b.Len()
		fs := &mount{target: path, fstype: "tmpfs", data: []string{"size=0", "nr_inodes=1"}}
		fs.attr.Attr_set = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
		covered := b.attach(label, b.newFS(fs), target)
		open.Allow(unix.ENOENT, unix.ENOTDIR).SkipIfErr(b.Len() - start)

		file := b.Len()
		open, target = b.lookup(label, path, unix.O_PATH)
		start = b.Len()
		b.attach(label, b.null(label), target)
		open.Allow(unix.ENOENT, unix.ENOTDIR).SkipIfErr(b.Len() - start)
		covered.SkipIfOK(b.Len() - file)
	}
}

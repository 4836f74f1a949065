package nsproc

import (
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/internal/rawproc"
)

// Source appends the opening of what is bound from the host: a path that was resolved when it was decided upon, so that a
// symbolic link anywhere in it has been put there since and is an error, and so is a file instead of a directory.
func Source(p *rawproc.Program, path string, dir bool) rawproc.Reg {
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
	if dir {
		how.Flags |= unix.O_DIRECTORY
	}
	fd := p.Reg()
	p.Call(LabelSource+" "+path, unix.SYS_OPENAT2, rawproc.Int(unix.AT_FDCWD), rawproc.Str(path), rawproc.Value(how), rawproc.Int(unix.SizeofOpenHow)).Again().Into(fd)
	return fd
}

// CloneTree appends the making of a mount of what path, looked up from dir, names or, when path is empty, of dir itself. It is
// not attached anywhere yet.
func CloneTree(p *rawproc.Program, label string, dir rawproc.Arg, path string, recursive bool) rawproc.Reg {
	fd := p.Reg()
	flags := uint32(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if path == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	tree := func(more uint32) *rawproc.Op {
		return p.Call(label, unix.SYS_OPEN_TREE, dir, rawproc.Str(path), rawproc.Int(flags|more)).Into(fd)
	}
	if !recursive {
		// In a user namespace a mount must not lay open what others cover on it.
		tree(0).Allow(unix.EINVAL).SkipIfOK(1)
	}
	tree(unix.AT_RECURSIVE)
	return fd
}

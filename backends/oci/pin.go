package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/internal/nsproc"
	"github.com/karapace/karapace/backends/internal/rawproc"
)

// pinned is a copy of a host's mount, on the file system of the runtime's state. A runtime binds by path and follows links; what
// it binds is this, which nobody can replace once its source was opened without following any. When it is sealed, nobody can
// write to it nor to what is mounted below: runtimes of old make only the topmost mount read-only.
type pinned struct {
	source, path           string
	dir, recursive, sealed bool
	taken                  *os.File // what source was: open, so that nothing else can have its inode's number
}

// takeSources names a bind mount's source that is not there, which not every runtime does, and finds out what is to be pinned.
// What it has opened, releaseSources closes, after an error too.
func (c *container) takeSources() error {
	c.pinned = map[int]pinned{}
	for i, m := range c.plan.Spec.Mounts {
		m = c.mount(m)
		if m.Type != "bind" {
			continue
		}
		taken, err := os.OpenFile(m.Source, unix.O_PATH, 0)
		if err != nil {
			return fmt.Errorf("mount %s: %w", m.Destination, err)
		}
		info, err := taken.Stat()
		if err != nil {
			taken.Close()
			return fmt.Errorf("mount %s: %w", m.Destination, err)
		}
		recursive := slices.Contains(m.Options, "rbind")
		c.pinned[i] = pinned{
			m.Source, filepath.Join(c.plan.State, stateName, ".pinned-"+strconv.Itoa(i)), info.IsDir(), recursive,
			recursive && slices.Contains(m.Options, "ro"), taken,
		}
	}
	return nil
}

func (c *container) releaseSources() {
	for _, one := range c.pinned {
		one.taken.Close()
	}
}

// replaced is a source that is not what was taken any more, "" when there is none. Of what has lost its name the kernel mounts no copy.
func (c *container) replaced() string {
	for _, one := range c.pinned {
		was, err := one.taken.Stat()
		if err != nil {
			continue
		}
		if is, err := os.Stat(one.source); err != nil || !os.SameFile(was, is) {
			return one.source
		}
	}
	return ""
}

// clone makes the copies, in the order of the spec's mounts, of what the host has: what is mounted for the runtime afterwards is in none
// of them, even where a source is above it, as the home is above the store.
func (c *container) clone(p *rawproc.Program) map[int]rawproc.Reg {
	trees := map[int]rawproc.Reg{}
	for i := range c.plan.Spec.Mounts {
		if one, ok := c.pinned[i]; ok {
			trees[i] = one.clone(p)
		}
	}
	return trees
}

// pin puts the copies to their places.
func (c *container) pin(p *rawproc.Program, trees map[int]rawproc.Reg) {
	for i := range c.plan.Spec.Mounts {
		if one, ok := c.pinned[i]; ok {
			one.attach(p, trees[i])
		}
	}
}

const labelPin = "pin "

func (s pinned) label() string { return labelPin + s.source }

func (s pinned) clone(p *rawproc.Program) rawproc.Reg {
	tree := nsproc.CloneTree(p, s.label(), rawproc.R(nsproc.Source(p, s.source, s.dir)), "", s.recursive)
	if s.sealed {
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
		p.Call("make all of "+s.source+" read-only", unix.SYS_MOUNT_SETATTR, rawproc.R(tree), rawproc.Str(""), rawproc.Int(unix.AT_EMPTY_PATH|unix.AT_RECURSIVE), rawproc.Value(&attr), rawproc.Int(unix.MOUNT_ATTR_SIZE_VER0))
	}
	return tree
}

func (s pinned) attach(p *rawproc.Program, tree rawproc.Reg) {
	if s.dir {
		p.Call(s.label(), unix.SYS_MKDIRAT, rawproc.Int(unix.AT_FDCWD), rawproc.Str(s.path), rawproc.Int(0o700))
	} else {
		p.Call(s.label(), unix.SYS_MKNODAT, rawproc.Int(unix.AT_FDCWD), rawproc.Str(s.path), rawproc.Int(unix.S_IFREG|0o600), rawproc.Int(0))
	}
	p.Call(s.label(), unix.SYS_MOVE_MOUNT, rawproc.R(tree), rawproc.Str(""), rawproc.Int(unix.AT_FDCWD), rawproc.Str(s.path), rawproc.Int(unix.MOVE_MOUNT_F_EMPTY_PATH))
}

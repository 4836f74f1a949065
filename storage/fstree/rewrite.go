package fstree

import (
	"bytes"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// rewriteLimit bounds the files that are rewritten in memory.
const rewriteLimit = 16 << 20

// file normalises a regular file.
func (n *normaliser) file(s *spot) (stays bool, err error) {
	fd, err := openFile(s.dir, s.name)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	if hidden, err := n.hides(s, fd); err != nil || hidden {
		return hidden && s.below.there, err
	}
	if err := n.marks.clean(fd, false, false); err != nil {
		return false, err
	}
	if err := n.rewrite(s, fd); err != nil {
		return false, err
	}
	if s.st.Size == 0 && s.does(actionDropEmpty) {
		return false, nil
	}
	if same, err := s.below.sameFile(s.dir, &s.st); err != nil {
		return false, err
	} else if same {
		if same, err := s.below.sameContent(n.ctx, fd); err != nil || same {
			return false, err
		}
	}
	return true, n.settleTime(s)
}

// hides turns the other form of a whiteout, an empty file with an attribute (Linux 6.7, overlayfs.rst), into a device.
func (n *normaliser) hides(s *spot, fd int) (bool, error) {
	if s.st.Size != 0 {
		return false, nil
	}
	names, err := listXattrs(fd)
	if err != nil {
		return false, err
	}
	if !slices.ContainsFunc(names, func(name string) bool { return n.marks.is(name, "whiteout") }) {
		return false, nil
	}
	return true, n.makeWhiteout(s)
}

func (n *normaliser) makeWhiteout(s *spot) error {
	if !s.below.there {
		return nil
	}
	if err := unix.Unlinkat(s.dir, s.name, 0); err != nil {
		return err
	}
	if err := unix.Mknodat(s.dir, s.name, unix.S_IFCHR, 0); err != nil {
		return fmt.Errorf("make whiteout: %w", err)
	}
	return setMtime(s.dir, s.name, n.opts.Epoch)
}

// rewrite applies the policy's rewrites to an open file, and to what is known of it.
func (n *normaliser) rewrite(s *spot, fd int) error {
	for _, a := range s.actions {
		if a < actionRewrite {
			continue
		}
		if err := n.rewriteWith(s, fd, n.opts.Policy.Rewrites[a-actionRewrite]); err != nil {
			return err
		}
	}
	return nil
}

func (n *normaliser) rewriteWith(s *spot, fd int, r Rewrite) error {
	if s.st.Size > rewriteLimit {
		return fmt.Errorf("rewrite: the file is larger than %d bytes", rewriteLimit)
	}
	old := make([]byte, s.st.Size)
	if _, err := preadFull(fd, old, 0); err != nil {
		return err
	}
	data, err := r.Func(old, n.opts.Epoch)
	if err != nil {
		return fmt.Errorf("rewrite: %w", err)
	}
	if bytes.Equal(old, data) {
		return nil
	}
	if err := overwrite(s, data); err != nil {
		return fmt.Errorf("rewrite: %w", err)
	}
	s.st.Size = int64(len(data))
	s.st.Mtim = unix.Timespec{Sec: n.opts.Epoch}
	return setMtime(s.dir, s.name, n.opts.Epoch)
}

// overwrite replaces the content in place: all names of the file and its attributes stay.
func overwrite(s *spot, data []byte) error {
	fd, err := openat(s.dir, s.name, unix.O_WRONLY|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for off := 0; off < len(data); {
		n, err := unix.Pwrite(fd, data[off:], int64(off))
		if err != nil && err != unix.EINTR {
			return err
		}
		off += max(n, 0)
	}
	return unix.Fchmod(fd, s.st.Mode&0o7777) // writing clears set-id bits
}

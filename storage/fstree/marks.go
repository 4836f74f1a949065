package fstree

import (
	"errors"

	"golang.org/x/sys/unix"
)

// marks knows how the overlays of this process's user namespace mark what they hide.
type marks struct {
	own  string   // prefix of the attributes that are written
	read []string // prefixes of those that are understood; what a container can set itself is not among them
	fuse bool
}

func newMarks(fuse bool) marks {
	m := marks{own: trustedOverlay, fuse: fuse}
	if inUserNamespace() {
		m.own = userOverlay
	}
	m.read = []string{m.own}
	if fuse { // it takes what it is allowed to set
		m.read = []string{trustedOverlay, userOverlay, fuseOverlay}
	}
	return m
}

func (m *marks) isOpaque(fd int) (bool, error) {
	for _, prefix := range m.read {
		value, err := getXattr(fd, prefix+"opaque")
		if err != nil || value == "y" {
			return err == nil, err
		}
	}
	return false, nil
}

func (m *marks) makeOpaque(fd int) error { return unix.Fsetxattr(fd, m.own+"opaque", []byte("y"), 0) }

// errMoved is content that lies elsewhere. Overlays write such marks only when mounted with options that Karapace never gives.
var errMoved = errors.New("the overlay was mounted with redirect_dir or metacopy: its upper directory is not complete")

// clean removes the attributes that must not stay on the disk. An opaque directory keeps, or gets, its mark.
func (m *marks) clean(fd int, dir, opaque bool) error {
	names, err := listXattrs(fd)
	if err != nil {
		return err
	}
	marked := false
	for _, name := range names {
		switch {
		case name == m.own+"opaque" && opaque:
			marked = true
		case m.is(name, "redirect"), m.is(name, "metacopy"):
			return errMoved
		case !kept(name, dir) && foreign(name):
			if err := removeXattr(fd, name); err != nil {
				return err
			}
		}
	}
	if opaque && !marked {
		return m.makeOpaque(fd)
	}
	return nil
}

func (m *marks) is(name, mark string) bool {
	for _, prefix := range m.read {
		if name == prefix+mark {
			return true
		}
	}
	return false
}

// Package rootview reads single files of an environment's root from the directories its overlay is made of, without
// mounting anything: a name is looked up the way overlayfs does (whiteouts, opaque directories), and symbolic links
// resolve inside. Nothing outside the directories can be reached, whatever an image or a running program puts there.
package rootview

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// View is a root made of directories, top first.
type View struct {
	dirs []string
}

// New returns the view of dirs, top first. Nothing is opened.
func New(dirs ...string) View { return View{dirs: dirs} }

const maxLinks = 40 // as the kernel's

// Open opens a regular file for reading. A missing one gives fs.ErrNotExist.
func (v View) Open(name string) (*os.File, error) {
	layer, rel, st, err := v.resolve(name)
	if err != nil {
		return nil, fmt.Errorf("open %s in the environment: %w", name, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("open %s in the environment: not a regular file", name)
	}
	fd, err := openBeneath(layer, rel, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open %s in the environment: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// Mode returns the mode of what name leads to. A missing one gives fs.ErrNotExist.
func (v View) Mode(name string) (fs.FileMode, error) {
	_, _, st, err := v.resolve(name)
	if err != nil {
		return 0, fmt.Errorf("look for %s in the environment: %w", name, err)
	}
	mode := fs.FileMode(st.Mode & 0o777)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		mode |= fs.ModeDir
	case unix.S_IFREG:
	default:
		mode |= fs.ModeIrregular
	}
	return mode, nil
}

// resolve finds the layer directory and the path in it that name leads to.
func (v View) resolve(name string) (layer, rel string, st unix.Stat_t, err error) {
	rest := strings.Split(strings.Trim(path.Clean("/"+name), "/"), "/")
	at, layers, links := ".", v.dirs, 0
	st.Mode = unix.S_IFDIR
	if len(v.dirs) > 0 {
		layer = v.dirs[0]
	}
	for len(rest) > 0 && rest[0] != "" {
		var here []string
		next := path.Join(at, rest[0])
		layer, here, st, err = lookup(layers, next)
		if err != nil {
			return "", "", st, err
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			if links++; links > maxLinks {
				return "", "", st, unix.ELOOP
			}
			target, err := readlink(layer, next)
			if err != nil {
				return "", "", st, err
			}
			// from the root again: a path of clean components cannot leave it
			joined := path.Join("/", at, target, path.Join(rest[1:]...))
			if path.IsAbs(target) {
				joined = path.Join(target, path.Join(rest[1:]...))
			}
			rest = strings.Split(strings.Trim(path.Clean(joined), "/"), "/")
			at, layers, st.Mode = ".", v.dirs, unix.S_IFDIR
			layer = v.dirs[0]
			continue
		case unix.S_IFDIR:
			layers = here
		default:
			if len(rest) > 1 {
				return "", "", st, unix.ENOTDIR
			}
		}
		at, rest = next, rest[1:]
	}
	return layer, at, st, nil
}

// lookup finds rel in layers as overlayfs does: the top one that has it decides; directories merge until an opaque one.
func lookup(layers []string, rel string) (top string, dirs []string, st unix.Stat_t, err error) {
	for _, l := range layers {
		var s unix.Stat_t
		err := statBeneath(l, rel, &s)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			continue
		}
		if errors.Is(err, fs.ErrPermission) && top != "" {
			break // a layer that this user may not read; what is above it is there all the same
		}
		if err != nil {
			return "", nil, st, err
		}
		kind := s.Mode & unix.S_IFMT
		if kind == unix.S_IFCHR && s.Rdev == 0 {
			break // whiteout
		}
		if top == "" {
			top, st = l, s
		}
		if kind != unix.S_IFDIR {
			break
		}
		dirs = append(dirs, l)
		if opaque(l, rel) {
			break
		}
	}
	if top == "" {
		return "", nil, st, fs.ErrNotExist
	}
	return top, dirs, st, nil
}

func opaque(layer, rel string) bool {
	fd, err := openBeneath(layer, rel, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	for _, attr := range []string{"user.overlay.opaque", "trusted.overlay.opaque"} {
		b := make([]byte, 4)
		if n, err := unix.Fgetxattr(fd, attr, b); err == nil && n == 1 && b[0] == 'y' {
			return true
		}
	}
	return false
}

func statBeneath(layer, rel string, st *unix.Stat_t) error {
	fd, err := openBeneath(layer, rel, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Fstat(fd, st)
}

func readlink(layer, rel string) (string, error) {
	fd, err := openBeneath(layer, rel, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", b)
	return string(b[:max(0, n)]), err
}

func openBeneath(layer, rel string, flags uint64) (int, error) {
	dir, err := unix.Open(layer, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	return unix.Openat2(dir, rel, &unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// IsLink reports whether name, its last component not followed, is a symbolic link.
func (v View) IsLink(name string) bool {
	dir, base := path.Split(path.Clean("/" + name))
	_, rel, st, err := v.resolve(dir)
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return false
	}
	_, _, st, err = lookup(v.dirs, path.Join(rel, base))
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK
}

package fstree

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	openDirFlags  = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	openPathFlags = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC
)

// again repeats a system call that a signal or a concurrent rename interrupted.
func again(call func() error) error {
	for {
		if err := call(); err != unix.EINTR && err != unix.EAGAIN {
			return err
		}
	}
}

// Openat2 is openat2(2), repeated when a rename or a mount anywhere on the system came in between while it went up a
// directory.
func Openat2(dir int, name string, how *unix.OpenHow) (fd int, err error) {
	err = again(func() error {
		fd, err = unix.Openat2(dir, name, how)
		return err
	})
	return fd, err
}

func openat(dir int, name string, flags int, mode uint32) (fd int, err error) {
	err = again(func() error {
		fd, err = unix.Openat(dir, name, flags|unix.O_CLOEXEC, mode)
		return err
	})
	return fd, err
}

// openTree opens a directory named by the caller, who may reach it through links.
func openTree(dir string) (int, error) {
	fd, err := openat(unix.AT_FDCWD, dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return fd, nil
}

// openDir opens a directory that is a child of dir, not a link and not a mount point.
func openDir(dir int, name string) (int, error) {
	fd, err := Openat2(dir, name, &unix.OpenHow{Flags: openDirFlags, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV})
	if err == unix.EXDEV {
		err = errors.New("a file system is mounted there")
	}
	return fd, err
}

// openFile opens a child of dir for reading, without blocking on a pipe and, where allowed, without touching its atime.
func openFile(dir int, name string) (int, error) {
	const flags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK
	fd, err := openat(dir, name, flags|unix.O_NOATIME, 0)
	if err == unix.EPERM {
		fd, err = openat(dir, name, flags, 0)
	}
	return fd, err
}

func lstatat(dir int, name string) (st unix.Stat_t, err error) {
	err = again(func() error { return unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	return st, err
}

// countsDirs tells whether the file system of fd counts the directories in one among its links. Others say 1, or anything.
func countsDirs(fd int) bool {
	var fs unix.Statfs_t
	if again(func() error { return unix.Fstatfs(fd, &fs) }) != nil {
		return false
	}
	switch int64(fs.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.TMPFS_MAGIC:
		return true
	}
	return false
}

var direntBuffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// dirent is a name in a directory. mayWhiteout is false when the file system says that it is no character device, leaf is
// true when it says that it is a file, a symbolic link or a FIFO.
type dirent struct {
	name              string
	mayWhiteout, leaf bool
}

// readDir lists an open directory, sorted by the bytes of the names.
func readDir(fd int) ([]dirent, error) {
	buf := direntBuffers.Get().(*[]byte)
	defer direntBuffers.Put(buf)
	var all []dirent
	for {
		n, err := unix.ReadDirent(fd, *buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list directory: %w", err)
		}
		if n == 0 {
			slices.SortFunc(all, func(a, b dirent) int { return strings.Compare(a.name, b.name) })
			return all, nil
		}
		all = appendDirents(all, (*buf)[:n])
	}
}

// appendDirents parses what getdents64(2) returns: struct linux_dirent64, one after the other.
func appendDirents(all []dirent, b []byte) []dirent {
	const lengthAt, typeAt, nameAt = 16, 18, 19
	for len(b) > nameAt {
		record := b[:binary.NativeEndian.Uint16(b[lengthAt:])]
		b = b[len(record):]
		name := record[nameAt:]
		name = name[:bytes.IndexByte(name, 0)]
		if s := string(name); s != "." && s != ".." {
			t := record[typeAt]
			all = append(all, dirent{s, t == unix.DT_CHR || t == unix.DT_UNKNOWN, t == unix.DT_REG || t == unix.DT_LNK || t == unix.DT_FIFO})
		}
	}
	return all
}

// readNames lists the names in an open directory, sorted by their bytes.
func readNames(fd int) ([]string, error) {
	entries, err := readDir(fd)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.name
	}
	return names, err
}

func readlinkat(dir int, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, buf)
	if err != nil {
		return "", fmt.Errorf("read link: %w", err)
	}
	return string(buf[:n]), nil
}

// setMtime sets the time of last modification, not of what a link points to, and leaves the time of last access alone.
func setMtime(dir int, name string, seconds int64) error {
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: seconds}}
	return unix.UtimesNanoAt(dir, name, times, unix.AT_SYMLINK_NOFOLLOW)
}

func fileType(st *unix.Stat_t) uint32 { return st.Mode & unix.S_IFMT }

func isDir(st *unix.Stat_t) bool { return fileType(st) == unix.S_IFDIR }

func isWhiteout(st *unix.Stat_t) bool { return fileType(st) == unix.S_IFCHR && st.Rdev == 0 }

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// inUserNamespace tells whether this process may not write the marks that only the initial user namespace may.
func inUserNamespace() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && !slices.Equal(strings.Fields(string(b)), []string{"0", "0", "4294967295"})
}

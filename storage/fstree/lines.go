package fstree

import (
	"bytes"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// linesLimit is the size of the largest file whose lines are compared, in bytes.
const linesLimit = 4 << 20

// SameLines reports whether the file at path has the same lines in the trees a and b, in another order. Files that are
// large or binary are not looked into.
func SameLines(a, b, path string) bool {
	x, y := readLines(a, path), readLines(b, path)
	if x == nil || y == nil {
		return false
	}
	slices.SortFunc(x, bytes.Compare)
	slices.SortFunc(y, bytes.Compare)
	return slices.EqualFunc(x, y, bytes.Equal)
}

// readLines splits a file of a tree; nil is one that cannot be compared.
func readLines(dir, path string) [][]byte {
	root, err := openTree(dir)
	if err != nil {
		return nil
	}
	defer unix.Close(root)
	fd, err := Openat2(root, path, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() > linesLimit {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(f, linesLimit))
	if err != nil || bytes.IndexByte(text, 0) >= 0 {
		return nil
	}
	return bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n")) // the last line may lack its end
}

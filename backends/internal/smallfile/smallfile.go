// Package smallfile reads files that are known to be small on the way into an environment. Package os asks Go's poller
// about every file it opens, which sets that up first and has a thread wait in it: more work than reading the file.
package smallfile

import (
	"errors"
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"
)

// limit is how large a file may be, in bytes.
const limit = 16 << 20

var errTooLarge = errors.New("larger than 16 MiB")

// Read reads the whole file. Its errors are *fs.PathError.
func Read(path string) ([]byte, error) {
	fail := func(err error) ([]byte, error) { return nil, &fs.PathError{Op: "read", Path: path, Err: err} }
	fd, err := retry(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return fail(err)
	}
	defer unix.Close(fd)
	b := make([]byte, 0, 4096)
	for {
		n, err := retry(func() (int, error) { return unix.Read(fd, b[len(b):cap(b)]) })
		if err != nil {
			return fail(err)
		}
		if n == 0 {
			return b, nil
		}
		if b = b[:len(b)+n]; len(b) > limit {
			return fail(errTooLarge)
		}
		if len(b) == cap(b) {
			b = slices.Grow(b, len(b))
		}
	}
}

func retry(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if err != unix.EINTR {
			return n, err
		}
	}
}

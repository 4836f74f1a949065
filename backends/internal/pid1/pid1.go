// Package pid1 holds the program that is the first process of a container: it does nothing but wait for the last
// session to end.
//
// It is some hundred bytes of machine code, so that what a container sees as its process 1 has no memory, no environment
// and no executable of ours in it, and costs a page or two. The kernel reaps the orphans it inherits, since it ignores
// SIGCHLD.
package pid1

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// The program's descriptors. It keeps LockFD open and takes the record lock on its first byte, writes ReadySize zero
// bytes to ControlFD, waits for one byte or the end of that, then for an exclusive flock on SessionsFD, and exits.
const (
	LockFD     = 3
	SessionsFD = 4
	ControlFD  = 5
)

// ReadySize is the size of the message that says that the program runs, in bytes.
const ReadySize = 8

// Name is what the program calls itself.
const Name = "karapace-init"

const (
	base       = 0x400000
	headerSize = 64 + 56
	pageAlign  = 0x10000 // the largest page size there is
)

// data are seven words that the code refers to, and the name. From the first word they are the kernel's struct sigaction
// with SIG_IGN, from the second one zeros, from the fourth one the struct flock of a shared lock on one byte.
const data = "\x01\x00\x00\x00\x00\x00\x00\x00" + zeros + zeros + zeros + zeros + "\x01\x00\x00\x00\x00\x00\x00\x00" + zeros + Name + "\x00"

const zeros = "\x00\x00\x00\x00\x00\x00\x00\x00"

// File returns a descriptor of the executable, in memory, or in dir where the system forbids that.
func File(dir string) (int, error) {
	fd, err := unix.MemfdCreate(Name, unix.MFD_CLOEXEC|unix.MFD_EXEC)
	if err == unix.EINVAL { // before Linux 6.3
		fd, err = unix.MemfdCreate(Name, unix.MFD_CLOEXEC)
	}
	if err == unix.EACCES { // sysctl vm.memfd_noexec=2
		return fileIn(dir)
	}
	if err != nil {
		return -1, fmt.Errorf("make executable in memory: %w", err)
	}
	if _, err := unix.Write(fd, image()); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("write executable in memory: %w", err)
	}
	return fd, nil
}

// fileIn writes the executable to a file whose name is gone when it returns.
func fileIn(dir string) (int, error) {
	f, err := os.CreateTemp(dir, Name)
	if err != nil {
		return -1, fmt.Errorf("make executable: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(image())
	if err := errors.Join(err, f.Chmod(0o700), f.Close()); err != nil {
		return -1, fmt.Errorf("write executable: %w", err)
	}
	fd, err := unix.Open(f.Name(), unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return -1, fmt.Errorf("open executable: %w", err)
	}
	return fd, nil
}

// image is the smallest executable of elf(5): both headers and the code, in one segment.
func image() []byte {
	le := binary.LittleEndian
	b := make([]byte, 0, headerSize+len(code))
	b = append(b, 0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	b = le.AppendUint16(b, 2) // ET_EXEC
	b = le.AppendUint16(b, machine)
	b = le.AppendUint32(b, 1)
	b = le.AppendUint64(b, base+headerSize) // entry
	b = le.AppendUint64(b, 64)              // program headers
	b = le.AppendUint64(b, 0)               // section headers
	b = le.AppendUint32(b, 0)               // flags
	for _, n := range [...]uint16{64, 56, 1, 64, 0, 0} {
		b = le.AppendUint16(b, n)
	}
	b = le.AppendUint32(b, 1) // PT_LOAD
	b = le.AppendUint32(b, 5) // readable and executable
	size := uint64(headerSize + len(code))
	for _, n := range [...]uint64{0, base, base, size, size, pageAlign} {
		b = le.AppendUint64(b, n)
	}
	return append(b, code...)
}

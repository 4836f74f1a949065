package faults

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// process is a caller whose call waits, so that its memory and descriptors stay as they are.
type process int

func (p process) proc(elem ...string) string {
	return filepath.Join(append([]string{"/proc", strconv.Itoa(int(p))}, elem...)...)
}

// memory reads up to n bytes at an address, fewer where they end. It needs no files of /proc, which belong to ids that an
// unprivileged supervisor is not when the caller is in a user namespace of its.
func (p process) memory(at uint64, n int) []byte {
	const page = 4096
	all := make([]byte, 0, n)
	for len(all) < n {
		here := at + uint64(len(all))
		size := min(n-len(all), page-int(here%page))
		b := all[len(all) : len(all)+size]
		got, err := unix.ProcessVMReadv(int(p), []unix.Iovec{iovec(b)}, []unix.RemoteIovec{{Base: uintptr(here), Len: size}}, 0)
		if err != nil {
			break
		}
		all = all[:len(all)+got]
	}
	return all
}

func iovec(b []byte) (v unix.Iovec) {
	v.Base = unsafe.SliceData(b)
	v.SetLen(len(b))
	return v
}

// text reads a string of C.
func (p process) text(at uint64) string {
	s, _, _ := bytes.Cut(p.memory(at, unix.PathMax), []byte{0})
	return string(s)
}

// texts reads a NULL-terminated array of strings of C.
func (p process) texts(at uint64) (all []string) {
	const most = 256
	for b := p.memory(at, 8*most); len(b) >= 8; b = b[8:] {
		ptr := binary.NativeEndian.Uint64(b)
		if ptr == 0 {
			break
		}
		all = append(all, p.text(ptr))
	}
	return all
}

// overwrite replaces a string of C by one that is not longer.
func (p process) overwrite(at uint64, s string) error {
	b := append([]byte(s), 0)
	_, err := unix.ProcessVMWritev(int(p), []unix.Iovec{iovec(b)}, []unix.RemoteIovec{{Base: uintptr(at), Len: len(b)}}, 0)
	return err
}

// descriptor is the path of an open file, "" when it has none.
func (p process) descriptor(fd uint64) string {
	pidfd, err := unix.PidfdOpen(p.leader(), 0)
	if err != nil {
		return ""
	}
	defer unix.Close(pidfd)
	own, err := unix.PidfdGetfd(pidfd, int(int32(fd)), 0)
	if err != nil {
		return ""
	}
	defer unix.Close(own)
	s, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(own))
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(s, " (deleted)")
}

// leader is the process that the calling thread belongs to.
func (p process) leader() int {
	status, err := os.ReadFile(p.proc("status"))
	if err != nil {
		return int(p)
	}
	_, rest, _ := bytes.Cut(status, []byte("\nTgid:\t"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	if pid, err := strconv.Atoi(string(line)); err == nil {
		return pid
	}
	return int(p)
}

// below is the path that a name stands for, relative to a directory's descriptor.
func (p process) below(dir uint64, name string) string {
	if name == "" {
		return p.descriptor(dir)
	}
	if filepath.IsAbs(name) {
		return p.throughDescriptor(filepath.Clean(name))
	}
	at := ""
	if int32(dir) == unix.AT_FDCWD {
		at, _ = os.Readlink(p.proc("cwd"))
	} else {
		at = p.descriptor(dir)
	}
	if at == "" {
		return ""
	}
	return filepath.Join(at, name)
}

// throughDescriptor gives /proc/self/fd/N/NAME its path.
func (p process) throughDescriptor(path string) string {
	for _, prefix := range []string{"/proc/self/fd/", "/proc/thread-self/fd/"} {
		rest, ok := strings.CutPrefix(path, prefix)
		if !ok {
			continue
		}
		fd, name, _ := strings.Cut(rest, "/")
		if n, err := strconv.ParseUint(fd, 10, 31); err == nil {
			return filepath.Join(p.descriptor(n), name)
		}
	}
	return path
}

// place is the path of the file that a call changes, "" when there is none.
func (c call) place(n *notification) string {
	p, a := process(n.Pid), n.Args
	cwd := uint64(uint32(0xffffffff & unix.AT_FDCWD))
	if c.opens != nil && c.opens.struct2 {
		how := p.memory(a[c.opens.at], 8)
		if len(how) < 8 || binary.NativeEndian.Uint64(how)&writing == 0 {
			return ""
		}
	}
	switch c.where {
	case fd0:
		return p.descriptor(a[0])
	case fd2:
		return p.descriptor(a[2])
	case at0:
		return p.below(a[0], p.text(a[1]))
	case at1:
		return p.below(a[1], p.text(a[2]))
	case at2:
		return p.below(a[2], p.text(a[3]))
	case path0, program0:
		return p.below(cwd, p.text(a[0]))
	case path1:
		return p.below(cwd, p.text(a[1]))
	}
	panic(fmt.Sprintf("faults: call %s is nowhere", c.name))
}

package faults

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data (seccomp(2)).
const (
	dataNumber = 0
	dataArch   = 4
	dataArgs   = 16
)

const (
	retAllow  = 0x7fff0000 // SECCOMP_RET_ALLOW
	retNotify = 0x7fc00000 // SECCOMP_RET_USER_NOTIF

	setModeFilter    = 1      // SECCOMP_SET_MODE_FILTER
	newListener      = 1 << 3 // SECCOMP_FILTER_FLAG_NEW_LISTENER
	waitKillableRecv = 1 << 5 // SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
)

// filter hands the calls that can be points to the listener, and execve too if programs are to be seen.
func filter(programs bool) []unix.SockFilter {
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	ret := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	equal := func(k uint32, otherwise uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jf: otherwise}
	}
	f := []unix.SockFilter{load(dataArch), {Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: auditArch, Jt: 1}, ret(retAllow), load(dataNumber)}
	all := calls()
	for _, nr := range numbers(all) {
		o := all[nr].opens
		if o == nil || o.struct2 { // what a struct says no filter can see
			f = append(f, equal(uint32(nr), 1), ret(retNotify))
			continue
		}
		f = append(f, equal(uint32(nr), 4), load(uint32(dataArgs+8*o.at)),
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: writing, Jf: 1}, ret(retNotify), ret(retAllow))
	}
	if programs {
		f = append(f, equal(unix.SYS_EXECVE, 1), ret(retNotify))
	}
	return append(f, ret(retAllow))
}

// install gives the calling thread a filter and returns its listener.
func install(f []unix.SockFilter) (listener int, err error) {
	prog := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
	for _, flags := range []uintptr{newListener | waitKillableRecv, newListener} { // the first since Linux 5.19
		fd, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, setModeFilter, flags, uintptr(unsafe.Pointer(&prog)))
		if errno == 0 {
			return int(fd), nil
		}
		if err = errno; errno != unix.EINVAL {
			break
		}
	}
	return -1, fmt.Errorf("install seccomp filter: %w", err)
}

package faults

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// notification is struct seccomp_notif: a call whose caller waits.
type notification struct {
	ID    uint64
	Pid   uint32 // of the thread, as the supervisor sees it
	Flags uint32
	Nr    int32
	Arch  uint32
	IP    uint64
	Args  [6]uint64
}

// response is struct seccomp_notif_resp.
type response struct {
	ID    uint64
	Val   int64
	Error int32
	Flags uint32
}

const (
	notifRecv     = 0xc0502100 // SECCOMP_IOCTL_NOTIF_RECV
	notifSend     = 0xc0182101 // SECCOMP_IOCTL_NOTIF_SEND
	notifContinue = 1          // SECCOMP_USER_NOTIF_FLAG_CONTINUE
)

// receive waits for the next call. It returns nil when a caller has died before its call could be seen.
func receive(listener int) (*notification, error) {
	n := &notification{}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), notifRecv, uintptr(unsafe.Pointer(n)))
	switch errno {
	case 0:
		return n, nil
	case unix.ENOENT, unix.EINTR:
		return nil, nil
	}
	return nil, fmt.Errorf("receive system call: %w", errno)
}

// answer lets a call go on, or fail with an errno that is not 0. A caller that has died meanwhile needs no answer.
func answer(listener int, id uint64, errno unix.Errno) {
	r := response{ID: id, Error: -int32(errno)}
	if errno == 0 {
		r.Flags = notifContinue
	}
	unix.Syscall(unix.SYS_IOCTL, uintptr(listener), notifSend, uintptr(unsafe.Pointer(&r)))
}

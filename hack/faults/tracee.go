package faults

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// traceeSocket is the descriptor on which the tracee hands its listener over.
const traceeSocket = 3

// How the tracee's filter came to be, in the message that carries the listener.
const (
	privileged   = 'p'
	unprivileged = 'u' // it can gain no privileges any more, and programs are seen
)

// trace installs the filter and becomes the command. It returns only with an error.
func trace(programs bool, argv []string) error {
	runtime.LockOSThread() // the filter is a thread's
	how := byte(privileged)
	listener, err := install(filter(programs))
	if errors.Is(err, unix.EACCES) {
		how = unprivileged
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("give up new privileges: %w", err)
		}
		listener, err = install(filter(true))
	}
	if err != nil {
		return err
	}
	if err := unix.Sendmsg(traceeSocket, []byte{how}, unix.UnixRights(listener), nil, 0); err != nil {
		return fmt.Errorf("hand over the listener: %w", err)
	}
	if _, err := unix.Read(traceeSocket, make([]byte, 1)); err != nil { // until the supervisor listens
		return fmt.Errorf("wait for the supervisor: %w", err)
	}
	unix.CloseOnExec(listener)
	unix.CloseOnExec(traceeSocket)
	return &os.PathError{Op: "execute", Path: argv[0], Err: unix.Exec(argv[0], argv, os.Environ())}
}

// handOver receives the tracee's listener.
func handOver(socket int) (listener int, how byte, err error) {
	how1, rights := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	n, oob, _, _, err := unix.Recvmsg(socket, how1, rights, unix.MSG_CMSG_CLOEXEC)
	if err != nil || n == 0 {
		return -1, 0, errors.Join(errors.New("the tracee ended early"), err)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:oob])
	if err != nil || len(messages) != 1 {
		return -1, 0, errors.Join(errors.New("the tracee sent no listener"), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, 0, errors.Join(errors.New("the tracee sent no listener"), err)
	}
	return fds[0], how1[0], nil
}

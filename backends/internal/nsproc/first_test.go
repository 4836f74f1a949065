package nsproc

import (
	"testing"

	"golang.org/x/sys/unix"
)

// What a first process says before it dies is heard, also when it has not read what was sent to it meanwhile.
func TestMessageOfDead(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	proc := &Process{ctl: pair[0]}
	defer unix.Close(proc.ctl)
	for fd, text := range map[int][]byte{pair[0]: {0}, pair[1]: {stageBorn}} {
		if _, err := unix.Write(fd, text); err != nil {
			t.Fatal(err)
		}
	}
	unix.Close(pair[1])
	if stage, err := proc.message(); stage != stageBorn || err != nil {
		t.Errorf("stage %d, %v", stage, err)
	}
	if _, err := proc.message(); err != ErrDied {
		t.Errorf("afterwards: %v", err)
	}
}

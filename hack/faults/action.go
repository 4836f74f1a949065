package faults

import (
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Action is what happens at a point. The zero Action does nothing.
type Action struct {
	kind   actionKind
	onward bool // at all later points too
	errno  unix.Errno
	delay  time.Duration
	mount  string
	flag   int
}

type actionKind uint8

const (
	doNothing actionKind = iota
	doKill
	doKillCaller
	doFail
	doDelay
	doPowerCut
)

// Kill ends the whole tree with SIGKILL, before the call.
func Kill() Action { return Action{kind: doKill} }

// KillCaller ends only the process that calls.
func KillCaller() Action { return Action{kind: doKillCaller} }

// Fail lets the call fail.
func Fail(errno unix.Errno) Action { return Action{kind: doFail, errno: errno} }

// FailOnward lets the call and all later points fail. With EINTR each of them is interrupted once: whoever repeats the call gets on,
// as after a signal.
func FailOnward(errno unix.Errno) Action { return Action{kind: doFail, errno: errno, onward: true} }

// Delay lets the call wait.
func Delay(d time.Duration) Action { return Action{kind: doDelay, delay: d} }

// DelayOnward lets the call and all later points wait.
func DelayOnward(d time.Duration) Action { return Action{kind: doDelay, delay: d, onward: true} }

// How much a file system loses that is shut down (FS_IOC_SHUTDOWN of ext4, xfs and others).
const (
	JournalWritten = 1 // what was not flushed to files is lost
	NothingWritten = 2 // the journal's last entries too
)

// PowerCut shuts down the file system mounted at a directory, which takes CAP_SYS_ADMIN, and kills the whole tree.
func PowerCut(mount string, flag int) Action {
	return Action{kind: doPowerCut, mount: mount, flag: flag}
}

// String gives what ParseAction reads.
func (a Action) String() string {
	s := ""
	switch a.kind {
	case doNothing:
		return "nothing"
	case doKill:
		return "kill"
	case doKillCaller:
		return "kill-caller"
	case doFail:
		s = unix.ErrnoName(a.errno)
	case doDelay:
		s = "delay=" + a.delay.String()
	case doPowerCut:
		return fmt.Sprintf("powercut=%d:%s", a.flag, a.mount)
	}
	if a.onward {
		s += "+"
	}
	return s
}

// ParseAction reads nothing, kill, kill-caller, an errno's name, delay=DURATION or powercut=FLAG:DIR. A plus sign at the
// end of an errno or a delay means all later points too.
func ParseAction(s string) (Action, error) {
	for _, a := range []Action{{}, Kill(), KillCaller()} {
		if s == a.String() {
			return a, nil
		}
	}
	if rest, ok := strings.CutPrefix(s, "powercut="); ok {
		flag, mount, _ := strings.Cut(rest, ":")
		if (flag == "1" || flag == "2") && mount != "" {
			return PowerCut(mount, int(flag[0]-'0')), nil
		}
		return Action{}, fmt.Errorf("action %q is not powercut=1:DIR or powercut=2:DIR", s)
	}
	body, onward := strings.CutSuffix(s, "+")
	if rest, ok := strings.CutPrefix(body, "delay="); ok {
		d, err := time.ParseDuration(rest)
		return Action{kind: doDelay, delay: d, onward: onward}, err
	}
	const last = 133 // errno(3)
	for e := unix.Errno(1); e <= last; e++ {
		if unix.ErrnoName(e) == body {
			return Action{kind: doFail, errno: e, onward: onward}, nil
		}
	}
	return Action{}, fmt.Errorf("there is no action %q", s)
}

const fsShutdown = 0x8004587d // FS_IOC_SHUTDOWN

// CutPower shuts down the file system mounted at a directory: nothing reaches the disk any more.
func CutPower(mount string, flag int) error {
	fd, err := unix.Open(mount, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cut power of %s: %w", mount, err)
	}
	defer unix.Close(fd)
	if err := unix.IoctlSetPointerInt(fd, fsShutdown, flag); err != nil {
		return fmt.Errorf("cut power of %s: %w", mount, err)
	}
	return nil
}

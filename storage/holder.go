package storage

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Holder is a process that holds a lock somebody waits for. It is what the kernel says (proc_locks(5)), not what anybody has
// written down: a process that has died holds nothing, and one that has got its pid since is not taken for it.
type Holder struct {
	Pid     int           // 0: there is one that cannot be seen from here
	Command string        // the words of its command line that fit, printable
	Age     time.Duration // how long ago the process began
	Stopped bool          // it holds the lock until somebody continues it

	start uint64 // in the kernel's ticks since boot
}

// String tells a person who it is.
func (h Holder) String() string {
	if h.Pid == 0 {
		return "another process"
	}
	text := fmt.Sprintf("%s (pid %d, begun %s ago", h.Command, h.Pid, h.Age.Truncate(time.Second))
	if h.Command == "" {
		text = text[1:]
	}
	if h.Stopped {
		text += ", stopped"
	}
	return strings.TrimPrefix(text, " ") + ")"
}

// Holders are the processes that hold a lock (flock(2)) on an open file; none when nothing is known of any.
func Holders(f *os.File) []Holder {
	key, err := lockKey(f)
	if err != nil {
		return nil
	}
	var found []Holder
	for _, pid := range lockers(key) {
		if h, err := describe(pid); err == nil && !foreign(pid, f) {
			found = append(found, h)
		}
	}
	if len(found) == 0 {
		return nil
	}
	// What was read of a pid was about who holds the lock only if that still does.
	still := lockers(key)
	var sure []Holder
	for _, h := range found {
		for _, pid := range still {
			if again, err := describe(pid); pid == h.Pid && err == nil && again.start == h.start {
				sure = append(sure, h)
				break
			}
		}
	}
	return sure
}

// lockKey is what /proc/locks calls a file: the device of its file system, which on some is not what stat(2) says, and its
// inode.
func lockKey(f *os.File) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", f.Fd()))
	if err != nil {
		return "", err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return "", err
	}
	mount, inode := "", strconv.FormatUint(st.Ino, 10)
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		switch value = strings.TrimSpace(value); name {
		case "mnt_id":
			mount = value
		case "ino": // since Linux 5.14
			inode = value
		}
	}
	major, minor, err := deviceOf(mount)
	return fmt.Sprintf("%02x:%02x:%s", major, minor, inode), err
}

// deviceOf looks a mount up in /proc/self/mountinfo.
func deviceOf(mount string) (major, minor uint32, err error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		fields := strings.SplitN(sc.Text(), " ", 4)
		if len(fields) == 4 && fields[0] == mount {
			_, err := fmt.Sscanf(fields[2], "%d:%d", &major, &minor)
			return major, minor, err
		}
	}
	return 0, 0, fmt.Errorf("mount %s is not in /proc/self/mountinfo", mount)
}

const (
	locksLimit   = 8 << 20 // bytes read of /proc/locks
	holdersLimit = 64      // processes looked at
)

// lockers are the pids that hold the lock on a file. Lines are "ID: FLOCK ADVISORY WRITE PID KEY START END"; who waits has
// an arrow in front.
func lockers(key string) []int {
	f, err := os.Open("/proc/locks")
	if err != nil {
		return nil
	}
	defer f.Close()
	var pids []int
	for sc := bufio.NewScanner(io.LimitReader(f, locksLimit)); sc.Scan() && len(pids) < holdersLimit; {
		fields := strings.Fields(sc.Text())
		if len(fields) < 6 || fields[1] != "FLOCK" || fields[5] != key {
			continue
		}
		if pid, err := strconv.Atoi(fields[4]); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// foreign tells whether a process is known not to have the file open: the lock has then gone to a child of a process that
// is dead, and its pid to this one.
func foreign(pid int, f *os.File) bool {
	want, err := f.Stat()
	if err != nil {
		return false
	}
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	names, err := os.ReadDir(dir)
	if err != nil || len(names) == 0 {
		return false // not for us to see
	}
	for _, n := range names {
		info, err := os.Stat(filepath.Join(dir, n.Name()))
		if errors.Is(err, os.ErrPermission) || err == nil && os.SameFile(info, want) {
			return false // what another user namespace has open can be counted and not be seen
		}
	}
	return true
}

// ticks is how many of the kernel's a second has in proc(5), on every architecture there is.
const ticks = 100

// describe tells what a process is (proc(5), stat).
func describe(pid int) (Holder, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Holder{}, err
	}
	// The second field, in parentheses, is the process's own choice and may contain anything.
	name := stat[bytes.IndexByte(stat, '(')+1:]
	end := bytes.LastIndexByte(name, ')')
	if end < 0 {
		return Holder{}, errors.New("stat has no name")
	}
	fields := strings.Fields(string(name[end+1:]))
	if len(fields) < 20 {
		return Holder{}, errors.New("stat is short")
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return Holder{}, err
	}
	h := Holder{Pid: pid, Command: commandOf(pid), Stopped: fields[0] == "T" || fields[0] == "t", start: start}
	if h.Command == "" {
		h.Command = words(string(name[:end]))
	}
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) == nil {
		h.Age = max(0, time.Duration(now.Nano())-time.Duration(start)*(time.Second/ticks))
	}
	return h, nil
}

// commandOf is how a process was called. karapace-store is called with the words of the command that it works for.
func commandOf(pid int) string {
	f, err := os.Open(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil || len(text) == 0 {
		return ""
	}
	args := strings.Split(strings.TrimRight(string(text), "\x00"), "\x00")
	args[0] = filepath.Base(args[0])
	if args[0] == "karapace-store" {
		args[0] = "karapace"
	}
	for i, a := range args {
		if a == "--" { // what runs inside is nobody's business
			args = args[:i]
			break
		}
	}
	return words(strings.Join(args, " "))
}

const wordsLimit = 100 // characters

// words makes text from another process fit for a line of a message.
func words(s string) string {
	r := []rune(strings.ToValidUTF8(s, "?"))
	for i, c := range r {
		if !strconv.IsPrint(c) {
			r[i] = '?'
		}
	}
	if len(r) > wordsLimit {
		return string(r[:wordsLimit]) + "..."
	}
	return string(r)
}

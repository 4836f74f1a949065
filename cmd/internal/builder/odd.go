package builder

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/manifest/distro"
)

// circumstances are what a second build is made under, to find out what a package's scripts let reach their files.
type circumstances struct {
	clock string // a library of the host's that moves the clock of the programs it is loaded into; empty for none
}

const (
	clockDir   = "/run/karapace-clock"
	clockShift = 400 * 24 * time.Hour
)

// moveClock has programs of the base see a clock that is more than a year ahead, with libfaketime of this host. It
// reports whether there is one.
func (c *circumstances) moveClock() bool {
	for _, pattern := range []string{"/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib64/faketime/libfaketime.so.1", "/usr/lib/faketime/libfaketime.so.1"} {
		if found, err := filepath.Glob(pattern); err == nil && len(found) > 0 {
			c.clock = found[0]
			return true
		}
	}
	return false
}

func (c circumstances) binds() []distro.Bind {
	if c.clock == "" {
		return nil
	}
	return []distro.Bind{{Source: filepath.Dir(c.clock), Target: clockDir}}
}

func (c circumstances) env() []string {
	if c.clock == "" {
		return nil
	}
	return []string{
		"LD_PRELOAD=" + clockDir + "/" + filepath.Base(c.clock),
		"FAKETIME=+" + strconv.Itoa(int(clockShift/time.Second)), "FAKETIME_DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1",
		"MAN_DISABLE_SECCOMP=1", // else mandb, which refuses itself what the library does, makes no index
	}
}

// clockMoves finds out whether the base's programs see the other clock: one of another C library does not.
func clockMoves(ctx context.Context, sb distro.Sandbox) bool {
	var out bytes.Buffer
	if err := sb.Run(ctx, distro.Command{Argv: []string{"date", "+%s"}, Stdout: &out}); err != nil {
		return false
	}
	seen, err := strconv.ParseInt(string(bytes.TrimSpace(out.Bytes())), 10, 64)
	return err == nil && seen > time.Now().Add(clockShift/2).Unix()
}

// oneProcessor keeps this process and all it starts on one processor, until undone.
func oneProcessor() (undo func()) {
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil || all.Count() < 2 {
		return func() {}
	}
	one := unix.CPUSet{}
	for cpu := range len(all) * strconv.IntSize {
		if all.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	eachThread(func(tid int) { unix.SchedSetaffinity(tid, &one) })
	return func() { eachThread(func(tid int) { unix.SchedSetaffinity(tid, &all) }) }
}

func eachThread(do func(tid int)) {
	tasks, _ := os.ReadDir("/proc/self/task")
	for _, t := range tasks {
		if tid, err := strconv.Atoi(t.Name()); err == nil {
			do(tid)
		}
	}
}

// memoryFor tells whether so many bytes can be held in memory without a risk for others.
func memoryFor(size int64) bool {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return false
	}
	for line := range bytes.Lines(b) {
		fields := bytes.Fields(line)
		if len(fields) > 1 && string(fields[0]) == "MemAvailable:" {
			kb, err := strconv.ParseInt(string(fields[1]), 10, 64)
			return err == nil && size < kb*1024/2
		}
	}
	return false
}

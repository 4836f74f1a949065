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
	clock *clock // nil: the clock is right
}

// clock is a library of the host's that moves the clock of the programs it is loaded into.
type clock struct {
	library string
	env     []string
}

const (
	clockDir   = "/run/karapace-clock"
	clockShift = 400 * 24 * time.Hour
)

// moveClock has programs of the base see a clock that is more than a year ahead, if this host has a library for that:
// datefudge, or libfaketime, under which programs that are run for other users than root fail.
func (c *circumstances) moveClock() bool {
	seconds := strconv.Itoa(int(clockShift / time.Second))
	for _, l := range []clock{
		{"datefudge/datefudge.so", []string{"DATEFUDGE=-" + seconds}},
		{"faketime/libfaketime.so.1", []string{"FAKETIME=+" + seconds, "FAKETIME_DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1"}},
	} {
		for _, dir := range []string{"/usr/lib/*/", "/usr/lib64/", "/usr/lib/"} {
			if found, err := filepath.Glob(dir + l.library); err == nil && len(found) > 0 {
				c.clock = &clock{found[0], l.env}
				return true
			}
		}
	}
	return false
}

func (c circumstances) binds() []distro.Bind {
	if c.clock == nil {
		return nil
	}
	return []distro.Bind{{Source: filepath.Dir(c.clock.library), Target: clockDir}}
}

func (c circumstances) env() []string {
	if c.clock == nil {
		return nil
	}
	return append([]string{"LD_PRELOAD=" + clockDir + "/" + filepath.Base(c.clock.library)}, c.clock.env...)
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

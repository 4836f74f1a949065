// Package probe is what karapace runs inside an environment to see what a process there sees. It is part of the karapace
// program, which is bound into the container, read-only, and called by that name: an environment need contain nothing.
//
// A probe is called as "facts", writes a Report of itself and ends; or as "time", with a command that it runs in its own
// place and whose time it takes. The report is written to a file that is bound beside the probe; without one the probe
// only tells by its exit code that a process could be started.
package probe

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// Where things are inside.
const (
	Dir        = "/run/karapace" // in the /run of every session, which is in memory
	Path       = Dir + "/probe"
	ReportPath = Dir + "/report"
)

// The ways a probe is called, as its first argument.
const (
	Facts = "facts"
	Time  = "time"
)

// Report is what a probe writes.
type Report struct {
	Began int64  `json:"began"` // nanoseconds of the monotonic clock, which is the same inside and outside
	Ended int64  `json:"ended"`
	Facts []Fact `json:"facts,omitempty"`
}

// Fact is one thing that a process sees.
type Fact struct {
	Group string `json:"group"`
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Called tells whether this program was started as a probe.
func Called(args []string) bool { return len(args) > 1 && args[0] == Path }

// Main is the probe. It returns its exit code: the command's, or 125 when the probe itself failed.
func Main(args []string) int {
	r := Report{Began: Now()}
	code := 0
	switch args[1] {
	case Facts:
		r.Facts = gather()
	case Time:
		if len(args) > 2 {
			code = command(args[2:])
		}
	default:
		fmt.Fprintf(os.Stderr, "karapace-probe: %s is nothing it does\n", args[1])
		return 125
	}
	r.Ended = Now()
	if err := r.write(); err != nil {
		fmt.Fprintf(os.Stderr, "karapace-probe: %v\n", err)
		return 125
	}
	return code
}

// Now is the monotonic clock, in nanoseconds.
func Now() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0
	}
	return t.Nano()
}

// command runs a command with this process's own streams and gives its exit code as a shell does.
func command(args []string) int {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return 128 + int(ws.Signal())
		}
		return exit.ExitCode()
	}
	fmt.Fprintf(os.Stderr, "%v\n", err)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
		return 127
	}
	return 126
}

func (r *Report) write() error {
	f, err := os.OpenFile(ReportPath, os.O_WRONLY|os.O_TRUNC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(json.NewEncoder(f).Encode(r), f.Close())
}

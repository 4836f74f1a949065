package lifecycle

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/internal/cgroup"
	"github.com/karapace/karapace/backends/internal/nsproc"
)

// Kill is the kill operation: a signal to the first process, or to everything in the container.
func (s *Store) Kill(id string, sig unix.Signal, all bool) error {
	c, err := s.open(id)
	if err != nil {
		return err
	}
	defer c.close()
	pidfd, err := c.pidfd()
	if err != nil {
		if all { // which is called to make sure
			return c.signalGroup(sig)
		}
		return fmt.Errorf("%s cannot be signalled: container not running", id)
	}
	defer unix.Close(pidfd)
	if !all {
		c.letSettle(sig)
		if err := unix.PidfdSendSignal(pidfd, sig, nil, 0); err != nil {
			return fmt.Errorf("signal %s: %w", id, err)
		}
		return nil
	}
	pids, err := nsproc.Pids(c.rec.Pid)
	if err != nil {
		return c.signalGroup(sig)
	}
	for _, pid := range pids {
		if err := unix.Kill(pid, sig); err != nil && err != unix.ESRCH {
			return fmt.Errorf("signal process %d of %s: %w", pid, id, err)
		}
	}
	return nil
}

// signalGroup signals what is in the container's control groups, which were made for it alone.
func (c *container) signalGroup(sig unix.Signal) error {
	if c.rec == nil || len(c.rec.Groups.Made) == 0 {
		return nil
	}
	pids, err := groupPids(c.rec.Groups)
	for _, pid := range pids {
		if err := unix.Kill(pid, sig); err != nil && err != unix.ESRCH {
			return fmt.Errorf("signal process %d of %s: %w", pid, c.id, err)
		}
	}
	return err
}

// groupPids lists the processes of a container's own groups, and of those below.
func groupPids(p cgroup.Place) ([]int, error) {
	seen := map[int]bool{}
	var pids []int
	for _, dir := range p.Own() {
		text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EOPNOTSUPP) {
			continue // gone, or a group of threads, whose processes are in one above
		}
		if err != nil {
			return pids, err
		}
		for _, f := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(f); err == nil && pid > 0 && !seen[pid] {
				seen[pid] = true
				pids = append(pids, pid)
			}
		}
	}
	return pids, nil
}

// A process that is the first of its pid namespace gets no signal that it has no handler for: the kernel drops what
// comes before it has had the time to install one.
const (
	youth   = time.Second            // how long a process counts as just started
	settled = 100 * time.Millisecond // how long a signal waits for a handler then
)

// letSettle waits, for a moment, until a container that has just started handles the signal.
func (c *container) letSettle(sig unix.Signal) {
	if sig == unix.SIGKILL || sig == unix.SIGSTOP || c.rec.Join&unix.CLONE_NEWPID == 0 || c.status() != rspec.StateRunning {
		return
	}
	var st unix.Stat_t // the directory changes when the container is started
	if unix.Fstat(c.dir, &st) != nil || time.Since(time.Unix(st.Mtim.Unix())) > youth {
		return
	}
	for end := time.Now().Add(settled); time.Now().Before(end) && !handles(c.rec.Pid, sig); {
		time.Sleep(2 * time.Millisecond)
	}
}

// handles says whether a process catches, blocks or ignores a signal, or is no more (proc(5), status).
func handles(pid int, sig unix.Signal) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if name != "SigCgt" && name != "SigBlk" && name != "SigIgn" {
			continue
		}
		set, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		if err != nil || set&(1<<(sig-1)) != 0 {
			return true
		}
	}
	return false
}

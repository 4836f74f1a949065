package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// reap waits for every process of the tree, orphans too.
func (s *supervisor) reap() {
	defer close(s.ended)
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil { // none is left
			return
		}
		if pid == s.main {
			s.exited <- status
			continue
		}
		s.mu.Lock()
		if c := s.own[pid]; c != nil {
			c <- status
			delete(s.own, pid)
		}
		s.mu.Unlock()
	}
}

// killTree ends all processes of the tree; none of their calls is answered meanwhile.
func (s *supervisor) killTree() {
	for delay := 100 * time.Microsecond; ; delay = min(2*delay, 10*time.Millisecond) {
		for _, pid := range s.tree() {
			unix.Kill(pid, unix.SIGKILL)
		}
		select {
		case <-s.ended:
			return
		case <-time.After(delay):
		}
	}
}

// tree lists what the supervisor has below it, what it has itself started left out.
func (s *supervisor) tree() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []int
	for _, pid := range Descendants(os.Getpid()) {
		if s.own[pid] == nil {
			all = append(all, pid)
		}
	}
	return all
}

// Descendants are the processes that a process has started, with those that they have started.
func Descendants(pid int) (all []int) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range tasks {
		out, _ := os.ReadFile(file) // gone with its process
		for field := range strings.FieldsSeq(string(out)) {
			if child, err := strconv.Atoi(field); err == nil {
				all = append(append(all, child), Descendants(child)...)
			}
		}
	}
	return all
}

func exitCode(status unix.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

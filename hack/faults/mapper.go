package faults

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// isMapper tells whether a program writes the mappings of user namespaces, for which it must gain privileges.
func isMapper(base string) bool { return base == "newuidmap" || base == "newgidmap" }

// runMapper runs a mapper in place of a process that cannot, and has that one execute what ends likewise.
func (s *supervisor) runMapper(n *notification) {
	p := process(n.Pid)
	path, argv := p.text(n.Args[0]), p.texts(n.Args[1])
	end := "/bin/false"
	switch err := s.runOwn(path, argv); {
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
	default:
		end = "/bin/true"
	}
	if err := p.overwrite(n.Args[0], end); err != nil {
		fmt.Fprintf(os.Stderr, "run %s in place of process %d: %v\n", path, n.Pid, err)
	}
}

// runOwn runs a program of the supervisor's, whose reaper must know it before it ends.
func (s *supervisor) runOwn(path string, argv []string) error {
	status := make(chan unix.WaitStatus, 1)
	s.mu.Lock()
	p, err := os.StartProcess(path, argv, &os.ProcAttr{Files: []*os.File{nil, nil, os.Stderr}})
	if err == nil {
		s.own[p.Pid] = status
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if got := <-status; got != 0 {
		return fmt.Errorf("%s: exit code %d", path, exitCode(got))
	}
	return nil
}

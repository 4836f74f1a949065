package faults

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// supervisor is above one tree.
type supervisor struct {
	plan     Plan
	calls    map[int32]call
	trace    *bufio.Writer // nil: none
	listener int
	mapping  bool // the tree cannot execute newuidmap and newgidmap
	out      Outcome

	interrupted map[string]bool // points whose next call goes on, see FailOnward

	mu     sync.Mutex
	main   int
	ended  chan struct{}                  // closed when no process is left
	exited chan unix.WaitStatus           // the command's
	own    map[int]chan<- unix.WaitStatus // programs of the supervisor
}

func newSupervisor(p Plan) (*supervisor, error) {
	s := &supervisor{plan: p, calls: calls(), ended: make(chan struct{}), exited: make(chan unix.WaitStatus, 1),
		interrupted: map[string]bool{}, own: map[int]chan<- unix.WaitStatus{}}
	if p.Limit == 0 {
		s.plan.Limit = time.Minute
	}
	if p.Trace != "" {
		f, err := os.Create(p.Trace)
		if err != nil {
			return nil, err
		}
		s.trace = bufio.NewWriter(f)
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become the parent of orphans: %w", err)
	}
	return s, nil
}

// supervise starts the command and returns when the tree has ended.
func (s *supervisor) supervise(argv []string) (Outcome, error) {
	if err := s.start(argv); err != nil {
		return s.out, err
	}
	defer unix.Close(s.listener)
	go s.reap()
	s.listen()
	if s.trace != nil {
		if err := s.trace.Flush(); err != nil {
			return s.out, err
		}
	}
	return s.out, nil
}

// start starts the tracee and lets it go on when its listener is here.
func (s *supervisor) start(argv []string) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make socket pair: %w", err)
	}
	defer unix.Close(pair[0])
	see := "calls"
	if len(s.plan.Programs) > 0 {
		see = "programs"
	}
	theirs := os.NewFile(uintptr(pair[1]), "socket")
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = append([]string{traceeName, see}, argv...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{theirs}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return fmt.Errorf("start tracee: %w", err)
	}
	s.main = cmd.Process.Pid
	var how byte
	if s.listener, how, err = handOver(pair[0]); err != nil {
		return err
	}
	s.mapping = how == unprivileged
	_, err = unix.Write(pair[0], []byte{0})
	return err
}

// lingering is how long the tree may outlive the command.
const lingering = 10 * time.Second

// listen answers calls until nothing of the tree is left.
func (s *supervisor) listen() {
	limit, linger := time.After(s.plan.Limit), (<-chan time.Time)(nil)
	calls := make(chan *notification)
	next := make(chan struct{})
	go s.receive(calls, next)
	for {
		select {
		case n := <-calls:
			s.handle(n)
			next <- struct{}{}
		case status := <-s.exited:
			s.out.Exit = exitCode(status)
			linger = time.After(lingering)
		case <-linger:
			s.out.Left += len(s.tree())
			s.killTree()
		case <-limit:
			s.out.TimedOut = true
			s.killTree()
		case <-s.ended:
			select {
			case status := <-s.exited:
				s.out.Exit = exitCode(status)
			default:
			}
			return
		}
	}
}

// receive hands over one call after the other.
func (s *supervisor) receive(calls chan<- *notification, next <-chan struct{}) {
	for {
		n, err := receive(s.listener)
		if err != nil { // closed
			return
		}
		if n == nil {
			fds := []unix.PollFd{{Fd: int32(s.listener), Events: unix.POLLIN}}
			if _, err := unix.Poll(fds, -1); err == nil && fds[0].Revents&unix.POLLIN == 0 { // no caller is left
				return
			}
			continue
		}
		calls <- n
		<-next
	}
}

// handle decides about one call.
func (s *supervisor) handle(n *notification) {
	if n.Nr == unix.SYS_EXECVE {
		s.handleProgram(n)
		return
	}
	c := s.calls[n.Nr]
	if path := c.place(n); s.under(path) {
		s.point(n, c.name+" "+path)
		return
	}
	s.proceed(n)
}

func (s *supervisor) under(path string) bool {
	return slices.ContainsFunc(s.plan.Under, func(dir string) bool {
		return path == dir || strings.HasPrefix(path, dir+"/")
	})
}

// handleProgram sees a program that is executed.
func (s *supervisor) handleProgram(n *notification) {
	base := filepath.Base(process(n.Pid).text(n.Args[0]))
	if slices.Contains(s.plan.Programs, base) {
		s.point(n, "execve "+base)
		return
	}
	s.proceed(n)
}

// proceed lets a call go on.
func (s *supervisor) proceed(n *notification) {
	if n.Nr == unix.SYS_EXECVE && s.mapping && isMapper(filepath.Base(process(n.Pid).text(n.Args[0]))) {
		s.runMapper(n)
	}
	answer(s.listener, n.ID, 0)
}

// point counts one and acts at it.
func (s *supervisor) point(n *notification, what string) {
	s.out.Points++
	if s.trace != nil {
		fmt.Fprintln(s.trace, s.out.Points, what)
	}
	here := s.plan.At > 0 && s.out.Points == s.plan.At
	if here {
		s.out.Fired = what
	}
	if here || s.plan.Do.onward && s.out.Fired != "" {
		s.act(n, what)
		return
	}
	s.proceed(n)
}

func (s *supervisor) act(n *notification, what string) {
	switch a := s.plan.Do; a.kind {
	case doKill:
		s.killTree()
	case doPowerCut:
		if err := CutPower(a.mount, a.flag); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		s.killTree()
	case doKillCaller:
		unix.Kill(int(n.Pid), unix.SIGKILL)
	case doDelay:
		go func() {
			time.Sleep(a.delay)
			s.proceed(n)
		}()
	case doFail:
		if a.onward && a.errno == unix.EINTR {
			if s.interrupted[what] {
				delete(s.interrupted, what)
				s.proceed(n)
				return
			}
			s.interrupted[what] = true
		}
		answer(s.listener, n.ID, a.errno)
	default:
		s.proceed(n)
	}
}

package nsproc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/internal/cgroup"
	"github.com/karapace/karapace/backends/internal/rawproc"
)

// What containers of documents from outside need beside what environments do.

// Hook is a program of the runtime's side that runs in a container's namespaces.
type Hook struct {
	Pidfd     int // of the container's first process
	Flags     uintptr
	UserNS    bool
	Path      string
	Args, Env []string
	Stdio     [3]int
}

// Run runs the hook to its end, or to that of the context.
func (h *Hook) Run(ctx context.Context) error {
	p := new(rawproc.Program)
	mask := rawproc.SignalMask()
	flags := h.Flags
	if h.UserNS {
		flags |= unix.CLONE_NEWUSER
	}
	// The container's first process may share our memory still, and must stay traceable to be joined.
	p.Call("join namespaces", unix.SYS_SETNS, rawproc.Int(h.Pidfd), rawproc.Int(flags))
	p.Clone("start hook", 0)
	if h.UserNS {
		p.BecomeRoot()
	}
	p.Redirect(h.Stdio[:])
	p.CloseRange(3, ^uint32(0))
	p.Unblock(mask)
	args := h.Args
	if len(args) == 0 {
		args = []string{h.Path}
	}
	p.Call(labelExecute+" "+h.Path, unix.SYS_EXECVE, rawproc.Str(h.Path), rawproc.Strs(args), rawproc.Strs(h.Env))
	pid, err := p.Run(0)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { unix.Kill(pid, unix.SIGKILL) })
	err = waitExited(pid)
	stop()
	if err != nil {
		return err
	}
	ws, err := rawproc.Wait(pid)
	if err != nil {
		return fmt.Errorf("wait for process %d: %w", pid, err)
	}
	if code := exitOf(ws).ShellCode(); code != 0 {
		return fmt.Errorf("exit status %d", code)
	}
	return nil
}

// Traceable lets others with the process's ids join its namespaces, or not.
func Traceable(p *rawproc.Program, yes bool) {
	value := 0
	if yes {
		value = 1
	}
	p.Call("become traceable or not", unix.SYS_PRCTL, rawproc.Int(unix.PR_SET_DUMPABLE), rawproc.Int(value))
}

// DieWithCreator makes the kernel kill the process when the thread that made it ends, or not any more. The process's
// credentials must not change in between.
func DieWithCreator(p *rawproc.Program, yes bool) {
	sig := 0
	if yes {
		sig = int(unix.SIGKILL)
	}
	p.Call("set parent death signal", unix.SYS_PRCTL, rawproc.Int(unix.PR_SET_PDEATHSIG), rawproc.Int(sig))
}

// Terminal is the terminal of a container's first process.
type Terminal struct {
	Process   *rspec.Process
	Root, Dev rawproc.Reg // of the root file system; Dev may be 0
	master    rawproc.Reg
}

// Open opens a new pseudo terminal of the container's own, whose process gets it as its controlling terminal, standard
// descriptors and /dev/console.
func (t *Terminal) Open(p *rawproc.Program) {
	_, t.master = Lookup(p, "open pseudo terminal", t.Root, "dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY)
	slave := setUpTerminal(p, t.master, t.Process, nil)
	if t.Dev != 0 {
		target := Target(p, t.Dev, "console", "/dev/console", false, Beneath)
		console := p.Reg()
		p.Call("bind the terminal", unix.SYS_OPEN_TREE, rawproc.R(slave), rawproc.Str(""), rawproc.Int(unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)).Into(console)
		p.Call("mount /dev/console", unix.SYS_MOVE_MOUNT, rawproc.R(console), rawproc.Str(""), rawproc.R(target), rawproc.Str(""), rawproc.Int(unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH))
	}
	takeTerminal(p, slave)
}

// SendMaster sends the terminal's master over a socket, and closes both. The descriptor's number is in the message
// before there is a descriptor: it replaces slot, one of the process's.
func (t *Terminal) SendMaster(p *rawproc.Program, sock, slot int) {
	p.Call("copy descriptor", unix.SYS_DUP3, rawproc.R(t.master), rawproc.Int(slot), rawproc.Int(unix.O_CLOEXEC))
	data := []byte("/dev/ptmx")
	rights := unix.UnixRights(slot)
	msg := &unix.Msghdr{Iov: &unix.Iovec{Base: &data[0], Len: uint64(len(data))}, Iovlen: 1, Control: &rights[0], Controllen: uint64(len(rights))}
	p.Call("send the terminal", unix.SYS_SENDMSG, rawproc.Int(sock), rawproc.Value(msg), rawproc.Int(0))
	for _, fd := range [...]rawproc.Arg{rawproc.R(t.master), rawproc.Int(slot), rawproc.Int(sock)} {
		p.Call("close the terminal", unix.SYS_CLOSE, fd)
	}
}

// GiveStdio makes pipes that are the caller's standard descriptors the process's own, so that it may open them again by
// their names.
func GiveStdio(p *rawproc.Program, proc *rspec.Process) {
	if proc == nil || proc.Terminal {
		return
	}
	for fd := range 3 {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO {
			p.Call("give away a pipe", unix.SYS_FCHOWN, rawproc.Int(fd), rawproc.Int(proc.User.UID), rawproc.Int(-1)).AllowAny()
		}
	}
}

// OpenOOM opens the process's oom_score_adj as the descriptor slot, one of the process's, for an image: a value that is
// set before would be that of everybody who shares the memory.
func OpenOOM(p *rawproc.Program, slot int) {
	fd := openOOM(p)
	p.Call("keep descriptor", unix.SYS_DUP3, rawproc.R(fd), rawproc.Int(slot), rawproc.Int(0))
}

// WriteOOM sets and closes it.
func WriteOOM(p *rawproc.Program, slot, adj int) { writeOOM(p, rawproc.Int(slot), adj) }

// Apart is how a Session starts that nothing of ours goes into the container with.
type Apart struct {
	Preserve int // how many descriptors from 3 on it keeps
	Root     int // the container's root, to change to where it has no mount namespace of its own; -1 is none
	Groups   []string
	// Image puts an executable into memory.
	Image func(image []byte) (fd int, err error)
}

// StartApart executes the command by way of an image. The command lives on when its maker ends.
func (s *Session) StartApart(a Apart) (*Started, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	report, err := unix.FcntlInt(w.Fd(), unix.F_DUPFD_CLOEXEC, rawproc.FirstHigh)
	w.Close()
	if err != nil {
		return nil, fmt.Errorf("move descriptor: %w", err)
	}
	closeReport := func() {
		if report >= 0 {
			unix.Close(report)
			report = -1
		}
	}
	defer closeReport()
	image, err := s.image(report)
	if err != nil {
		return nil, err
	}
	exe, err := a.Image(image)
	if err != nil {
		return nil, err
	}
	defer unix.Close(exe)
	started, err := s.startApart(a, report, exe)
	if err != nil {
		return nil, err
	}
	closeReport()
	message := make([]byte, rawproc.MessageSize)
	if n, _ := r.Read(message); n > 0 {
		rawproc.Wait(started.Pid)
		if started.Master >= 0 {
			unix.Close(started.Master)
		}
		return nil, rawproc.ParseMessage(message[:n])
	}
	return started, nil
}

func (s *Session) image(report int) ([]byte, error) {
	p := new(rawproc.Program)
	to := p.Reg()
	p.Call("keep descriptor", unix.SYS_FCNTL, rawproc.Int(report), rawproc.Int(unix.F_DUPFD_CLOEXEC), rawproc.Int(rawproc.FirstHigh)).Into(to)
	p.Call("close descriptor", unix.SYS_CLOSE, rawproc.Int(report))
	p.Call("become untraceable", unix.SYS_PRCTL, rawproc.Int(unix.PR_SET_DUMPABLE), rawproc.Int(0))
	p.Unblock(rawproc.SignalMask())
	s.Become(p)
	return p.Image(to)
}

func (s *Session) startApart(a Apart, report, exe int) (*Started, error) {
	groups, err := cgroup.Open(a.Groups)
	if err != nil {
		return nil, err
	}
	defer cgroup.Close(groups)
	p := new(rawproc.Program)
	enterGroups(p, groups)
	s.enter(p)
	if a.Root >= 0 {
		p.Call("enter the root", unix.SYS_FCHDIR, rawproc.Int(a.Root))
		p.Call("change root", unix.SYS_CHROOT, rawproc.Str("."))
		p.Call("change directory to /", unix.SYS_CHDIR, rawproc.Str("/"))
	}
	var master, slave rawproc.Reg
	var flags uintptr
	if s.Process.Terminal {
		flags = unix.CLONE_FILES
		master, slave = s.openTerminal(p)
	}
	p.Clone("start process", 0)
	if s.UserNS {
		p.BecomeRoot()
	}
	s.stdio(p, slave)
	keep := []int{report, exe}
	for fd := range 3 + a.Preserve {
		keep = append(keep, fd)
	}
	GiveStdio(p, s.Process)
	keepOnly(p, keep)
	p.Call("keep descriptor", unix.SYS_FCNTL, rawproc.Int(report), rawproc.Int(unix.F_SETFD), rawproc.Int(0))
	p.Call("start process", unix.SYS_EXECVEAT, rawproc.Int(exe), rawproc.Str(""), rawproc.Strs([]string{s.Process.Args[0]}), rawproc.Strs(nil), rawproc.Int(unix.AT_EMPTY_PATH))
	pid, err := p.Run(flags)
	started := &Started{Pid: pid, Master: -1}
	if s.Process.Terminal {
		closeReg(p, slave)
		started.Master = int(p.Value(master))
		if err != nil {
			closeReg(p, master)
		}
	}
	return started, err
}

// Foreground waits for a process of the caller's that leads a session, passes signals on, and stands between its terminal
// and the user's when it has one.
func (s *Started) Foreground(ctx context.Context, io backends.Stdio) (backends.Exit, error) {
	return s.supervise(ctx, io, takeSignals(s.Master >= 0))
}

// Pids lists the processes in the pid namespace of a process, as far as they are seen in /proc.
func Pids(pid int) ([]int, error) {
	link := func(pid string) (string, error) { return os.Readlink("/proc/" + pid + "/ns/pid") }
	own, err := link(strconv.Itoa(pid))
	if err != nil {
		return nil, err
	}
	if mine, err := link("self"); err == nil && mine == own {
		return nil, errors.New("the container has no pid namespace of its own")
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var list []int
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if ns, err := link(e.Name()); err == nil && ns == own {
			list = append(list, n)
		}
	}
	return list, nil
}

package nsproc

import (
	"fmt"
	"os"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/internal/cgroup"
	"github.com/karapace/karapace/backends/internal/rawproc"
)

// Session is a process that joins a container's namespaces and executes a command there.
type Session struct {
	Pidfd int     // of the container's first process
	Flags uintptr // of the namespaces to join, but for the user namespace
	Command
	Stdio      [3]int        // descriptors of the caller's; ignored with Process.Terminal
	Size       *unix.Winsize // of the terminal; nil is Process.ConsoleSize
	Groups     []string      // directories of the control groups to enter
	ownSignals bool          // signals are not passed on
}

// Started is a session's command that runs.
type Started struct {
	Pid    int
	Master int // of its pseudo terminal, -1 when it has none
}

// Start executes the command. The calling thread must live as long as the command: when it ends, the command is killed.
func (s *Session) Start() (*Started, error) {
	groups, err := cgroup.Open(s.Groups)
	if err != nil {
		return nil, err
	}
	defer cgroup.Close(groups)
	p := new(rawproc.Program)
	enterGroups(p, groups)
	s.enter(p)
	var master, slave rawproc.Reg
	var flags uintptr
	if s.Process.Terminal {
		// The one that joins shares our descriptors, so that the terminal it opens is ours.
		flags = unix.CLONE_FILES
		master, slave = s.openTerminal(p)
	}
	p.Clone("start process", 0)
	own, err := self()
	if err != nil {
		return nil, err
	}
	defer unix.Close(own)
	s.stdio(p, slave)
	s.become(p, own)
	pid, err := p.Run(flags)
	started := &Started{Pid: pid, Master: -1}
	if s.Process.Terminal {
		closeReg(p, slave)
		started.Master = int(p.Value(master))
	}
	if err != nil {
		if s.Process.Terminal {
			closeReg(p, master)
		}
		return nil, err
	}
	return started, nil
}

// self opens this process, for DieWithParent, at rawproc.FirstHigh or above.
func self() (int, error) {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return -1, fmt.Errorf("open own process: %w", err)
	}
	return rawproc.High(fd)
}

// closeReg closes a descriptor that the program has opened in our table; 0 is one it has not come to.
func closeReg(p *rawproc.Program, r rawproc.Reg) {
	if fd := p.Value(r); fd != 0 {
		unix.Close(int(fd))
	}
}

// enter joins the namespaces. What the command inherits through them is set before: afterwards the process cannot be
// traced, nor write to its own files in /proc, since it still shares our memory.
func (s *Session) enter(p *rawproc.Program) {
	if adj := s.Process.OOMScoreAdj; adj != nil {
		fd := openOOM(p)
		writeOOM(p, rawproc.R(fd), *adj)
	}
	p.Call("become untraceable", unix.SYS_PRCTL, rawproc.Int(unix.PR_SET_DUMPABLE), rawproc.Int(0))
	flags := s.Flags
	if s.UserNS {
		flags |= unix.CLONE_NEWUSER
	}
	if flags == 0 {
		return
	}
	p.Call("join namespaces", unix.SYS_SETNS, rawproc.Int(s.Pidfd), rawproc.Int(flags))
}

// openOOM opens the process's own oom_score_adj, which it must be traceable for.
func openOOM(p *rawproc.Program) rawproc.Reg {
	fd := p.Reg()
	p.Call("become traceable", unix.SYS_PRCTL, rawproc.Int(unix.PR_SET_DUMPABLE), rawproc.Int(1))
	p.Call("open oom_score_adj", unix.SYS_OPENAT, rawproc.Int(unix.AT_FDCWD), rawproc.Str("/proc/self/oom_score_adj"), rawproc.Int(unix.O_WRONLY|unix.O_CLOEXEC), rawproc.Int(0)).Into(fd)
	return fd
}

func writeOOM(p *rawproc.Program, fd rawproc.Arg, adj int) {
	text := fmt.Sprint(adj)
	p.Call("set oom_score_adj to "+text, unix.SYS_WRITE, fd, rawproc.Str(text), rawproc.Int(len(text)))
	p.Call("close oom_score_adj", unix.SYS_CLOSE, fd)
}

// stdio gives the command a session of its own, so that it can push no input into the caller's terminal, and its
// standard descriptors.
func (s *Session) stdio(p *rawproc.Program, slave rawproc.Reg) {
	p.Call("leave the terminal", unix.SYS_SETSID)
	if !s.Process.Terminal {
		p.Redirect(s.Stdio[:])
		return
	}
	takeTerminal(p, slave)
}

// takeTerminal makes a terminal a session leader's own, and its standard descriptors.
func takeTerminal(p *rawproc.Program, slave rawproc.Reg) {
	p.Call("take the terminal", unix.SYS_IOCTL, rawproc.R(slave), rawproc.Int(unix.TIOCSCTTY), rawproc.Int(0))
	for fd := range 3 {
		p.Call("redirect descriptor", unix.SYS_DUP3, rawproc.R(slave), rawproc.Int(fd), rawproc.Int(0)).Allow(unix.EINVAL)
	}
}

// become turns the process, root in the container with all capabilities, into the command.
func (s *Session) become(p *rawproc.Program, self int) {
	s.privileged(p)
	p.CloseFrom(3, self)
	s.unprivileged(p)
	p.DieWithParent(self)
	s.execute(p)
}

// openTerminal opens a new pseudo terminal of the container's own, and gives it to the command's user.
func (s *Session) openTerminal(p *rawproc.Program) (master, slave rawproc.Reg) {
	master = p.Reg()
	p.Call("open pseudo terminal", unix.SYS_OPENAT, rawproc.Int(unix.AT_FDCWD), rawproc.Str("/dev/pts/ptmx"), rawproc.Int(unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NOFOLLOW), rawproc.Int(0)).Into(master)
	return master, setUpTerminal(p, master, s.Process, s.Size)
}

// setUpTerminal opens the other side of a pseudo terminal for a process.
func setUpTerminal(p *rawproc.Program, master rawproc.Reg, proc *rspec.Process, size *unix.Winsize) (slave rawproc.Reg) {
	if console := proc.ConsoleSize; size == nil && console != nil {
		size = &unix.Winsize{Row: uint16(console.Height), Col: uint16(console.Width)}
	}
	slave = p.Reg()
	p.Call("unlock pseudo terminal", unix.SYS_IOCTL, rawproc.R(master), rawproc.Int(unix.TIOCSPTLCK), rawproc.Value(new(int32)))
	p.Call("open pseudo terminal", unix.SYS_IOCTL, rawproc.R(master), rawproc.Int(unix.TIOCGPTPEER), rawproc.Int(unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)).Into(slave)
	p.Call("give away pseudo terminal", unix.SYS_FCHOWN, rawproc.R(slave), rawproc.Int(proc.User.UID), rawproc.Int(-1))
	if size != nil {
		p.Call("set terminal size", unix.SYS_IOCTL, rawproc.R(master), rawproc.Int(unix.TIOCSWINSZ), rawproc.Value(size))
	}
	return slave
}

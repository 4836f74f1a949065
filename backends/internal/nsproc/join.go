package nsproc

import (
	"errors"
	"fmt"
	"os"
	"strings"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/internal/cgroup"
	"github.com/karapace/karapace/backends/internal/rawproc"
)

// Session is a process that joins a container's namespaces and executes a command there.
type Session struct {
	Pidfd       int     // of the container's first process
	UserNS      bool    // it has a user namespace of its own
	Flags       uintptr // of the other namespaces to join
	Process     *rspec.Process
	Filter      []unix.SockFilter // seccomp; nil is none
	FilterFlags uintptr           // of seccomp(2)
	Stdio       [3]int            // descriptors of the caller's; ignored with Process.Terminal
	Size        *unix.Winsize     // of the terminal; nil is Process.ConsoleSize
	Groups      []string          // directories of the control groups to enter
	ownSignals  bool              // signals are not passed on
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
		fd := p.Reg()
		text := fmt.Sprint(*adj)
		p.Call("become traceable", unix.SYS_PRCTL, rawproc.Int(unix.PR_SET_DUMPABLE), rawproc.Int(1))
		p.Call("open oom_score_adj", unix.SYS_OPENAT, rawproc.Int(unix.AT_FDCWD), rawproc.Str("/proc/self/oom_score_adj"), rawproc.Int(unix.O_WRONLY|unix.O_CLOEXEC), rawproc.Int(0)).Into(fd)
		p.Call("set oom_score_adj to "+text, unix.SYS_WRITE, rawproc.R(fd), rawproc.Str(text), rawproc.Int(len(text)))
		p.Call("close oom_score_adj", unix.SYS_CLOSE, rawproc.R(fd))
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

// stdio gives the command a session of its own, so that it can push no input into the caller's terminal, and its
// standard descriptors.
func (s *Session) stdio(p *rawproc.Program, slave rawproc.Reg) {
	p.Call("leave the terminal", unix.SYS_SETSID)
	if !s.Process.Terminal {
		p.Redirect(s.Stdio[:])
		return
	}
	p.Call("take the terminal", unix.SYS_IOCTL, rawproc.R(slave), rawproc.Int(unix.TIOCSCTTY), rawproc.Int(0))
	for fd := range 3 {
		p.Call("redirect descriptor", unix.SYS_DUP3, rawproc.R(slave), rawproc.Int(fd), rawproc.Int(0)).Allow(unix.EINVAL)
	}
}

// become turns the process, root in the container with all capabilities, into the command.
func (s *Session) become(p *rawproc.Program, self int) {
	proc := s.Process
	p.Call("leave the session keyring", unix.SYS_KEYCTL, rawproc.Int(unix.KEYCTL_JOIN_SESSION_KEYRING), rawproc.Int(0)).AllowAny()
	limits(p, proc.Rlimits)
	if s.Filter != nil && !proc.NoNewPrivileges { // which needs a capability
		s.installFilter(p)
	}
	credentials(p, proc, s.UserNS)
	p.CloseFrom(3, self)
	if proc.Cwd != "" && proc.Cwd != "/" {
		p.Call("change directory to "+proc.Cwd, unix.SYS_CHDIR, rawproc.Str(proc.Cwd))
	}
	if proc.NoNewPrivileges {
		p.Call("set no_new_privs", unix.SYS_PRCTL, rawproc.Int(unix.PR_SET_NO_NEW_PRIVS), rawproc.Int(1), rawproc.Int(0), rawproc.Int(0), rawproc.Int(0))
	}
	p.DieWithParent(self)
	if s.Filter != nil && proc.NoNewPrivileges {
		s.installFilter(p)
	}
	Execute(p, proc.Args, proc.Env)
}

func (s *Session) installFilter(p *rawproc.Program) {
	p.Call("install system call filter", unix.SYS_SECCOMP, rawproc.Int(unix.SECCOMP_SET_MODE_FILTER), rawproc.Int(s.FilterFlags), rawproc.Filter(s.Filter))
}

// Execute appends the execution of a command, which is looked for in the PATH of env as execvp(3) does.
func Execute(p *rawproc.Program, args, env []string) {
	argv, envp := rawproc.Strs(args), rawproc.Strs(env)
	label := labelExecute + " " + args[0]
	if strings.Contains(args[0], "/") {
		p.Call(label, unix.SYS_EXECVE, rawproc.Str(args[0]), argv, envp)
		return
	}
	errno := p.Reg()
	for _, dir := range strings.Split(SearchPath(env), ":") {
		if dir != "" && args[0] != "" {
			p.Call(label, unix.SYS_EXECVE, rawproc.Str(dir+"/"+args[0]), argv, envp).
				Allow(unix.ENOENT, unix.ENOTDIR, unix.EACCES, unix.ENAMETOOLONG, unix.ELOOP).ErrInto(errno)
		}
	}
	p.Fail(label, errno, unix.ENOENT)
}

// SearchPath is the PATH that a command is looked for in.
func SearchPath(env []string) string {
	for _, v := range env {
		if path, ok := strings.CutPrefix(v, "PATH="); ok {
			return path
		}
	}
	return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
}

// openTerminal opens a new pseudo terminal of the container's own, and gives it to the command's user.
func (s *Session) openTerminal(p *rawproc.Program) (master, slave rawproc.Reg) {
	proc, size := s.Process, s.Size
	if console := proc.ConsoleSize; size == nil && console != nil {
		size = &unix.Winsize{Row: uint16(console.Height), Col: uint16(console.Width)}
	}
	master, slave = p.Reg(), p.Reg()
	p.Call("open pseudo terminal", unix.SYS_OPENAT, rawproc.Int(unix.AT_FDCWD), rawproc.Str("/dev/pts/ptmx"), rawproc.Int(unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NOFOLLOW), rawproc.Int(0)).Into(master)
	p.Call("unlock pseudo terminal", unix.SYS_IOCTL, rawproc.R(master), rawproc.Int(unix.TIOCSPTLCK), rawproc.Value(new(int32)))
	p.Call("open pseudo terminal", unix.SYS_IOCTL, rawproc.R(master), rawproc.Int(unix.TIOCGPTPEER), rawproc.Int(unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)).Into(slave)
	p.Call("give away pseudo terminal", unix.SYS_FCHOWN, rawproc.R(slave), rawproc.Int(proc.User.UID), rawproc.Int(-1))
	if size != nil {
		p.Call("set terminal size", unix.SYS_IOCTL, rawproc.R(master), rawproc.Int(unix.TIOCSWINSZ), rawproc.Value(size))
	}
	return master, slave
}

// checkProcess refuses what no session can do.
func checkProcess(proc *rspec.Process) error {
	switch {
	case proc == nil:
		return errors.New("the spec has no process")
	case len(proc.Args) == 0:
		return errors.New("the process has no arguments")
	case proc.Cwd != "" && !strings.HasPrefix(proc.Cwd, "/"):
		return fmt.Errorf("the working directory %q is not absolute", proc.Cwd)
	case proc.ApparmorProfile != "", proc.SelinuxLabel != "":
		return errors.New("security labels are not supported")
	case proc.Scheduler != nil, proc.IOPriority != nil, proc.ExecCPUAffinity != nil:
		return errors.New("scheduling attributes are not supported")
	}
	for _, list := range [][]string{proc.Args, proc.Env, {proc.Cwd}} {
		for _, s := range list {
			if strings.IndexByte(s, 0) >= 0 {
				return fmt.Errorf("the process has a NUL in %q", s)
			}
		}
	}
	return nil
}

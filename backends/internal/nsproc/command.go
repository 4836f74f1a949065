package nsproc

import (
	"errors"
	"fmt"
	"strings"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/internal/rawproc"
)

// Command is what a process of a container becomes.
type Command struct {
	Process     *rspec.Process
	UserNS      bool              // the container has a user namespace of its own
	KeepGroups  bool              // the caller's supplementary groups stay
	Filter      []unix.SockFilter // seccomp; nil is none
	FilterFlags uintptr           // of seccomp(2)
	Attributes                    // of a document from outside
	rootCwd     rawproc.Reg       // 0 when root could enter the working directory, else why not
}

func (c *Command) cwd() string {
	if c.Process.Cwd == "" {
		return "/"
	}
	return c.Process.Cwd
}

// privileged does what root of the container does before it gives its power away.
func (c *Command) privileged(p *rawproc.Program) {
	if !c.KeepKeyring {
		p.Call("leave the session keyring", unix.SYS_KEYCTL, rawproc.Int(unix.KEYCTL_JOIN_SESSION_KEYRING), rawproc.Int(0)).AllowAny()
	}
	c.schedule(p)
	limits(p, c.Process.Rlimits)
	if c.Filter != nil && !c.Process.NoNewPrivileges { // which needs a capability
		c.installFilter(p)
	}
	credentials(p, c.Process, c.UserNS, c.KeepGroups)
}

// unprivileged does the rest, but for the filter that needs no capability.
func (c *Command) unprivileged(p *rawproc.Program) {
	if cwd := c.cwd(); c.rootCwd != 0 {
		p.Call("change directory to "+cwd, unix.SYS_CHDIR, rawproc.Str(cwd)).AllowAny().SkipIfOK(1)
		p.Fail("change directory to "+cwd, c.rootCwd, 0)
	} else if cwd != "/" {
		p.Call("change directory to "+cwd, unix.SYS_CHDIR, rawproc.Str(cwd))
	}
	c.label(p)
	if c.Process.NoNewPrivileges {
		p.Call("set no_new_privs", unix.SYS_PRCTL, rawproc.Int(unix.PR_SET_NO_NEW_PRIVS), rawproc.Int(1), rawproc.Int(0), rawproc.Int(0), rawproc.Int(0))
	}
}

func (c *Command) execute(p *rawproc.Program) {
	if c.Filter != nil && c.Process.NoNewPrivileges {
		c.installFilter(p)
	}
	Execute(p, c.Process.Args, c.Process.Env)
}

func (c *Command) installFilter(p *rawproc.Program) {
	p.Call("install system call filter", unix.SYS_SECCOMP, rawproc.Int(unix.SECCOMP_SET_MODE_FILTER), rawproc.Int(c.FilterFlags), rawproc.Filter(c.Filter))
}

// Become appends the whole way of a process that is root of the container, with descriptors as they are to stay. A working
// directory that root can enter and the user cannot is the user's all the same, as with other runtimes.
func (c *Command) Become(p *rawproc.Program) {
	c.rootCwd = p.Reg()
	p.Call("change directory to "+c.Process.Cwd, unix.SYS_CHDIR, rawproc.Str(c.cwd())).AllowAny().ErrInto(c.rootCwd)
	c.privileged(p)
	c.unprivileged(p)
	c.execute(p)
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

// LookFor appends a look for the command that Execute will look for, so that one that is not there is told early.
func LookFor(p *rawproc.Program, proc *rspec.Process) {
	const executable = unix.X_OK
	label := labelExecute + " " + proc.Args[0]
	look := func(path string) *rawproc.Op {
		return p.Call(label, unix.SYS_FACCESSAT, rawproc.Int(unix.AT_FDCWD), rawproc.Str(path), rawproc.Int(executable))
	}
	if cwd := proc.Cwd; cwd != "" && cwd != "/" {
		p.Call("change directory to "+cwd, unix.SYS_CHDIR, rawproc.Str(cwd)).AllowAny() // its user may be able to
	}
	if strings.Contains(proc.Args[0], "/") {
		look(proc.Args[0])
		return
	}
	errno := p.Reg()
	var found []*rawproc.Op
	for _, dir := range strings.Split(SearchPath(proc.Env), ":") {
		if dir != "" && proc.Args[0] != "" {
			found = append(found, look(dir+"/"+proc.Args[0]).AllowAny().ErrInto(errno))
		}
	}
	for i, op := range found {
		op.SkipIfOK(len(found) - i)
	}
	p.Fail(label, errno, unix.ENOENT)
}

// CheckProcess refuses what no session can do.
func CheckProcess(proc *rspec.Process) error {
	switch {
	case proc == nil:
		return errors.New("the spec has no process")
	case len(proc.Args) == 0:
		return errors.New("the process has no arguments")
	case proc.Cwd != "" && !strings.HasPrefix(proc.Cwd, "/"):
		return fmt.Errorf("the working directory %q is not absolute", proc.Cwd)
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

// Package backends runs environments: it defines what a container is, what a backend does with one, and how the
// backends of a host are found.
//
// # Vocabulary
//
// A container is a root file system, a runtime spec and two directories of the caller's: Bundle, where the root is
// mounted, and State, where the container's kernel locks live. A backend (Runtime) runs commands in it. Each command
// is a session: the process that called Run supervises it, passes signals on and returns how it ended. The first
// session starts the container, every later one joins the namespaces of the running one; a backend's user does not
// choose between the two, the locks in State do.
//
// # Life cycle
//
//	Run            the container is started if it does not run, and the session's command executed in it
//	Run (again)    from any process, at any time: one more session in the same namespaces
//	last session   the container ends: what is left in it is killed, its mounts are dropped
//	Stop           TERM to everything inside, KILL after a grace time
//	Delete         refuses while there is a session, waits for a container that is ending, removes what was kept in State
//
// # Invariants
//
//   - A container runs exactly as long as the kernel lock State/lock is held, and that lock is held by the
//     container's own first process. No stored flag is believed.
//   - A session's command does not outlive its supervisor, however that one dies; a container does not outlive its
//     last session. Nothing of a container is mounted in the caller's mount namespace.
//   - No symbolic link of the root file system is ever followed on the host: mount targets are looked up beneath
//     the root with openat2, in the namespace backend and before any other runtime is started.
//   - Standard input, output and error are handed to the command as they are, without a copy in between, unless the
//     process asks for a terminal.
//   - The spec names no user namespace and no namespace by path. Container.Mapping decides about the first; the
//     second, hooks and other things that the spec could ask of us on the host are refused.
package backends

import (
	"context"
	"os"
	"time"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/userns"
)

// Container is what a backend runs. The caller owns both directories, keeps one State per container and passes the
// same one in every call; everything else may differ between sessions, but only Spec.Process, Spec.Linux.Seccomp
// and Mapping matter to a session that joins.
type Container struct {
	ID     string // names the container to OCI runtimes: letters, digits, _ + - .
	Bundle string // absolute; Bundle/rootfs is where the root is mounted; OCI backends write config.json here
	State  string // absolute; lock, sessions and the runtime's state
	Spec   *rspec.Spec
	// Compose, unless nil, gives the whole Spec, of which only Linux.Namespaces and Linux.Resources are there before and stay as
	// they are. A backend calls it once, late: while something else has to be waited for. Its error comes back from Run, wrapped.
	Compose func() (*rspec.Spec, error) `json:"-"`
	Rootfs  Rootfs
	// Profile is the name of what the container is made with of the host. A session that has SameProfile does not join one that was
	// made with another: it gets a *Error of kind Busy.
	Profile     string
	SameProfile bool
	// OwnSignals keeps the signals of this process from being passed on to the command: only its context ends it.
	OwnSignals bool
	// UserBus is the socket of the bus on which the user's systemd is asked for a place where limits can be had; empty when there
	// is none.
	UserBus string
	// Mapping is the user namespace's; nil stays in the caller's user namespace, as real root or inside one.
	Mapping *userns.Mapping
	// Starting, unless nil, is called by a session that is about to start the container, when no other session can any
	// more. Its error keeps the container from being started and comes back from Run, wrapped.
	Starting func() error `json:"-"`
	// Waiting, unless nil, is told once when Run has to wait for a while: for another session that is starting the container,
	// with an open file whose kernel lock (flock) that one holds, or with -1 for the end of the container of before.
	Waiting func(fd int) `json:"-"`
}

// Rootfs is the root file system: an overlay of Lower, Upper and Work, or the directory Dir.
type Rootfs struct {
	Lower []string // absolute, the topmost first
	Upper string   // absolute; empty makes the root read-only
	Work  string   // absolute, empty, on Upper's file system
	Dir   string   // bound as it is instead of an overlay; a single Lower without Upper is bound too, read-only
	// Volatile leaves out every sync to disk: after a crash of the machine Upper must be thrown away.
	Volatile bool
	// NewUpper gives Upper, which the caller has only just made, to root of the container, with the mode that a root directory has.
	NewUpper bool
}

// Stdio is handed to the command as it is; nil means /dev/null. With Process.Terminal, In and Out are the user's
// terminal (or what stands for it) and the command gets a pseudo terminal of the container instead.
type Stdio struct {
	In, Out, Err *os.File
	// Enter and Leave are written to the user's terminal, when In and Out are one and the process has its own, whenever the session
	// takes it and gives it back: at the beginning and the end, when it is continued and when it is stopped.
	Enter, Leave string
}

// Exit tells how a session's command ended.
type Exit struct {
	Code   int         // its exit code, when Signal is 0
	Signal unix.Signal // the signal it died of
}

// ShellCode is the exit code a shell would report: the command's own, or 128+N when it died of signal N.
func (e Exit) ShellCode() int {
	if e.Signal != 0 {
		return 128 + int(e.Signal)
	}
	return e.Code
}

// Status says whether a container runs.
type Status struct {
	Running bool
	Pid     int    // of its first process, in the caller's pid namespace; 0 when it is not visible there
	Backend string // that started it; empty when it does not run
}

// Runtime is a backend. Its methods may be called from any number of processes at once.
type Runtime interface {
	Name() string
	// Run starts the container if it is not running, executes Spec.Process in it and returns when that has ended. A
	// command that ran gives a nil error whatever its exit code; an *Error says what kept it from running. Cancelling
	// ctx sends it TERM, and KILL five seconds later. Run takes the process's terminal, stop and interrupt signals
	// for itself while it lasts.
	Run(ctx context.Context, c *Container, io Stdio) (Exit, error)
	// State asks the kernel, not a file.
	State(ctx context.Context, c *Container) (Status, error)
	// Kill sends sig to every process in the container; KILL ends it at once.
	Kill(ctx context.Context, c *Container, sig unix.Signal) error
	// Delete removes what the backend keeps in State and Bundle, not the root file system. A container whose last
	// session has just ended is waited for; one that runs gives an *Error of kind Busy.
	Delete(ctx context.Context, c *Container) error
}

// KillDelay is how long a session's command has between TERM and KILL when its context is cancelled.
const KillDelay = 5 * time.Second

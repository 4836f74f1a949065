package lifecycle

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/internal/nsproc"
	"github.com/karapace/karapace/backends/internal/pid1"
	"github.com/karapace/karapace/backends/internal/rawproc"
	"github.com/karapace/karapace/backends/internal/rootfs"
)

// maker has what a container's first process is made of.
type maker struct {
	*birth
	root    *rootfs.Builder
	join    []nsproc.Namespace
	listen  int // the socket start connects to
	image   int // the executable the process waits in
	console int // where the terminal's master is sent to, -1 for nowhere
	slot    int // a descriptor that the master replaces
	oom     int // a descriptor for oom_score_adj
	ours    int // the other end of console, when that is ours
}

// maker prepares everything that can fail before there is a process.
func (b *birth) maker() (*maker, error) {
	m := &maker{birth: b, listen: -1, image: -1, console: -1, slot: -1, oom: -1, ours: -1}
	err := m.prepare()
	if err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

func (m *maker) prepare() error {
	var err error
	if m.root, err = rootfs.New(&m.plan.Plan); err != nil {
		return err
	}
	if m.join, err = m.plan.openNamespaces(); err != nil {
		return err
	}
	if m.listen, err = m.listenAt(startName); err != nil {
		return err
	}
	if m.image, err = newImageFile(); err != nil {
		return err
	}
	if m.adjusts() {
		if m.oom, err = unix.FcntlInt(uintptr(m.listen), unix.F_DUPFD_CLOEXEC, rawproc.FirstHigh); err != nil {
			return err
		}
	}
	if err := m.openConsole(); err != nil || m.console < 0 {
		return err
	}
	m.slot, err = unix.FcntlInt(uintptr(m.console), unix.F_DUPFD_CLOEXEC, rawproc.FirstHigh)
	return err
}

func (m *maker) adjusts() bool {
	return m.plan.Spec.Process != nil && m.plan.Spec.Process.OOMScoreAdj != nil
}

// listenAt makes a socket in the container's directory.
func (c *container) listenAt(name string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("make socket: %w", err)
	}
	if fd, err = rawproc.High(fd); err != nil {
		return -1, err
	}
	if err = unix.Bind(fd, c.address(name)); err == nil {
		err = unix.Listen(fd, 1)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("make %s/%s: %w", c.store.path(c.id), name, err)
	}
	return fd, nil
}

// address is a socket's, which may be no longer than 107 bytes.
func (c *container) address(name string) *unix.SockaddrUnix {
	return &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", c.dir, name)}
}

func (m *maker) close() {
	closeNamespaces(m.join)
	for _, fd := range [...]int{m.listen, m.image, m.console, m.slot, m.oom, m.ours} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// preserved is how many descriptors from the first on the process keeps.
func (m *maker) preserved() int { return 3 + m.options.PreserveFDs }

const stageHooks = 1

// describe says how the process is made.
func (m *maker) describe() *nsproc.Birth {
	b := &nsproc.Birth{
		Mapping: m.plan.Mapping, Flags: m.plan.Flags, Join: m.join, Groups: m.groups.Dirs, Keep: []int{m.listen, m.image},
		Early: m.early, Late: m.late, Last: m.last,
		Pause: func(pid int, _ byte) error { return m.paused(context.Background(), pid) },
	}
	for fd := range m.preserved() {
		b.Keep = append(b.Keep, fd)
	}
	if m.oom >= 0 {
		b.Keep = append(b.Keep, m.oom)
	}
	if m.console >= 0 {
		b.Keep = append(b.Keep, m.console, m.slot)
	}
	for _, ns := range m.join {
		b.Keep = append(b.Keep, ns.FD)
	}
	return b
}

func (m *maker) early(p *rawproc.Program) {
	m.root.Early(p)
	if m.oom >= 0 {
		nsproc.OpenOOM(p, m.oom)
	}
}

// late makes the root file system and enters it, with the hooks of the create operation in between.
func (m *maker) late(p *rawproc.Program, ctl int) {
	// Until it is known: a create that is killed leaves no process. Before this, nothing goes on without the creator.
	nsproc.DieWithCreator(p, true)
	m.root.Prepare(p)
	if m.console >= 0 {
		m.terminal(p)
	}
	//lint:ignore SA1019 it is deprecated, and still asked for
	if h := m.plan.Spec.Hooks; h != nil && len(h.Prestart)+len(h.CreateRuntime)+len(h.CreateContainer) > 0 {
		// Hooks that run inside can join only what they could trace. Nobody else is in there yet.
		nsproc.Traceable(p, true)
		nsproc.Pause(p, ctl, stageHooks)
		nsproc.Traceable(p, false)
	}
	m.root.Enter(p)
	if m.plan.Spec.Process != nil {
		nsproc.LookFor(p, m.plan.Spec.Process)
	}
}

// last executes the image that waits for start. It is made here because it names the control channel.
func (m *maker) last(p *rawproc.Program, ctl int) {
	image, err := m.waiting(ctl)
	if err == nil {
		err = fillImageFile(m.image, image)
	}
	if err != nil { // the process fails there, for the same reason
		m.store.Warn(err.Error())
		p.Fail("make the executable of a created container", 0, unix.ENOEXEC)
		return
	}
	nsproc.GiveStdio(p, m.plan.Spec.Process)
	for _, fd := range [...]int{ctl, m.listen} {
		p.Call("keep descriptor", unix.SYS_FCNTL, rawproc.Int(fd), rawproc.Int(unix.F_SETFD), rawproc.Int(0))
	}
	p.Call("wait for the start", unix.SYS_EXECVEAT, rawproc.Int(m.image), rawproc.Str(""), rawproc.Strs([]string{pid1.Name}), rawproc.Strs(nil), rawproc.Int(unix.AT_EMPTY_PATH))
}

// waiting is the program of a created container: it says that it is there, waits for a connection, and becomes the user's
// process, or says to the connection why it cannot.
func (m *maker) waiting(ctl int) ([]byte, error) {
	p := new(rawproc.Program)
	report := p.Reg()
	p.Call("report to the creator", unix.SYS_FCNTL, rawproc.Int(ctl), rawproc.Int(unix.F_DUPFD_CLOEXEC), rawproc.Int(rawproc.FirstHigh)).Into(report)
	p.Call("become untraceable", unix.SYS_PRCTL, rawproc.Int(unix.PR_SET_DUMPABLE), rawproc.Int(0))
	if m.oom >= 0 {
		nsproc.WriteOOM(p, m.oom, *m.plan.Spec.Process.OOMScoreAdj)
	}
	p.Unblock(rawproc.SignalMask())
	p.Call("take a name", unix.SYS_PRCTL, rawproc.Int(unix.PR_SET_NAME), rawproc.Str(pid1.Name))
	p.Call("be ready", unix.SYS_WRITE, rawproc.R(report), rawproc.Bytes(make([]byte, pid1.ReadySize)), rawproc.Int(pid1.ReadySize))
	p.Call("close control channel", unix.SYS_CLOSE, rawproc.Int(ctl))
	p.Call("wait until it is known", unix.SYS_READ, rawproc.R(report), rawproc.Addr(p.Reg()), rawproc.Int(1))
	nsproc.DieWithCreator(p, false)
	p.Call("close control channel", unix.SYS_CLOSE, rawproc.R(report))
	p.Call("wait for the start", unix.SYS_ACCEPT4, rawproc.Int(m.listen), rawproc.Int(0), rawproc.Int(0), rawproc.Int(unix.SOCK_CLOEXEC)).Into(report)
	p.Call("close socket", unix.SYS_CLOSE, rawproc.Int(m.listen))
	if m.plan.Spec.Process == nil {
		p.Fail("start the container, whose document has no process", 0, unix.EINVAL)
	} else {
		m.command().Become(p)
	}
	return p.Image(report)
}

func (b *birth) command() *nsproc.Command {
	return &nsproc.Command{
		Process: b.plan.Spec.Process, UserNS: b.plan.Mapping != nil || b.plan.joins(unix.CLONE_NEWUSER),
		Filter: b.plan.Filter, FilterFlags: b.plan.FilterFlags, Attributes: b.plan.attr,
	}
}

// imageFile puts an executable into memory that nobody can change.
func imageFile(image []byte) (int, error) {
	fd, err := newImageFile()
	if err != nil {
		return -1, err
	}
	if err := fillImageFile(fd, image); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// newImageFile makes a file in memory, at rawproc.FirstHigh or above.
func newImageFile() (int, error) {
	fd, err := unix.MemfdCreate(pid1.Name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if err == unix.EINVAL { // before Linux 6.3
		fd, err = unix.MemfdCreate(pid1.Name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return -1, fmt.Errorf("make executable in memory: %w", err)
	}
	return rawproc.High(fd)
}

// fillImageFile writes the executable and seals the file.
func fillImageFile(fd int, image []byte) error {
	for len(image) > 0 {
		n, err := unix.Write(fd, image)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("write executable in memory: %w", err)
		}
		image = image[max(n, 0):]
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		return fmt.Errorf("seal executable in memory: %w", err)
	}
	return nil
}

// openConsole opens where the terminal's master goes.
func (m *maker) openConsole() error {
	switch {
	case m.options.Console != "":
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("make socket: %w", err)
		}
		if m.console, err = rawproc.High(fd); err != nil {
			return err
		}
		return connect(m.console, m.options.Console)
	case m.options.Terminal != nil && m.plan.Spec.Process != nil && m.plan.Spec.Process.Terminal:
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("make socket pair: %w", err)
		}
		m.ours = pair[0]
		m.console, err = rawproc.High(pair[1])
		return err
	}
	return nil
}

// connect connects to a socket by a path of any length.
func connect(fd int, file string) error {
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return fmt.Errorf("connect to %s: %w", file, err)
	}
	defer dir.Close()
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(file))}); err != nil {
		return fmt.Errorf("connect to %s: %w", file, err)
	}
	return nil
}

// terminal opens the process's terminal, makes it /dev/console, and sends its master away.
func (m *maker) terminal(p *rawproc.Program) {
	t := &nsproc.Terminal{Process: m.plan.Spec.Process, Root: m.root.Root(), Dev: m.root.Dev()}
	t.Open(p)
	t.SendMaster(p, m.console, m.slot)
}

func (m *maker) takeMaster(take func(master int) error) error {
	if m.ours < 0 {
		return nil
	}
	fd, err := receive(m.ours)
	if err != nil {
		return err
	}
	return take(fd)
}

// receive takes a descriptor that comes over a socket.
func receive(sock int) (int, error) {
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(sock, make([]byte, 64), oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("take the terminal: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return -1, fmt.Errorf("take the terminal: nothing was sent")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, fmt.Errorf("take the terminal: no descriptor was sent")
	}
	return fds[0], nil
}

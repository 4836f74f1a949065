package backendtest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/userns"
)

// inNamespace runs a program as root of the mapping's user namespace, with this process's environment.
func inNamespace(m *userns.Mapping, out *os.File, args ...string) (int, error) {
	p, err := userns.Start(m, &userns.Command{Path: args[0], Args: args, Env: os.Environ(), Files: []*os.File{nil, out, out}})
	if err != nil {
		return 0, err
	}
	ws, err := p.Wait()
	return ws.ExitStatus(), err
}

// newTerminal makes a pseudo terminal that stands for the user's.
func newTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	must(t, err)
	must(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	must(t, err)
	master = os.NewFile(uintptr(fd), "master")
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	must(t, err)
	t.Cleanup(func() { master.Close(); slave.Close() })
	return master, slave
}

func setSize(t *testing.T, f *os.File, rows, cols uint16) {
	t.Helper()
	must(t, unix.IoctlSetWinsize(int(f.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols}))
}

func testTerminal(t *testing.T, s *suite) {
	b := s.newBox(t)
	for _, when := range []string{"first session", "second session"} {
		t.Run(when, func(t *testing.T) { testOneTerminal(t, b) })
		if when == "first session" {
			b.start("tell", "keeping").want("keeping")
		}
	}
}

func testOneTerminal(t *testing.T, of *box) {
	b := *of
	b.t = t
	master, slave := newTerminal(t)
	setSize(t, master, 31, 71)
	before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	must(t, err)
	c := b.with("tty")
	c.Spec.Process.Terminal = true
	c.Spec.Process.User = rspec.User{UID: 33, GID: 33}
	s := b.startContainer(c, func(cmd *exec.Cmd) {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	})
	s.stdout = bufio.NewReader(master)
	for _, want := range []string{"name /dev/pts/0", "foreground true", "owner 33", "size 31 71", "ready"} {
		if got := strings.TrimRight(s.line(), "\r"); got != want {
			t.Errorf("output %q, want %q", got, want)
		}
	}
	setSize(t, master, 40, 100)
	wantLine(t, s, "size 40 100")
	io.WriteString(master, "typed\r")
	wantLine(t, s, "typed") // its own terminal's echo
	wantLine(t, s, "line typed")
	io.WriteString(master, "\x03")
	wantLine(t, s, "^Cinterrupted")
	io.WriteString(master, "quit\r")
	wantLine(t, s, "quit")
	if code := s.wait(); code != 6 {
		t.Errorf("code %d", code)
	}
	after, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	must(t, err)
	if *after != *before {
		t.Errorf("the user's terminal is left in another mode: %+v, before %+v", after, before)
	}
}

func wantLine(t *testing.T, s *session, want string) {
	t.Helper()
	if got := strings.TrimRight(s.line(), "\r"); got != want {
		t.Errorf("output %q, want %q", got, want)
	}
}

package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/cmd/internal/testground"
)

// onTerminal starts a command as the leader of a session with a terminal of its own. What the terminal is told is what it says.
func (b *stateBench) onTerminal(term string, args ...string) (r *running, terminal *os.File) {
	b.t.Helper()
	terminal, slave, err := testground.Terminal(31, 71)
	must(b.t, err)
	defer slave.Close()
	r = &running{t: b.t, cmd: b.command(args...)}
	r.cmd.Env = append(r.cmd.Env, "TERM="+term)
	r.cmd.Stdin, r.cmd.Stdout, r.cmd.Stderr = slave, slave, slave
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	must(b.t, r.cmd.Start())
	go io.Copy(r, terminal)
	b.t.Cleanup(func() {
		r.cmd.Process.Kill()
		terminal.Close()
	})
	return r, terminal
}

// descriptor is a file's, which stays one that does not block.
func descriptor(t *testing.T, f *os.File) (fd int) {
	raw, err := f.SyscallConn()
	must(t, err)
	must(t, raw.Control(func(n uintptr) { fd = int(n) }))
	return fd
}

func (r *running) signal(sig syscall.Signal) {
	r.t.Helper()
	must(r.t, r.cmd.Process.Signal(sig))
}

// stopped waits until the command has stopped itself.
func (r *running) stopped() {
	r.t.Helper()
	for end := time.Now().Add(2 * soon); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(r.cmd.Process.Pid, &ws, syscall.WUNTRACED|syscall.WNOHANG, nil)
		if err == nil && pid > 0 {
			if !ws.Stopped() {
				r.t.Fatalf("it has ended: %v", ws)
			}
			return
		}
	}
	r.t.Fatalf("it does not stop, and says\n%q", r.said())
}

// marked are the marks that the terminal has been told, pushes and pops, in order.
func (r *running) marked() string {
	var list []string
	for _, m := range regexp.MustCompile(`\x1b\]777;container;(\w+);(\w*);(\w*);(\d+)\x1b\\`).FindAllStringSubmatch(r.said(), -1) {
		list = append(list, strings.Join(m[1:4], " "))
		if m[4] != fmt.Sprint(os.Getuid()) {
			r.t.Errorf("a mark names the user %s", m[4])
		}
	}
	return strings.Join(list, ", ")
}

// wantMarks waits for the marks: what is on its way to the terminal may come after the end of the command.
func (r *running) wantMarks(want string) {
	r.t.Helper()
	for end := time.Now().Add(soon); r.marked() != want; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("the terminal is told %q, want %q, in\n%q", r.marked(), want, r.said())
		}
	}
}

const (
	pushed = "push t karapace"
	popped = pushed + ", pop  "
)

// A terminal is told of a session when it begins, and of its end in whatever way that comes.
func TestTerminalMarks(t *testing.T) {
	b := newStateBench(t)
	b.karapace("build", "t.toml", "--name", "t")
	wait := []string{"exec", "t", "-t", "--", "sh", "-c", "echo ready; exec sleep 600"}
	for name, end := range map[string]struct {
		do   func(r *running)
		code int
	}{
		"TERM":     {func(r *running) { r.signal(syscall.SIGTERM) }, 128 + 15},
		"INT":      {func(r *running) { r.signal(syscall.SIGINT) }, 128 + 2},
		"HUP":      {func(r *running) { r.signal(syscall.SIGHUP) }, 128 + 1},
		"stop":     {func(*running) { b.karapace("stop", "t", "--time", "20") }, 128 + 15},
		"stop now": {func(*running) { b.karapace("stop", "t", "--time", "0") }, 128 + 9},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := b.onTerminal("xterm", wait...)
			r.t = t
			r.says("ready")
			r.wantMarks(pushed)
			end.do(r)
			r.ends(end.code)
			r.wantMarks(popped)
		})
	}
	t.Run("the shell's own", func(t *testing.T) {
		r, terminal := b.onTerminal("xterm", "enter", "t")
		r.t = t
		io.WriteString(terminal, "echo $((40+2)) $(stty size); exit 7\r")
		r.says("42 31 71")
		r.ends(7)
		r.wantMarks(popped)
		r.says(`\x1b\[22;2t\x1b\]2;t\x1b\\`) // its title, on the stack of titles
		r.says(`\x1b\[23;2t`)
	})
	t.Run("no command", func(t *testing.T) {
		r, _ := b.onTerminal("xterm", "exec", "t", "-t", "--", "there-is-none")
		r.t = t
		r.ends(127)
		if n := strings.Count(r.marked(), "push") - strings.Count(r.marked(), "pop"); n != 0 {
			t.Errorf("the terminal is told %q", r.marked())
		}
	})
	t.Run("terminals without marks", func(t *testing.T) {
		for _, args := range [][]string{{"dumb", "exec", "t", "-t", "--", "echo", "here"}, {"xterm", "exec", "t", "--", "echo", "here"}} {
			r, _ := b.onTerminal(args[0], args[1:]...)
			r.t = t
			r.says("here")
			r.ends(0)
			if strings.Contains(r.said(), "\x1b") {
				t.Errorf("%q is told %q", args, r.said())
			}
		}
	})
}

// A session that is suspended gives the terminal back, mark included, and takes it again when it is continued.
func TestTerminalSuspended(t *testing.T) {
	b := newStateBench(t)
	b.karapace("build", "t.toml", "--name", "t")
	r, terminal := b.onTerminal("xterm", "exec", "t", "-t", "--", "sh", "-c", "echo ready; read x; echo got $x; stty size")
	r.says("ready")
	fd := descriptor(t, terminal)
	mode := func() uint32 {
		m, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		must(t, err)
		return m.Lflag & (unix.ICANON | unix.ECHO)
	}
	if mode() != 0 {
		t.Error("the terminal is not raw")
	}
	for range 2 {
		r.signal(syscall.SIGTSTP)
		r.stopped()
		if mode() == 0 {
			t.Error("the terminal is raw while the session is suspended")
		}
		must(t, unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 20, Col: 50}))
		r.signal(syscall.SIGCONT)
	}
	r.wantMarks(popped + ", " + popped + ", " + pushed)
	io.WriteString(terminal, "word\r")
	r.says("got word")
	r.says("20 50")
	r.ends(0)
	r.wantMarks(popped + ", " + popped + ", " + popped)
}

// A terminal that is lost ends the session, and the environment with it.
func TestTerminalLost(t *testing.T) {
	b := newStateBench(t)
	b.karapace("build", "t.toml", "--name", "t")
	r, terminal := b.onTerminal("xterm", "enter", "t")
	r.wantMarks(pushed)
	io.WriteString(terminal, "echo $((40+2))\r")
	r.says("42")
	terminal.Close()
	r.ends(128 + 1)
	for end := time.Now().Add(soon); strings.Contains(b.karapace("list", "--json"), `"running": true`); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the environment still runs")
		}
	}
}

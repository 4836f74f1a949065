package tty

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pair makes a pseudo terminal.
func pair(t *testing.T) (master, slave int) {
	t.Helper()
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = unix.Open(fmt.Sprintf("/dev/pts/%d", n), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// marks must not be seen where the user's side is no terminal.
var marks = Marks{Enter: "<enter>", Leave: "<leave>"}

func TestStreams(t *testing.T) {
	master, slave := pair(t)
	inR, inW, _ := os.Pipe()
	outR, outW, _ := os.Pipe()
	b, err := New(inR, outW, master, marks)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(inW, "typed\n")
	buf := make([]byte, 64)
	if n, err := unix.Read(slave, buf); err != nil || string(buf[:n]) != "typed\n" {
		t.Errorf("the command reads %q, %v", buf[:n], err)
	}
	inW.Close() // which the command sees as the end of its input
	if n, err := unix.Read(slave, buf); err != nil || n != 0 {
		t.Errorf("the command reads %q, %v", buf[:n], err)
	}
	large := strings.Repeat("0123456789\n", 20000)
	done := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(outR)
		done <- string(text)
	}()
	for rest := []byte(large); len(rest) > 0; {
		n, err := unix.Write(slave, rest)
		if err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	unix.Close(slave)
	b.Close()
	outW.Close()
	want := "typed\r\n" + strings.ReplaceAll(large, "\n", "\r\n")
	if got := <-done; strings.TrimLeft(got, "^D\b") != want && !strings.HasSuffix(got, want[7:]) {
		t.Errorf("%d bytes come out, want %d", len(got), len(want))
	}
}

// The session ends although somebody else keeps the terminal open and types nothing.
func TestCloseDoesNotWaitForOthers(t *testing.T) {
	master, slave := pair(t)
	defer unix.Close(slave)
	inR, inW, _ := os.Pipe()
	defer inW.Close()
	outR, outW, _ := os.Pipe()
	b, err := New(inR, outW, master, marks)
	if err != nil {
		t.Fatal(err)
	}
	unix.Write(slave, []byte("last words"))
	closed := make(chan struct{})
	go func() {
		b.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(time.Minute):
		t.Fatal("it waits")
	}
	outW.Close()
	if text, err := io.ReadAll(outR); err != nil || string(text) != "last words" {
		t.Errorf("output %q, %v", text, err)
	}
}

func TestModeIsRestored(t *testing.T) {
	userMaster, userSlave := pair(t)
	defer unix.Close(userMaster)
	user := os.NewFile(uintptr(userSlave), "user")
	defer user.Close()
	before, err := unix.IoctlGetTermios(userSlave, unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	mode := func() unix.Termios {
		m, err := unix.IoctlGetTermios(userSlave, unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		return *m
	}
	if err := unix.IoctlSetWinsize(userMaster, unix.TIOCSWINSZ, &unix.Winsize{Row: 11, Col: 22}); err != nil {
		t.Fatal(err)
	}
	master, slave := pair(t)
	b, err := New(user, user, master, Marks{})
	if err != nil {
		t.Fatal(err)
	}
	if mode().Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) != 0 {
		t.Error("the user's terminal is not raw")
	}
	if ws, err := unix.IoctlGetWinsize(slave, unix.TIOCGWINSZ); err != nil || ws.Row != 11 || ws.Col != 22 {
		t.Errorf("size %+v, %v", ws, err)
	}
	b.Suspend()
	if mode() != *before {
		t.Error("suspended, it is in another mode than before")
	}
	if err := b.Resume(); err != nil || mode() == *before {
		t.Errorf("resumed, it is not raw: %v", err)
	}
	unix.Close(slave)
	b.Close()
	if mode() != *before {
		t.Error("closed, it is in another mode than before")
	}
}

// The terminal is told whenever a session takes it and gives it back, as often as the one and the other happen.
func TestMarks(t *testing.T) {
	userMaster, userSlave := pair(t)
	defer unix.Close(userMaster)
	user := os.NewFile(uintptr(userSlave), "user")
	master, slave := pair(t)
	b, err := New(user, user, master, marks)
	if err != nil {
		t.Fatal(err)
	}
	b.Suspend()
	b.Suspend()
	if err := b.Resume(); err != nil {
		t.Fatal(err)
	}
	unix.Write(slave, []byte("words"))
	unix.Close(slave)
	b.Close()
	user.Close()
	const want = "<enter><leave><enter>words<leave>"
	var got string
	buf := make([]byte, 256)
	for len(got) < len(want) {
		n, err := unix.Read(userMaster, buf)
		if err != nil {
			break // nobody has it open any more
		}
		got += string(buf[:n])
	}
	if got != want {
		t.Errorf("the terminal is told %q, want %q", got, want)
	}
}

// A terminal that has gone keeps no session from ending.
func TestMarksOfALostTerminal(t *testing.T) {
	userMaster, userSlave := pair(t)
	user := os.NewFile(uintptr(userSlave), "user")
	defer user.Close()
	master, slave := pair(t)
	b, err := New(user, user, master, marks)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(userMaster)
	unix.Write(slave, []byte("nobody reads this"))
	unix.Close(slave)
	closed := make(chan struct{})
	go func() {
		b.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(time.Minute):
		t.Fatal("it waits")
	}
}

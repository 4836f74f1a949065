// Package tty stands between the user's terminal and the pseudo terminal of a command in a container.
//
// The user's terminal is put into raw mode, so that every key reaches the command's own line discipline, and is put
// back whichever way the session ends. What the user's side of a Bridge is need not be a terminal: then there is no
// mode and no size, only a stream.
package tty

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Bridge copies both ways between the user's side and the master of a pseudo terminal.
type Bridge struct {
	in, out *os.File
	master  int
	wake    [2]int // a pipe whose writing end is closed to end the input side
	done    sync.WaitGroup
	ended   chan struct{} // the output side has seen the command's end

	marks    Marks
	terminal *os.File // the user's, for the marks

	mu    sync.Mutex
	saved *unix.Termios // of the user's terminal while it is raw
}

// Marks are what the user's terminal is told when a session takes it and when it gives it back, each time it does.
type Marks struct{ Enter, Leave string }

// New takes over the user's terminal for the master of a pseudo terminal, which the bridge owns from now on, also when
// there is an error. Close gives both back. Marks are left out where in and out are not both terminals.
func New(in, out *os.File, master int, marks Marks) (*Bridge, error) {
	b := &Bridge{in: in, out: out, master: master, ended: make(chan struct{})}
	if isTerminal(out) {
		b.marks, b.terminal = marks, out
	}
	if err := unix.Pipe2(b.wake[:], unix.O_CLOEXEC); err != nil {
		unix.Close(master)
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	err := unix.SetNonblock(master, true)
	if err == nil {
		err = b.Resume()
	}
	if err != nil {
		b.closeAll()
		return nil, err
	}
	b.Resize()
	b.done.Go(b.input)
	go b.output()
	return b, nil
}

func (b *Bridge) closeAll() {
	unix.Close(b.master)
	unix.Close(b.wake[0])
	unix.Close(b.wake[1])
}

// Resume puts the user's terminal into raw mode.
func (b *Bridge) Resume() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.in == nil || b.saved != nil {
		return nil
	}
	old, err := unix.IoctlGetTermios(int(b.in.Fd()), unix.TCGETS)
	if err != nil {
		return nil // not a terminal
	}
	raw := *old
	makeRaw(&raw)
	if err := unix.IoctlSetTermios(int(b.in.Fd()), unix.TCSETS, &raw); err != nil {
		return fmt.Errorf("set terminal to raw mode: %w", err)
	}
	b.saved = old
	b.mark(b.marks.Enter)
	return nil
}

// mark writes to the user's terminal. There is nobody to tell that it has gone.
func (b *Bridge) mark(text string) {
	if b.terminal != nil && text != "" {
		_, _ = b.terminal.WriteString(text)
	}
}

func isTerminal(f *os.File) bool {
	if f == nil {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// Suspend puts the user's terminal back into the mode it was in.
func (b *Bridge) Suspend() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.saved != nil {
		b.mark(b.marks.Leave)
		// There is nobody to tell that the terminal has gone.
		_ = unix.IoctlSetTermios(int(b.in.Fd()), unix.TCSETSW, b.saved)
		b.saved = nil
	}
}

// makeRaw is cfmakeraw(3).
func makeRaw(t *unix.Termios) {
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag &^= unix.CSIZE | unix.PARENB
	t.Cflag |= unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
}

// Size is the size of the user's terminal, nil when there is none.
func Size(in, out *os.File) *unix.Winsize {
	for _, f := range [...]*os.File{in, out} {
		if f == nil {
			continue
		}
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil {
			return size
		}
	}
	return nil
}

// Resize gives the pseudo terminal the size of the user's.
func (b *Bridge) Resize() {
	if size := Size(b.in, b.out); size != nil {
		_ = unix.IoctlSetWinsize(b.master, unix.TIOCSWINSZ, size) // a master always has a size
	}
}

// Close ends the copying, after what the command has written is out, and puts the user's terminal back. The command
// has ended; others may still hold its terminal.
func (b *Bridge) Close() {
	defer b.Suspend()
	unix.Close(b.wake[1]) // ends the input, and the output once nothing is left to read
	b.wake[1] = -1
	b.done.Wait()
	<-b.ended
	unix.Close(b.master)
	unix.Close(b.wake[0])
}

const (
	readable = unix.POLLIN
	writable = unix.POLLOUT
)

// input copies what the user types. At the end of a stream that is no terminal it types the end-of-file key.
func (b *Bridge) input() {
	defer b.restoreOnPanic()
	if b.in == nil {
		return
	}
	in := int(b.in.Fd())
	buf := make([]byte, 4096)
	for b.wait(in, readable) {
		n, err := unix.Read(in, buf)
		if err == unix.EINTR || err == unix.EAGAIN {
			continue
		}
		if n <= 0 {
			b.send([]byte{endOfFile})
			return
		}
		if !b.send(buf[:n]) {
			return
		}
	}
}

const endOfFile = 4 // ^D, the VEOF that a new terminal has

func (b *Bridge) send(p []byte) bool {
	for len(p) > 0 {
		n, err := unix.Write(b.master, p)
		switch {
		case err == nil:
			p = p[n:]
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			if !b.wait(b.master, writable) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// wait waits until fd is ready; false means that the session has ended.
func (b *Bridge) wait(fd int, events int16) bool {
	for {
		fds := []unix.PollFd{{Fd: int32(fd), Events: events}, {Fd: int32(b.wake[0]), Events: readable}}
		_, err := unix.Poll(fds, -1)
		switch {
		case err == unix.EINTR:
		case err != nil || fds[1].Revents != 0:
			return false
		default:
			return true
		}
	}
}

// output copies what the command writes, until nobody holds its terminal any more, or the session has ended and
// everything is read.
func (b *Bridge) output() {
	defer close(b.ended)
	defer b.restoreOnPanic()
	buf := make([]byte, 32<<10)
	ending := false
	for {
		n, err := unix.Read(b.master, buf)
		switch {
		case n > 0:
			if b.out != nil {
				if _, err := b.out.Write(buf[:n]); err != nil {
					b.out = nil // the user's side has gone; the command is not to block
				}
			}
		case err == unix.EINTR:
		case err == unix.EAGAIN && ending:
			return
		case err == unix.EAGAIN:
			ending = !b.wait(b.master, readable)
		default: // EIO: nobody has the other side open
			return
		}
	}
}

// restoreOnPanic puts the terminal back before a panic ends the process.
func (b *Bridge) restoreOnPanic() {
	if v := recover(); v != nil {
		b.Suspend()
		panic(v)
	}
}

package userscope

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long the bus may take for one answer.
const patience = 10 * time.Second

// bus is a connection to a message bus.
type bus struct {
	fd     int
	serial uint32
}

// dial connects to a bus's socket and says who is there (D-Bus specification, Authentication Protocol). A name that begins with "@" is of
// an abstract socket.
func dial(path string) (*bus, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make socket: %w", err)
	}
	b := &bus{fd: fd}
	limit := unix.NsecToTimeval(patience.Nanoseconds())
	err = errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit), unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit))
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	}
	if err == nil {
		err = b.authenticate()
	}
	if err == nil {
		_, err = b.call(call{"org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello", "", nil})
	}
	if err != nil {
		b.close()
		return nil, fmt.Errorf("connect to the user's bus %s: %w", path, err)
	}
	return b, nil
}

func (b *bus) close() { unix.Close(b.fd) }

func (b *bus) authenticate() error {
	uid := hex.EncodeToString([]byte(strconv.Itoa(unix.Geteuid())))
	if err := b.write([]byte("\x00AUTH EXTERNAL " + uid + "\r\n")); err != nil {
		return err
	}
	var line strings.Builder
	for !strings.HasSuffix(line.String(), "\r\n") {
		var one [1]byte
		if err := b.read(one[:]); err != nil {
			return err
		}
		line.WriteByte(one[0])
		if line.Len() > 1024 {
			return errMalformed
		}
	}
	if !strings.HasPrefix(line.String(), "OK ") {
		return fmt.Errorf("it does not let this user in: %s", strings.TrimSpace(line.String()))
	}
	return b.write([]byte("BEGIN\r\n"))
}

func (b *bus) write(p []byte) error {
	for len(p) > 0 {
		n, err := unix.SendmsgN(b.fd, p, nil, nil, unix.MSG_NOSIGNAL)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("send: %w", err)
		}
		p = p[n:]
	}
	return nil
}

var errClosed = errors.New("it has closed the connection")

func (b *bus) read(p []byte) error {
	for len(p) > 0 {
		n, err := unix.Read(b.fd, p)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return fmt.Errorf("it does not answer within %v", patience)
		case err != nil:
			return fmt.Errorf("receive: %w", err)
		case n == 0:
			return errClosed
		default:
			p = p[n:]
		}
	}
	return nil
}

// call calls a method and waits for its answer.
func (b *bus) call(c call) (message, error) {
	b.serial++
	if err := b.write(c.encode(b.serial)); err != nil {
		return message{}, err
	}
	for end := time.Now().Add(patience); time.Now().Before(end); {
		m, err := b.receive()
		if err != nil {
			return message{}, err
		}
		switch {
		case m.replyTo != b.serial: // a signal
		case m.kind == methodReply:
			return m, nil
		case m.kind == errorReply:
			return message{}, fmt.Errorf("%s: %s (%s)", c.member, strings.ToValidUTF8(m.text, "?"), m.errorName)
		}
	}
	return message{}, fmt.Errorf("%s: no answer within %v", c.member, patience)
}

func (b *bus) receive() (message, error) {
	text := make([]byte, fixedSize)
	if err := b.read(text); err != nil {
		return message{}, err
	}
	_, rest, err := sizes(text)
	if err != nil {
		return message{}, err
	}
	text = append(text, make([]byte, rest)...)
	if err := b.read(text[fixedSize:]); err != nil {
		return message{}, err
	}
	return decode(text)
}

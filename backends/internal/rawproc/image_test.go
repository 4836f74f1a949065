package rawproc

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// runImage executes a program as an image; its failures go to a pipe. It returns how it ended and what it reported.
func runImage(t *testing.T, build func(p *Program)) (unix.WaitStatus, error) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	tail := new(Program)
	report := tail.Reg()
	tail.Call("keep", unix.SYS_FCNTL, Int(w.Fd()), Int(unix.F_DUPFD_CLOEXEC), Int(FirstHigh)).Into(report)
	build(tail)
	image, err := tail.Image(report)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.MemfdCreate("image", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, image); err != nil {
		t.Fatal(err)
	}
	p := new(Program)
	p.Call("keep", unix.SYS_FCNTL, Int(w.Fd()), Int(unix.F_SETFD), Int(0))
	p.Call("execute image", unix.SYS_EXECVEAT, Int(fd), Str(""), Strs([]string{"image"}), Strs(nil), Int(unix.AT_EMPTY_PATH))
	pid, err := p.Run(0)
	if err != nil {
		t.Fatal(err)
	}
	ws, err := Wait(pid)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	b := make([]byte, MessageSize)
	if n, _ := r.Read(b); n > 0 {
		return ws, ParseMessage(b[:n])
	}
	return ws, nil
}

func TestImageExecutes(t *testing.T) {
	ws, err := runImage(t, func(p *Program) {
		fd, errno := p.Reg(), p.Reg()
		p.Call("open nothing", unix.SYS_OPENAT, Int(unix.AT_FDCWD), Str("/nonexistent"), Int(0)).Allow(unix.EPERM, unix.ENOENT).ErrInto(errno).SkipIfErr(1)
		p.Fail("it is there", 0, unix.EEXIST)
		p.Fail("nothing has failed", 0, 0)
		p.Call("open zero", unix.SYS_OPENAT, Int(unix.AT_FDCWD), Str("/dev/zero"), Int(0)).Into(fd).SkipIfOK(1)
		p.Fail("not opened", 0, unix.EIO)
		p.Call("redirect", unix.SYS_DUP3, R(fd), Int(0), Int(0))
		filter := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}}
		p.Call("no new privileges", unix.SYS_PRCTL, Int(unix.PR_SET_NO_NEW_PRIVS), Int(1), Int(0), Int(0), Int(0))
		p.Call("filter", unix.SYS_SECCOMP, Int(unix.SECCOMP_SET_MODE_FILTER), Int(0), Filter(filter))
		execve(p, "/bin/sh", "sh", "-c", `test "$A" = b && test "$0" = x && test "$(head -c 2 | od -An -tx1)" = " 00 00" && exit 7`, "x")
	})
	if err != nil || ws.ExitStatus() != 7 {
		t.Fatalf("status %d, error %v; want 7", ws.ExitStatus(), err)
	}
}

func TestImageFails(t *testing.T) {
	for want, build := range map[string]func(p *Program){
		"execute /nonexistent: no such file or directory": func(p *Program) { execve(p, "/nonexistent", "x") },
		"look up: permission denied":                      func(p *Program) { p.Fail("look up", 0, unix.EACCES) },
		"give up: bad file descriptor": func(p *Program) {
			errno := p.Reg()
			p.Call("close nothing", unix.SYS_CLOSE, Int(-1)).AllowAny().ErrInto(errno)
			p.Fail("give up", errno, unix.EACCES)
		},
	} {
		ws, err := runImage(t, build)
		if err == nil || err.Error() != want || ws.ExitStatus() != failCode {
			t.Errorf("status %d, error %v; want %q", ws.ExitStatus(), err, want)
		}
	}
}

// At its end a program exits; what an image cannot do is refused.
func TestImageEnds(t *testing.T) {
	if ws, err := runImage(t, func(p *Program) {}); err != nil || ws != 0 {
		t.Errorf("status %x, error %v", ws, err)
	}
	p := new(Program)
	p.Clone("clone", 0)
	if _, err := p.Image(p.Reg()); err == nil {
		t.Error(errors.New("an image with a clone"))
	}
}

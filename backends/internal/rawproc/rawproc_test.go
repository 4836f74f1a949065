package rawproc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func execve(p *Program, path string, argv ...string) {
	p.Call("execute "+path, unix.SYS_EXECVE, Str(path), Strs(argv), Strs([]string{"A=b"}))
}

func TestRunExecutes(t *testing.T) {
	p := new(Program)
	execve(p, "/bin/sh", "sh", "-c", `test "$A" = b && test "$0" = x && exit 7`, "x")
	pid, err := p.Run(0)
	if err != nil {
		t.Fatal(err)
	}
	ws, err := Wait(pid)
	if err != nil || ws.ExitStatus() != 7 {
		t.Fatalf("status %d, error %v; want 7", ws.ExitStatus(), err)
	}
}

func TestFailureNamesTheOp(t *testing.T) {
	p := new(Program)
	p.Call("do nothing", unix.SYS_GETPID)
	execve(p, "/nonexistent", "x")
	_, err := p.Run(0)
	var e *Error
	if !errors.As(err, &e) || e.Errno != unix.ENOENT || err.Error() != "execute /nonexistent: no such file or directory" {
		t.Fatalf("error %v", err)
	}
	if pid, err := unix.Wait4(-1, nil, unix.WALL|unix.WNOHANG, nil); err != unix.ECHILD {
		t.Fatalf("a child is left: %d, %v", pid, err)
	}
}

func TestReport(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p := new(Program)
	p.Report(int(w.Fd()))
	p.Call("close nothing", unix.SYS_CLOSE, Int(-1))
	pid, err := p.Start(0)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	buf := make([]byte, ReportSize)
	if _, err := r.Read(buf); err != nil {
		t.Fatal(err)
	}
	if err := p.ParseReport(buf); !errors.Is(err, unix.EBADF) {
		t.Fatalf("report %v", err)
	}
	if ws, err := Wait(pid); err != nil || ws.ExitStatus() != failCode {
		t.Fatalf("status %d, error %v", ws.ExitStatus(), err)
	}
}

func TestReleased(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p := new(Program)
	p.Call("wait", unix.SYS_READ, Int(r.Fd()), Addr(p.Reg()), Int(1))
	execve(p, "/bin/sleep", "sleep", "100")
	pid, err := p.Start(0)
	if err != nil {
		t.Fatal(err)
	}
	if p.borrowed == 0 {
		t.Error("released before it executes")
	}
	w.Write([]byte{0})
	p.Released()
	if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err != nil || filepath.Base(exe) != "sleep" {
		t.Errorf("released by %s, %v", exe, err)
	}
	unix.Kill(pid, unix.SIGKILL)
	Wait(pid)
}

func TestRegistersAndFlow(t *testing.T) {
	p := new(Program)
	fd, errno, got := p.Reg(), p.Reg(), p.Reg()
	p.Call("open nothing", unix.SYS_OPENAT, Int(unix.AT_FDCWD), Str("/nonexistent"), Int(0)).Allow(unix.ENOENT).ErrInto(errno).SkipIfErr(1)
	p.Call("fail", unix.SYS_CLOSE, Int(-1))
	p.Call("open null", unix.SYS_OPENAT, Int(unix.AT_FDCWD), Str("/dev/zero"), Int(0)).Into(fd).SkipIfOK(1)
	p.Call("fail", unix.SYS_CLOSE, Int(-1))
	p.Call("read", unix.SYS_READ, R(fd), Addr(got), Int(4)).ExitIfZero()
	p.Fail("look up", errno, unix.EIO)
	_, err := p.Run(0)
	if err == nil || err.Error() != "look up: no such file or directory" {
		t.Fatalf("error %v", err)
	}
	if p.Value(errno) != uintptr(unix.ENOENT) || p.Value(got) != 0 {
		t.Fatalf("errno %d, read %d", p.Value(errno), p.Value(got))
	}
}

func TestExitIfZero(t *testing.T) {
	p := new(Program)
	n := p.Reg()
	p.Call("open null", unix.SYS_OPENAT, Int(unix.AT_FDCWD), Str("/dev/null"), Int(0)).Into(n)
	p.Call("read", unix.SYS_READ, R(n), Addr(n), Int(1)).ExitIfZero()
	p.Fail("go on", 0, unix.EIO)
	pid, err := p.Run(0)
	if err != nil {
		t.Fatal(err)
	}
	if ws, err := Wait(pid); err != nil || ws.ExitStatus() != 0 {
		t.Fatalf("status %d, error %v", ws.ExitStatus(), err)
	}
}

// The child of the Clone op must belong to the test's process, and its setup failure must leave no zombie.
func TestCloneGivesTheGrandchild(t *testing.T) {
	for _, path := range []string{"/bin/sh", "/nonexistent"} {
		p := new(Program)
		p.Clone("clone", 0)
		execve(p, path, "sh", "-c", "exit 9")
		pid, err := p.Run(0)
		if path == "/nonexistent" {
			if !errors.Is(err, unix.ENOENT) {
				t.Fatalf("error %v", err)
			}
		} else if err != nil {
			t.Fatal(err)
		} else if ws, err := Wait(pid); err != nil || ws.ExitStatus() != 9 {
			t.Fatalf("status %d, error %v", ws.ExitStatus(), err)
		}
		if pid, err := unix.Wait4(-1, nil, unix.WALL|unix.WNOHANG, nil); err != unix.ECHILD {
			t.Fatalf("a child is left: %d, %v", pid, err)
		}
	}
}

// Children are made while other goroutines allocate, collect and are moved between threads.
func TestUnderLoad(t *testing.T) {
	stop := make(chan struct{})
	defer close(stop)
	for range 4 {
		go func() {
			var keep [][]byte
			for {
				select {
				case <-stop:
					return
				default:
					keep = append(keep, make([]byte, 4096))
					if len(keep) > 1000 {
						keep = nil
						runtime.GC()
					}
				}
			}
		}()
	}
	for i := range 200 {
		p := new(Program)
		if i%2 == 0 {
			p.Clone("clone", 0)
		}
		execve(p, "/bin/true", "true")
		pid, err := p.Run(0)
		if err != nil {
			t.Fatal(err)
		}
		if ws, err := Wait(pid); err != nil || ws != 0 {
			t.Fatalf("status %x, error %v", ws, err)
		}
	}
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		p := new(Program)
		p.Call("getpid", unix.SYS_GETPID)
		pid, err := p.Start(0)
		if err != nil {
			b.Fatal(err)
		}
		Wait(pid)
	}
}

func BenchmarkRun(b *testing.B) {
	for b.Loop() {
		p := new(Program)
		p.Call("getpid", unix.SYS_GETPID)
		pid, err := p.Run(0)
		if err != nil {
			b.Fatal(err)
		}
		Wait(pid)
	}
}

func BenchmarkExec(b *testing.B) {
	for b.Loop() {
		p := new(Program)
		execve(p, "/bin/true", "true")
		pid, err := p.Run(0)
		if err != nil {
			b.Fatal(err)
		}
		Wait(pid)
	}
}

// What the child reads while it waits for the rest must not be collected when the list of ops grows into another place.
func TestReloadOutlivesCollection(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	p := new(Program)
	p.Call("wait for the rest", unix.SYS_READ, Int(r.Fd()), Addr(p.Reg()), Int(1))
	p.Reload()
	pid, err := p.Start(0)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		p.Call("do nothing", unix.SYS_GETPID)
	}
	p.Call("exit", unix.SYS_EXIT_GROUP, Int(7))
	runtime.GC()
	runtime.GC()
	wrong := &Op{nr: unix.SYS_EXIT_GROUP, nargs: 1, args: [6]Arg{Int(9)}}
	places := make([][]*Op, 1<<16)
	for i := range places {
		places[i] = []*Op{wrong, wrong}
	}
	w.Write([]byte{0})
	if ws, err := Wait(pid); err != nil || ws.ExitStatus() != 7 {
		t.Errorf("status %#x, error %v", ws, err)
	}
	runtime.KeepAlive(p)
	runtime.KeepAlive(places)
}

func TestAgain(t *testing.T) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	p := new(Program)
	p.Call("read", unix.SYS_READ, Int(fds[0]), Addr(p.Reg()), Int(1)).Again()
	p.Call("exit", unix.SYS_EXIT_GROUP, Int(7))
	pid, err := p.Start(0)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Millisecond)
	unix.Write(fds[1], []byte{1})
	if ws, err := Wait(pid); err != nil || ws.ExitStatus() != 7 {
		t.Errorf("status %#x, error %v", ws, err)
	}
	runtime.KeepAlive(p)
}

// orphan is a program whose first child is killed by the one that it has made, which then goes on for a while.
func orphan() (p *Program, done Reg) {
	p = new(Program)
	first, done := p.Reg(), p.Reg()
	p.Call("know itself", unix.SYS_GETPID).Into(first)
	p.Clone("clone", 0)
	p.Call("kill the first", unix.SYS_KILL, R(first), Int(unix.SIGKILL))
	p.Call("pause", unix.SYS_NANOSLEEP, Value(&unix.Timespec{Nsec: 100e6}), Int(0))
	p.Call("come to an end", unix.SYS_GETPID).Into(done)
	execve(p, "/bin/sh", "sh", "-c", "exit 7")
	return p, done
}

// Whoever waits for a child goes on when that is killed, but not beside its child on the same stack.
func TestFirstKilled(t *testing.T) {
	for range 5 {
		p, done := orphan()
		pid, err := p.Run(0)
		if err != nil {
			t.Fatal(err)
		}
		if have := p.Value(done); int(have) != pid {
			t.Errorf("Run returns before child %d has let go of the stack: %d", pid, have)
		}
		if ws, err := Wait(pid); err != nil || ws.ExitStatus() != 7 {
			t.Errorf("status %x, error %v; want exit code 7", ws, err)
		}
	}
}

func TestFirstKilledBeside(t *testing.T) {
	p, done := orphan()
	first, err := p.Start(0)
	if err != nil {
		t.Fatal(err)
	}
	p.Released()
	if have := p.Value(done); have == 0 || int(have) != p.Forked() {
		t.Errorf("released before child %d has let go of it: %d", p.Forked(), have)
	}
	if ws, err := Wait(first); err != nil || ws.Signal() != unix.SIGKILL {
		t.Errorf("the first: status %x, error %v; want it killed", ws, err)
	}
	if ws, err := Wait(p.Forked()); err != nil || ws.ExitStatus() != 7 {
		t.Errorf("status %x, error %v; want exit code 7", ws, err)
	}
}

package forward

import (
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// child starts a shell that leads a process group and prints the signals it gets.
func child(t *testing.T) (*exec.Cmd, func(string)) {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", `for s in TERM INT USR1; do trap "echo $s" $s; done; echo ready; while :; do sleep 0.01; done`)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		cmd.Wait()
	})
	want := func(line string) {
		t.Helper()
		buf := make([]byte, 64)
		n, err := out.Read(buf)
		if got := strings.TrimSpace(string(buf[:n])); err != nil || got != line {
			t.Fatalf("the child says %q, %v; want %q", got, err, line)
		}
	}
	want("ready")
	return cmd, want
}

func TestForward(t *testing.T) {
	seen := make(chan os.Signal, 8)
	signal.Notify(seen, unix.SIGUSR1)
	defer signal.Stop(seen)
	cmd, want := child(t)
	s := Take([]unix.Signal{unix.SIGTERM, unix.SIGUSR1}, []unix.Signal{unix.SIGINT})
	if s == nil {
		t.Fatal("the signals are taken")
	}
	stop := s.Stop
	unix.Kill(os.Getpid(), unix.SIGTERM) // before there is anybody to get it
	time.Sleep(10 * time.Millisecond)
	s.Aim(cmd.Process.Pid)
	want("TERM")
	for _, c := range []struct {
		sig  unix.Signal
		name string
	}{{unix.SIGTERM, "TERM"}, {unix.SIGUSR1, "USR1"}, {unix.SIGINT, "INT"}, {unix.SIGTERM, "TERM"}} {
		unix.Kill(os.Getpid(), c.sig)
		want(c.name)
	}
	if again := Take(nil, nil); again != nil {
		t.Error("the signals are given away twice")
	}
	stop()
	select {
	case sig := <-seen:
		t.Errorf("%v has come here too", sig)
	default:
	}
	unix.Kill(os.Getpid(), unix.SIGUSR1)
	select {
	case <-seen:
	case <-time.After(time.Minute):
		t.Error("after stop the signal does not come here")
	}
}

func TestIgnoredStaysIgnored(t *testing.T) {
	signal.Ignore(unix.SIGUSR2)
	defer signal.Reset(unix.SIGUSR2)
	s := Take([]unix.Signal{unix.SIGUSR2}, nil)
	if s == nil {
		t.Fatal("the signals are taken")
	}
	defer s.Stop()
	s.Aim(os.Getpid())
	if targets[unix.SIGUSR2] != 0 {
		t.Error("an ignored signal is passed on")
	}
}

package main

import (
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// console listens for a terminal's master, as engines do.
func console(t *testing.T) (path string, master func() *os.File) {
	t.Helper()
	dir, err := os.MkdirTemp("", "console")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path = filepath.Join(dir, "socket")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return path, func() *os.File {
		l.SetDeadline(time.Now().Add(20 * time.Second))
		c, err := l.AcceptUnix()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		oob := make([]byte, 64)
		_, n, _, _, err := c.ReadMsgUnix(make([]byte, 64), oob)
		if err != nil {
			t.Fatal(err)
		}
		messages, err := unix.ParseSocketControlMessage(oob[:n])
		if err != nil || len(messages) != 1 {
			t.Fatalf("%d messages, %v", len(messages), err)
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil || len(fds) != 1 {
			t.Fatalf("%d descriptors, %v", len(fds), err)
		}
		return os.NewFile(uintptr(fds[0]), "master")
	}
}

// A process with a terminal has it as its controlling one, as /dev/console, and with the size asked for; its master goes to
// the socket, for create and for exec.
func TestConsoleSocket(t *testing.T) {
	dir := t.TempDir()
	for d := dir; d != os.TempDir(); d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
	bundleDir, state := filepath.Join(dir, "b"), filepath.Join(dir, "state")
	if err := makeRoot(filepath.Join(bundleDir, "rootfs")); err != nil {
		t.Fatal(err)
	}
	const script = `tty; stat -c %t:%T /dev/console; read -r line; echo "got $line"; exec sleep 100`
	if err := writeBundle(bundleDir, map[string]any{"process": map[string]any{
		"terminal": true, "consoleSize": map[string]any{"height": 33, "width": 99}, "args": []any{"sh", "-c", script},
	}}); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(program, append([]string{"--root", state}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	t.Cleanup(func() { exec.Command(program, "--root", state, "delete", "--force", "t").Run() })

	socket, take := console(t)
	run("create", "--bundle", bundleDir, "--console-socket", socket, "t")
	master := take()
	defer master.Close()
	if size, err := unix.IoctlGetWinsize(int(master.Fd()), unix.TIOCGWINSZ); err != nil || size.Row != 33 || size.Col != 99 {
		t.Errorf("size %v, %v", size, err)
	}
	run("start", "t")
	io.WriteString(master, "word\n")
	expect(t, master, "/dev/pts/0", "88:0", "got word")

	socket, take = console(t)
	process := filepath.Join(dir, "process.json")
	text := `{"terminal": true, "args": ["sh", "-c", "tty; exec sleep 1"], "env": ["PATH=/bin"], "cwd": "/", "user": {"uid": 0, "gid": 0}}`
	if err := os.WriteFile(process, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	run("exec", "--detach", "--console-socket", socket, "--process", process, "t")
	second := take()
	defer second.Close()
	expect(t, second, "/dev/pts/1")
}

// expect reads until all of the texts have come.
func expect(t *testing.T, master *os.File, texts ...string) {
	t.Helper()
	var seen strings.Builder
	buf := make([]byte, 1024)
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		fds := []unix.PollFd{{Fd: int32(master.Fd()), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, 100); n > 0 && err == nil {
			n, err := unix.Read(int(master.Fd()), buf)
			seen.Write(buf[:max(n, 0)])
			if err != nil {
				break
			}
		}
		missing := false
		for _, text := range texts {
			missing = missing || !strings.Contains(seen.String(), text)
		}
		if !missing {
			return
		}
	}
	t.Errorf("the terminal showed %q, want %q", seen.String(), texts)
}

package pid1

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/internal/rawproc"
)

// The program must wait for both the byte and the lock, and must be what it says.
func TestProgram(t *testing.T) {
	for name, file := range map[string]func(string) (int, error){"in memory": File, "in a directory": fileIn} {
		t.Run(name, func(t *testing.T) {
			exe, err := file(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(exe)
			testProgram(t, exe)
		})
	}
}

func testProgram(t *testing.T, exe int) {
	name := t.TempDir() + "/sessions"
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	own, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	ctl, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	p := new(rawproc.Program)
	lock, err := os.Create(t.TempDir() + "/lock")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	p.Redirect([]int{-1, -1, -1, int(lock.Fd()), int(own.Fd()), ctl[1]})
	p.Call("execute", unix.SYS_EXECVEAT, rawproc.Int(exe), rawproc.Str(""), rawproc.Strs([]string{Name}), rawproc.Strs(nil), rawproc.Int(unix.AT_EMPTY_PATH))
	pid, err := p.Run(0)
	if err != nil {
		t.Fatal(err)
	}
	own.Close()
	ended := make(chan unix.WaitStatus, 1)
	go func() {
		ws, _ := rawproc.Wait(pid)
		ended <- ws
	}()
	running := func(why string) {
		t.Helper()
		select {
		case ws := <-ended:
			t.Fatalf("%s: ended with %x", why, ws)
		case <-time.After(50 * time.Millisecond):
		}
	}
	running("before the byte")
	report := make([]byte, 16)
	if n, err := unix.Read(ctl[0], report); n != 8 || err != nil || !bytes.Equal(report, make([]byte, 16)) {
		t.Errorf("report %x, %d bytes, %v", report, n, err)
	}
	unix.Flock(int(f.Fd()), unix.LOCK_UN)
	running("with the lock free, before the byte")
	unix.Flock(int(f.Fd()), unix.LOCK_SH)
	unix.Write(ctl[0], []byte{1})
	running("with the lock held")
	l := unix.Flock_t{Type: unix.F_WRLCK, Len: 1}
	if err := unix.FcntlFlock(lock.Fd(), unix.F_GETLK, &l); err != nil || l.Type != unix.F_RDLCK || int(l.Pid) != pid {
		t.Errorf("record lock %+v, %v; want process %d", l, err, pid)
	}
	proc := "/proc/" + strconv.Itoa(pid)
	if comm, _ := os.ReadFile(proc + "/comm"); strings.TrimSpace(string(comm)) != Name {
		t.Errorf("name %q", comm)
	}
	if env, _ := os.ReadFile(proc + "/environ"); len(env) != 0 {
		t.Errorf("environment %q", env)
	}
	f.Close()
	select {
	case ws := <-ended:
		if ws != 0 {
			t.Errorf("status %x", ws)
		}
	case <-time.After(time.Minute):
		unix.Kill(pid, unix.SIGKILL)
		t.Error("does not end with the last session")
	}
}

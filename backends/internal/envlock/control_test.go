package envlock

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Who cannot come into a pid namespace, as when its first process has just ended, signals nobody outside either. The signal is none, so
// that a failure kills nobody; it needs a user whom the kernel refuses.
func TestSignalsNobodyOutside(t *testing.T) {
	if os.Geteuid() == 0 {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestSignalsNobodyOutside$")
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("as somebody else: %v\n%s", err, out)
		}
		return
	}
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(self)
	if err := signalInside(self, 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("not refused: %v", err)
	}
	if inside, err := hasPidNamespace(self); inside || err != nil {
		t.Errorf("this process's own pid namespace: %v, %v", inside, err)
	}
}

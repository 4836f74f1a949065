package userns

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// A session leaves the memory of its starter untraceable, and newuidmap maps no process whose memory is. Whoever begins a mapping
// says otherwise first: the new process, which shares the memory, may come to say it too late.
func TestBeginUntraceable(t *testing.T) {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	m := &Mapping{newuidmap: "/bin/true", newgidmap: "/bin/true"}
	a := m.Begin(os.Getpid())
	traceable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err := a.Wait(); err != nil {
		t.Error(err)
	}
	if err != nil || traceable != 1 {
		t.Errorf("newuidmap finds a process that is %d, %v", traceable, err)
	}
}

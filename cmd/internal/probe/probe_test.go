package probe

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain lets this program look around as a probe does, when it is called again with LOOK_AROUND.
func TestMain(m *testing.M) {
	if os.Getenv("LOOK_AROUND") == "" {
		os.Exit(m.Run())
	}
	if err := json.NewEncoder(os.Stdout).Encode(gather()); err != nil {
		os.Exit(1)
	}
}

// look gives what a process sees that a shell has prepared.
func look(t *testing.T, preparation string) map[string]string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", preparation+"; exec "+self)
	cmd.Env = []string{"LOOK_AROUND=1", "EMPTY=", "LINES=a\nb"}
	cmd.Dir = "/"
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []Fact
	if err := json.Unmarshal(out, &list); err != nil {
		t.Fatal(err)
	}
	facts := map[string]string{}
	for _, f := range list {
		key := f.Group + "/" + f.Name
		if _, twice := facts[key]; twice {
			t.Errorf("%s is told twice", key)
		}
		facts[key] = f.Value
	}
	return facts
}

// A probe sees what it is given: the limit of open files too, which its own language raises before it can look.
func TestFacts(t *testing.T) {
	got := look(t, "ulimit -Sn 123; umask 027; exec 7</dev/zero")
	uid, gid := os.Getuid(), os.Getgid()
	for key, want := range map[string]string{
		"process/umask": "0027", "process/cwd": "/", "descriptors/0": "/dev/null", "descriptors/1": "pipe", "descriptors/7": "/dev/zero",
		"environment/EMPTY": "", "environment/LINES": "a\nb",
		"ids/uid": fmt.Sprintf("%d %[1]d %[1]d %[1]d", uid), "ids/gid": fmt.Sprintf("%d %[1]d %[1]d %[1]d", gid),
	} {
		if v, told := got[key]; !told || v != want {
			t.Errorf("%s is %q, want %q", key, v, want)
		}
	}
	if !strings.HasPrefix(got["limits/open files"], "123 ") {
		t.Errorf("the limit of open files is %q", got["limits/open files"])
	}
	for _, key := range []string{"mounts//", "devices//dev/null", "namespaces/mnt", "capabilities/bounding", "process/seccomp", "process/no_new_privs", "host/hostname", "host/interfaces", "limits/stack size"} {
		if got[key] == "" {
			t.Errorf("%s is not told", key)
		}
	}
	for key := range got {
		if n, found := strings.CutPrefix(key, "descriptors/"); found && !strings.Contains("0 1 2 7", n) && strings.HasPrefix(got[key], "/proc/") {
			t.Errorf("it sees its own descriptor %s", got[key])
		}
	}
}

func TestCapabilities(t *testing.T) {
	for in, want := range map[string]string{"0000000000000000": "", "0000000000000003": "chown dac_override", "8000010000000000": "checkpoint_restore 63", "x": "x"} {
		if got := capabilities(in); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
	if last := len(capabilityNames()) - 1; last != unix.CAP_LAST_CAP {
		t.Errorf("the last capability known is %d, and the kernel's %d", last, unix.CAP_LAST_CAP)
	}
}

// A command ends with the code a shell would give.
func TestCommand(t *testing.T) {
	for script, want := range map[string]int{"true": 0, "exit 3": 3, "kill -9 $$": 137} {
		if got := command([]string{"/bin/sh", "-c", script}); got != want {
			t.Errorf("%s: %d, want %d", script, got, want)
		}
	}
	stderr := os.Stderr
	os.Stderr, _ = os.Open(os.DevNull)
	defer func() { os.Stderr = stderr }()
	if got := command([]string{"/no/such/command"}); got != 127 {
		t.Errorf("what is not there: %d", got)
	}
	if got := command([]string{"/etc/passwd"}); got != 126 {
		t.Errorf("what cannot be executed: %d", got)
	}
}

func TestCalled(t *testing.T) {
	if Called([]string{"karapace", "facts"}) || Called([]string{Path}) || !Called([]string{Path, Facts}) {
		t.Error("a probe is not known by its name")
	}
}

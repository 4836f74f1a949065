// Package nstest runs tests a second time inside a user namespace, where Karapace does its work for everybody but root.
package nstest

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// inside marks the process that was started in the namespace.
const inside = "KARAPACE_TEST_IN_USERNS"

// Both runs f as this user where that is root, and inside a user namespace that maps 65,536 ids the way Karapace does.
func Both(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	if os.Getenv(inside) == "" {
		t.Run("root", func(t *testing.T) {
			if os.Geteuid() != 0 {
				t.Skip("not root")
			}
			f(t)
		})
	}
	t.Run("userns", func(t *testing.T) {
		if os.Getenv(inside) != "" {
			f(t)
			return
		}
		enter(t)
	})
}

// Root runs f as root: as this user, or for somebody else inside a user namespace.
func Root(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	if os.Geteuid() == 0 {
		f(t)
		return
	}
	enter(t)
}

// Userns runs f inside a user namespace only.
func Userns(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	if os.Getenv(inside) != "" {
		f(t)
		return
	}
	enter(t)
}

// enter starts this test binary in a user namespace, with this test only.
func enter(t *testing.T) {
	t.Helper()
	var pattern []string
	for part := range strings.SplitSeq(t.Name(), "/") {
		pattern = append(pattern, "^"+regexp.QuoteMeta(part)+"$")
	}
	args := []string{"-test.run", strings.Join(pattern, "/"), "-test.v", "-test.timeout=10m"}
	cmd := exec.Command("/proc/self/exe", args...)
	if os.Geteuid() == 0 {
		asRoot(t, cmd)
	} else {
		asUser(t, cmd, args)
	}
	out, err := cmd.CombinedOutput()
	switch {
	case err != nil:
		t.Errorf("in the user namespace: %v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP: "+t.Name()+" ("):
		t.Skipf("in the user namespace:\n%s", out)
	case !strings.Contains(string(out), "--- PASS: "+t.Name()+" ("):
		t.Errorf("the test did not run in the user namespace:\n%s", out)
	}
}

// firstID is the first subordinate id that root uses here; no process or file of the host has it.
const (
	firstID = 1_000_000_000
	userID  = 1001
)

// asRoot maps ids the way it is done for a user with the id 1001: container root is a subordinate id.
func asRoot(t *testing.T, cmd *exec.Cmd) {
	ids := []syscall.SysProcIDMap{
		{ContainerID: 0, HostID: firstID, Size: userID},
		{ContainerID: userID, HostID: userID, Size: 1},
		{ContainerID: userID + 1, HostID: firstID + userID, Size: 65536 - userID - 1},
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true,
		Credential: &syscall.Credential{Uid: 0, Gid: 0},
		Pdeathsig:  syscall.SIGKILL,
	}
	tmp := t.TempDir()
	if err := os.Chmod(filepath.Dir(tmp), 0o711); err != nil { // MkdirTemp's 0700 keeps out whoever is not root here
		t.Fatal(err)
	}
	if err := os.Chown(tmp, firstID, firstID); err != nil {
		t.Fatal(err)
	}
	environment(cmd, tmp)
}

// asUser needs unshare of util-linux 2.38, newuidmap and a subordinate range.
func asUser(t *testing.T, cmd *exec.Cmd, args []string) {
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile("/etc/subuid"); !strings.Contains("\n"+string(b), fmt.Sprintf("\n%s:", u.Username)) {
		t.Skipf("user %s has no subordinate ids", u.Username)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	*cmd = *exec.Command("unshare", append([]string{"--user", "--map-root-user", "--map-auto", "--mount", exe}, args...)...)
	tmp := t.TempDir()
	t.Cleanup(func() {
		exec.Command("unshare", "--user", "--map-root-user", "--map-auto", "rm", "-rf", tmp).Run()
	})
	environment(cmd, tmp)
}

func environment(cmd *exec.Cmd, tmp string) {
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "TMPDIR=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, inside+"=1", "TMPDIR="+filepath.Clean(tmp))
}

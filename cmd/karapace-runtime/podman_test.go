package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// podman runs, enters and stops containers by way of this runtime, as root and rootless.
func TestPodman(t *testing.T) {
	if _, err := exec.LookPath("podman"); err != nil {
		t.Skip("podman is not installed: hack/setup peers")
	}
	dir, err := os.MkdirTemp("/var/tmp", "karapace-podman")
	if err != nil {
		t.Fatal(err)
	}
	if err := makeRoot(filepath.Join(dir, "root")); err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(dir, "root.tar")
	if out, err := exec.Command("tar", "-C", filepath.Join(dir, "root"), "-cf", archive, ".").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	podman := func(args ...string) (string, int) {
		cmd := exec.Command("podman", append([]string{
			"--root", filepath.Join(dir, "storage"), "--runroot", filepath.Join(dir, "run"), "--storage-driver", "vfs",
			"--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", program,
		}, args...)...)
		cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+dir, "HOME="+dir)
		cmd.Dir = dir
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		cmd.Run()
		return out.String(), cmd.ProcessState.ExitCode()
	}
	t.Cleanup(func() {
		podman("rm", "--all", "--force", "--time", "0")
		podman("rmi", "--all", "--force")
		podman("system", "migrate") // ends the process that rootless podman leaves
		os.RemoveAll(dir)
		exec.Command("podman", "unshare", "rm", "-rf", dir).Run()
	})
	if out, code := podman("import", archive, "tiny"); code != 0 {
		t.Fatalf("import: %d\n%s", code, out)
	}
	run := []string{"run", "--network", "none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{append(run, "--rm", "--hostname", "box", "tiny", "sh", "-c", "hostname; id; exit 7"), 7, "box\nuid=0(root) gid=0(root)"},
		{append(run, "--rm", "--user", "12:34", "--workdir", "/work", "tiny", "sh", "-c", "id; pwd"), 0, "uid=12 gid=34"},
		{append(run, "--rm", "tiny", "nosuch"), 127, "no such file or directory"},
		{append(run, "--rm", "--tty", "tiny", "tty"), 0, "/dev/pts/0"},
		{append(run, "--detach", "--name", "held", "tiny", "sleep", "100"), 0, ""},
		{[]string{"exec", "--env", "A=b", "held", "sh", "-c", "ps; echo $A"}, 0, "sleep 100"},
		{[]string{"exec", "held", "sh", "-c", "exit 5"}, 5, ""},
		{[]string{"stop", "--time", "0", "held"}, 0, "held"},
		{[]string{"ps", "--all", "--format", "{{.Names}} {{.Status}}"}, 0, "held Exited"},
	} {
		out, code := podman(c.args...)
		for again := 0; again < 4 && out == "" && code == c.code && c.want != ""; again++ {
			out, code = podman(c.args...) // on a busy machine podman loses what a container prints that ends before it listens
		}
		out = strings.ReplaceAll(out, "\r", "")
		out = strings.ReplaceAll(out, "uid=0 gid=0", "uid=0(root) gid=0(root)")
		if code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("podman %s: exit code %d, want %d\n%s", strings.Join(c.args, " "), code, c.code, out)
		}
	}
}

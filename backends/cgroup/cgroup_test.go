package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fake makes a tree of control files.
func fake(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestV2(t *testing.T) {
	root := fake(t, map[string]string{
		"cgroup.controllers": "cpu memory", "app.slice/cgroup.subtree_control": "cpu memory\n", "self": "0::/app.slice/shell.scope\n",
		"app.slice/shell.scope/cgroup.procs": "", "app.slice/karapace-x/cgroup.procs": "", "app.slice/karapace-x/memory.max": "", "app.slice/karapace-x/cpu.weight": "",
	})
	leave, err := enter(root, filepath.Join(root, "self"), "x", Limits{CPUShares: 1024, MemoryBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"memory.max": "1048576", "cpu.weight": "39", "cgroup.procs": "0"} {
		if got, err := os.ReadFile(filepath.Join(root, "app.slice/karapace-x", file)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", file, got, err)
		}
	}
	leave()
	if got, err := os.ReadFile(filepath.Join(root, "app.slice/shell.scope/cgroup.procs")); err != nil || string(got) != "0" {
		t.Errorf("after leaving: %q, %v", got, err)
	}
}

// What is not delegated is refused with the reason.
func TestRefused(t *testing.T) {
	root := fake(t, map[string]string{"cgroup.controllers": "cpu memory", "user.slice/cgroup.subtree_control": "pids\n", "self": "0::/user.slice/session.scope\n"})
	_, err := enter(root, filepath.Join(root, "self"), "x", Limits{MemoryBytes: 1 << 20})
	var refused *Error
	if !errors.As(err, &refused) || !strings.Contains(refused.Problem, "memory controller is not delegated") || refused.Hint == "" {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(root, "user.slice/karapace-x")); err == nil {
		t.Error("a refused group was made")
	}
}

func TestWeight(t *testing.T) {
	for shares, want := range map[int64]int64{1: 1, 2: 1, 1024: 39, 262144: 10000} {
		if got := weight(shares); got != want {
			t.Errorf("%d shares: %d, want %d", shares, got, want)
		}
	}
}

func TestOwnV1(t *testing.T) {
	self := "4:memory:/a\n3:cpu,cpuacct:/b\n0::/c\n"
	for controller, want := range map[string]string{"memory": "/a", "cpu": "/b", "pids": "/"} {
		if got := ownV1(self, controller); got != want {
			t.Errorf("%s: %s, want %s", controller, got, want)
		}
	}
}

package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
)

func limits(shares uint64, memory int64) *rspec.LinuxResources {
	return &rspec.LinuxResources{CPU: &rspec.LinuxCPU{Shares: &shares}, Memory: &rspec.LinuxMemory{Limit: &memory}}
}

// tree makes a hierarchy of plain files.
func tree(t *testing.T, self string, files map[string]string) Host {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	h := Host{Root: root, Self: filepath.Join(t.TempDir(), "self")}
	if err := os.WriteFile(h.Self, []byte(self), 0o644); err != nil {
		t.Fatal(err)
	}
	return h
}

// A kernel makes a new group's files by itself; here they are there before.
func TestVersion2(t *testing.T) {
	h := tree(t, "0::/user/app/term.scope\n", map[string]string{
		"cgroup.controllers":              "cpu memory",
		"user/app/cgroup.procs":           "",
		"user/app/cgroup.subtree_control": "cpu memory\n",
		"user/app/box/cpu.weight":         "",
		"user/app/box/memory.max":         "",
	})
	dirs, err := h.Make("box", limits(1024, 64<<20))
	if err != nil || !slices.Equal(dirs, []string{h.Root + "/user/app/box"}) {
		t.Fatalf("%v, %v", dirs, err)
	}
	for name, want := range map[string]string{"cpu.weight": "39", "memory.max": "67108864"} {
		if got, _ := os.ReadFile(filepath.Join(dirs[0], name)); string(got) != want {
			t.Errorf("%s is %q, want %s", name, got, want)
		}
	}
}

func TestUnavailable(t *testing.T) {
	for name, h := range map[string]Host{
		"nothing delegated": tree(t, "0::/a/b\n", map[string]string{"cgroup.controllers": "cpu memory", "a/b/cgroup.procs": ""}),
		"no controllers":    tree(t, "0::/a/b\n", map[string]string{"cgroup.controllers": "", "a/cgroup.procs": ""}),
		"no version 1":      tree(t, "3:pids:/\n", nil),
	} {
		if _, err := h.Make("box", limits(2, 1)); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestNothingLimited(t *testing.T) {
	for _, r := range []*rspec.LinuxResources{nil, {}, {CPU: &rspec.LinuxCPU{}}} {
		if dirs, err := System().Make("karapace-test-none", r); dirs != nil || err != nil {
			t.Errorf("%+v gives %v, %v", r, dirs, err)
		}
	}
	n := int64(5)
	r := limits(2, 1)
	r.Pids = &rspec.LinuxPids{Limit: &n}
	if _, err := System().Make("karapace-test-none", r); err == nil || !strings.Contains(err.Error(), "supported") {
		t.Errorf("a limit of processes: %v", err)
	}
}

func TestWeight(t *testing.T) {
	for shares, want := range map[uint64]uint64{0: 1, 2: 1, 1024: 39, 262144: 10000, 1 << 40: 10000} {
		if got := weight(shares); got != want {
			t.Errorf("%d shares are %d, want %d", shares, got, want)
		}
	}
}

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
	if info, err := os.Stat(Inside(dirs)[0]); err != nil || !info.IsDir() || filepath.Dir(Inside(dirs)[0]) != dirs[0] {
		t.Errorf("processes are to enter %v: %v", Inside(dirs), err)
	}
}

// A group goes with those that were made below it, unless one is in use.
func TestRemove(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "box")
	for _, below := range []string{"inside/a/b", "inside/c", "d"} {
		if err := os.MkdirAll(filepath.Join(dir, below), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	used := filepath.Join(dir, "inside/a/b/process") // a directory with something in it can no more be removed than a group with a process
	if err := os.WriteFile(used, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if Remove([]string{dir}) {
		t.Error("a group that is in use was removed")
	}
	if err := os.Remove(used); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !Remove([]string{dir}) || err != nil {
		t.Errorf("not removed, or before: %v", err)
	}
	if !Remove([]string{dir}) {
		t.Error("what is gone is not removed")
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

// The files of groups that limits are written to are there before, and so are not made.
func TestPlaceVersion1(t *testing.T) {
	h := tree(t, "3:cpu,cpuacct:/user\n2:pids:/user\n1:name=systemd:/user\n0::/\n", map[string]string{
		"cpu,cpuacct/cgroup.procs": "", "cpu,cpuacct/user/x": "", "cpu,cpuacct/user/a/b/cpu.shares": "",
		"pids/cgroup.procs": "", "pids/user/x": "", "pids/user/a/b/pids.max": "",
		"systemd/cgroup.procs": "", "systemd/user/x": "",
	})
	shares, limit := uint64(99), int64(7)
	p, err := h.Place(Request{Path: "a/b", Resources: &rspec.LinuxResources{CPU: &rspec.LinuxCPU{Shares: &shares}, Pids: &rspec.LinuxPids{Limit: &limit}}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{h.Root + "/cpu,cpuacct/user/a/b", h.Root + "/pids/user/a/b", h.Root + "/systemd/user/a/b"}
	if !slices.Equal(p.Dirs, want) {
		t.Errorf("directories %v", p.Dirs)
	}
	if made := []string{h.Root + "/systemd/user/a", h.Root + "/systemd/user/a/b"}; !slices.Equal(p.Made, made) {
		t.Errorf("made %v", p.Made)
	}
	for name, want := range map[string]string{"cpu,cpuacct/user/a/b/cpu.shares": "99", "pids/user/a/b/pids.max": "7"} {
		if got, err := os.ReadFile(filepath.Join(h.Root, name)); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v", name, got, err)
		}
	}
	below := h.Root + "/systemd/user/a/b/below/it"
	if err := os.MkdirAll(below, 0o755); err != nil {
		t.Fatal(err)
	}
	if own := []string{below, filepath.Dir(below), h.Root + "/systemd/user/a/b"}; !slices.Equal(p.Own(), own) {
		t.Errorf("its own are %v", p.Own())
	}
	used := below + "/process"
	if err := os.WriteFile(used, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if left := p.Remove(); !slices.Equal(left, []string{h.Root + "/systemd/user/a/b", h.Root + "/systemd/user/a"}) {
		t.Errorf("a group is in use, and left are %v", left)
	}
	if err := os.Remove(used); err != nil {
		t.Fatal(err)
	}
	others := h.Root + "/systemd/user/a/others"
	if err := os.Mkdir(others, 0o755); err != nil {
		t.Fatal(err)
	}
	if left := p.Remove(); !slices.Equal(left, []string{h.Root + "/systemd/user/a"}) {
		t.Errorf("a parent has a group of others, and left are %v", left)
	}
	if err := os.Remove(others); err != nil {
		t.Error(err)
	}
	if left := p.Remove(); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
	if _, err := os.Stat(h.Root + "/systemd/user/a"); err == nil {
		t.Error("what was made is there")
	}
	if _, err := os.Stat(h.Root + "/pids/user/a/b"); err != nil {
		t.Error("what was not made is gone")
	}
}

func TestPlaceRefused(t *testing.T) {
	kernel, allow, class := int64(1), true, uint32(1)
	v1 := "1:pids:/\n0::/\n"
	for name, c := range map[string]struct {
		self string
		r    rspec.LinuxResources
		want string
	}{
		"no controller": {v1, rspec.LinuxResources{Network: &rspec.LinuxNetwork{ClassID: &class}}, "no cgroup controller net_cls"},
		"unified on 1":  {v1, rspec.LinuxResources{Unified: map[string]string{"memory.high": "1"}}, "the host has version 1"},
		"devices on 2":  {"0::/\n", rspec.LinuxResources{Devices: []rspec.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}}, "take linux.resources.devices out"},
		"kernel on 2":   {"0::/\n", rspec.LinuxResources{Memory: &rspec.LinuxMemory{KernelTCP: &kernel, UseHierarchy: &allow}}, "no limits of kernel memory"},
		"path on 2":     {"0::/\n", rspec.LinuxResources{Unified: map[string]string{"../x": "1"}}, "has no file"},
	} {
		files := map[string]string{"pids/cgroup.procs": ""}
		if c.self != v1 {
			files = map[string]string{"cgroup.controllers": "memory", "cgroup.subtree_control": "memory"}
		}
		h := tree(t, c.self, files)
		if _, err := h.Place(Request{Path: "/x", Resources: &c.r}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}

// Rules about devices keep their order; a container to which everything is denied keeps what all have.
func TestDeviceRules(t *testing.T) {
	major, minor := int64(10), int64(229)
	got, err := resourcesV1(&rspec.LinuxResources{Devices: []rspec.LinuxDeviceCgroup{{Access: "rwm"}, {Allow: true, Type: "c", Major: &major, Minor: &minor, Access: "rw"}}})
	if err != nil || len(got) < 3 || got[0] != (setting{"devices", "devices.deny", "a"}) || got[1] != (setting{"devices", "devices.allow", "c 10:229 rw"}) {
		t.Fatalf("%v, %v", got, err)
	}
	if !slices.Contains(got, setting{"devices", "devices.allow", "c 1:3 rwm"}) {
		t.Errorf("no /dev/null in %v", got)
	}
}

package cgroup

import (
	"os"
	"path/filepath"
	"testing"
)

// Version 2 lets a process be moved by whoever may write to the nearest group above both.
func TestMayEnter(t *testing.T) {
	h := tree(t, "0::/user/app/one/session\n", map[string]string{
		"cgroup.controllers": "", "cgroup.procs": "", "user/cgroup.procs": "", "user/app/cgroup.procs": "", "user/app/one/cgroup.procs": "",
		"user/app/one/session/cgroup.procs": "", "user/app/two/box/cgroup.procs": "",
	})
	dir := func(p string) []string { return []string{filepath.Join(h.Root, p)} }
	for path, want := range map[string]bool{"user/app/two/box": true, "user/app/one": true, "user/app/one/session": true, "user/app/one/box": true, "user/appendix": true} {
		if got := h.MayEnter(dir(path)); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
	if err := os.Remove(filepath.Join(h.Root, "user/app/cgroup.procs")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{"user/app/two/box": false, "user/app/one/box": true, "user/appendix": true} {
		if got := h.MayEnter(dir(path)); got != want {
			t.Errorf("without the one above both, %s: %v", path, got)
		}
	}
	if old := tree(t, "3:cpu:/\n", nil); !old.MayEnter([]string{"/anywhere"}) {
		t.Error("version 1 asks for nothing above")
	}
}

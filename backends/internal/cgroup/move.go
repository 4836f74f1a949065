package cgroup

import (
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Unified says that the host has version 2 only, where who may move a process depends on the group it comes from.
func (h Host) Unified() bool { return h.unified() }

// MayEnter says whether processes of this process's group may enter others: with version 2 for that the nearest group above both has to be
// the caller's to write to (cgroup-v2.rst, Delegation Containment). With version 1 it is enough that the other one is.
func (h Host) MayEnter(dirs []string) bool {
	if !h.unified() {
		return true
	}
	own, err := h.own("")
	if err != nil {
		return false
	}
	from := filepath.Join(h.Root, own)
	for _, dir := range dirs {
		if unix.Access(filepath.Join(common(from, dir), procs), unix.W_OK) != nil {
			return false
		}
	}
	return true
}

// common is the directory that both are, or are below of.
func common(a, b string) string {
	for !strings.HasPrefix(b+"/", strings.TrimSuffix(a, "/")+"/") {
		a = filepath.Dir(a)
	}
	return a
}

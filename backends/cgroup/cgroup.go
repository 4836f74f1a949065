// Package cgroup puts this process, and so every process it starts, under the limits of an environment, whatever backend
// runs it.
//
// Each environment has one control group, made when its first session starts and shared by all of them. With cgroup v2
// it is a sibling of the caller's own group, which works where the system manager has delegated that part of the tree to
// the user; with v1 it needs root. Where the kernel would not enforce a limit, Enter refuses: a limit is never ignored.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Limits are what an environment may use. Zero is unlimited.
type Limits struct {
	CPUShares   int64 // relative, as in cgroup v1: 2 to 262144, 1024 is the default
	MemoryBytes int64
}

// Error says why this host cannot enforce a limit.
type Error struct {
	Problem string
	Hint    string
}

func (e *Error) Error() string {
	return "the limits of this environment cannot be enforced: " + e.Problem
}

const mountPoint = "/sys/fs/cgroup"

// setting is one file of a controller.
type setting struct{ controller, file, value string }

// Enter moves this process into the control group named id, with its limits set. leave moves it back, and removes the
// group when nobody else is in it.
func Enter(id string, l Limits) (leave func(), err error) {
	return enter(mountPoint, "/proc/self/cgroup", id, l)
}

func enter(root, selfFile, id string, l Limits) (leave func(), err error) {
	self, err := os.ReadFile(selfFile)
	if err != nil {
		return nil, &Error{Problem: err.Error()}
	}
	if own, ok := unified(root, string(self)); ok {
		return enterV2(root, own, id, l)
	}
	return enterV1(root, string(self), id, l)
}

// unified gives this process's group when the host has cgroup v2 and nothing else.
func unified(root, self string) (own string, ok bool) {
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err != nil {
		return "", false
	}
	for line := range strings.Lines(self) {
		if path, found := strings.CutPrefix(strings.TrimSpace(line), "0::"); found {
			return path, true
		}
	}
	return "", false
}

func enterV2(root, own, id string, l Limits) (leave func(), err error) {
	parent := filepath.Join(root, filepath.Dir(own))
	dir := filepath.Join(parent, "karapace-"+id)
	const hint = "start it in a scope of your own: systemd-run --user --scope karapace ..."
	var want []setting
	if l.MemoryBytes > 0 {
		want = append(want, setting{"memory", "memory.max", strconv.FormatInt(l.MemoryBytes, 10)}, setting{"memory", "memory.swap.max", "0"})
	}
	if l.CPUShares > 0 {
		want = append(want, setting{"cpu", "cpu.weight", strconv.FormatInt(weight(l.CPUShares), 10)})
	}
	controllers, err := os.ReadFile(filepath.Join(parent, "cgroup.subtree_control"))
	if err != nil {
		return nil, &Error{Problem: err.Error(), Hint: hint}
	}
	for _, s := range want {
		if !slices.Contains(strings.Fields(string(controllers)), s.controller) {
			return nil, &Error{Problem: fmt.Sprintf("the %s controller is not delegated to %s", s.controller, parent), Hint: hint}
		}
	}
	if err := apply(dir, want); err != nil {
		return nil, &Error{Problem: err.Error(), Hint: hint}
	}
	return func() { move(filepath.Join(root, own)); os.Remove(dir) }, nil
}

func enterV1(root, self, id string, l Limits) (leave func(), err error) {
	if os.Geteuid() != 0 {
		return nil, &Error{Problem: "this host has cgroup v1, which cannot be delegated to a user", Hint: "boot with cgroup v2 (systemd.unified_cgroup_hierarchy=1), or take the limits out of the manifest"}
	}
	var want []setting
	if l.MemoryBytes > 0 {
		want = append(want, setting{"memory", "memory.limit_in_bytes", strconv.FormatInt(l.MemoryBytes, 10)})
	}
	if l.CPUShares > 0 {
		want = append(want, setting{"cpu", "cpu.shares", strconv.FormatInt(max(2, l.CPUShares), 10)})
	}
	var undo []func()
	leave = func() {
		for _, f := range undo {
			f()
		}
	}
	for _, s := range want {
		dir := filepath.Join(root, s.controller, "karapace-"+id)
		back := filepath.Join(root, s.controller, ownV1(self, s.controller))
		if err := apply(dir, []setting{s}); err != nil {
			leave()
			return nil, &Error{Problem: err.Error()}
		}
		undo = append(undo, func() { move(back); os.Remove(dir) })
	}
	return leave, nil
}

// ownV1 is this process's group in the hierarchy of a controller.
func ownV1(self, controller string) string {
	for line := range strings.Lines(self) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) == 3 && slices.Contains(strings.Split(parts[1], ","), controller) {
			return parts[2]
		}
	}
	return "/"
}

// weight maps the range of cgroup v1 shares to that of v2 weights, as runtimes do.
func weight(shares int64) int64 { return 1 + (max(2, shares)-2)*9999/262142 }

// apply makes a group, sets its limits and moves this process in.
func apply(dir string, want []setting) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	for _, s := range want {
		err := write(filepath.Join(dir, s.file), s.value)
		if errors.Is(err, fs.ErrNotExist) && s.file == "memory.swap.max" {
			continue // a kernel without swap accounting
		}
		if err != nil {
			return err
		}
	}
	return move(dir)
}

func move(dir string) error { return write(filepath.Join(dir, "cgroup.procs"), "0") }

// write does not create: a control file is there or the controller is not.
func write(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

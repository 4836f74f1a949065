// Package cgroup puts a container's limits into force: cpu shares and memory (config-linux.md of the runtime
// specification, Control groups), for version 2 where the user has been given a part of the hierarchy, and for both
// versions where root asks.
//
// A group is named after its container and stands beside the caller's own, since a cgroup of version 2 that has
// processes can have no children with controllers. It is made when the container starts and removed when that has ended.
//
// The container's processes are in a group below it. In a user namespace of its own a process may make a cgroup namespace, which
// begins at the group that it is in, mount the hierarchies as that shows them, and write to what is its user's: the limits lie above.
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

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// procs is the file of a group's directory that processes enter it by.
const procs = "cgroup.procs"

// inside is the group below a container's in which its processes are.
const inside = "inside"

// ErrUnavailable is in the errors that say that this host cannot enforce limits for this user.
var ErrUnavailable = errors.New("the host cannot enforce limits for this user")

// setting is one limit, as a file of its controller.
type setting struct{ controller, file, value string }

// Host is where the hierarchies are; tests have their own.
type Host struct {
	Root string // of the file systems, /sys/fs/cgroup
	Self string // the file that names the caller's groups, /proc/self/cgroup
}

// System is this machine.
func System() Host { return Host{Root: "/sys/fs/cgroup", Self: "/proc/self/cgroup"} }

// Make makes the group of a container, in one directory of version 2 or in one for each controller of version 1. It
// returns none when nothing is limited.
func (h Host) Make(name string, r *rspec.LinuxResources) ([]string, error) {
	unified := h.unified()
	settings, err := settings(r, unified)
	if err != nil || len(settings) == 0 {
		return nil, err
	}
	var dirs []string
	for _, s := range settings {
		var dir string
		if unified {
			dir, err = h.dirV2(name, settings)
		} else {
			dir, err = h.dirV1(name, s.controller)
		}
		if err == nil && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
			_, err = mkdir(filepath.Join(dir, inside))
		}
		if err == nil {
			err = write(filepath.Join(dir, s.file), s.value)
		}
		if err != nil {
			Remove(dirs)
			return nil, err
		}
	}
	return dirs, nil
}

// settings translates the limits, and refuses what is not one of ours.
func settings(r *rspec.LinuxResources, unified bool) ([]setting, error) {
	if r == nil {
		return nil, nil
	}
	rest := *r
	rest.CPU, rest.Memory, rest.Devices = nil, nil, nil
	if !empty(&rest) || r.CPU != nil && *r.CPU != (rspec.LinuxCPU{Shares: r.CPU.Shares}) || r.Memory != nil && *r.Memory != (rspec.LinuxMemory{Limit: r.Memory.Limit}) {
		return nil, errors.New("no limit but cpu shares and memory is supported")
	}
	var list []setting
	if r.CPU != nil && r.CPU.Shares != nil {
		if unified {
			list = append(list, setting{"cpu", "cpu.weight", strconv.FormatUint(weight(*r.CPU.Shares), 10)})
		} else {
			list = append(list, setting{"cpu", "cpu.shares", strconv.FormatUint(*r.CPU.Shares, 10)})
		}
	}
	if r.Memory != nil && r.Memory.Limit != nil {
		file := "memory.limit_in_bytes"
		if unified {
			file = "memory.max"
		}
		list = append(list, setting{"memory", file, strconv.FormatInt(*r.Memory.Limit, 10)})
	}
	return list, nil
}

func empty(r *rspec.LinuxResources) bool {
	return r.Pids == nil && r.BlockIO == nil && r.Network == nil && len(r.HugepageLimits)+len(r.Rdma)+len(r.Unified) == 0
}

// weight maps the shares of version 1, 2 to 262144, to the weights of version 2, 1 to 10000, as every runtime does.
func weight(shares uint64) uint64 {
	shares = min(max(shares, 2), 262144)
	return 1 + (shares-2)*9999/262142
}

func (h Host) unified() bool {
	_, err := os.Stat(filepath.Join(h.Root, "cgroup.controllers"))
	return err == nil
}

// own is the path of the caller's group for a controller, "" for version 2.
func (h Host) own(controller string) (string, error) {
	text, err := os.ReadFile(h.Self)
	if err != nil {
		return "", fmt.Errorf("read own cgroup: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) == 3 && slices.Contains(strings.Split(f[1], ","), controller) && filepath.IsAbs(f[2]) {
			return filepath.Clean(f[2]), nil
		}
	}
	return "", fmt.Errorf("%w: it has no cgroup controller %s", ErrUnavailable, controller)
}

// dirV2 makes the group in the nearest ancestor of the caller's that the caller may write to and that has, or can be
// given, the controllers.
func (h Host) dirV2(name string, settings []setting) (string, error) {
	own, err := h.own("")
	if err != nil {
		return "", err
	}
	for at := own; ; at = filepath.Dir(at) {
		parent := filepath.Join(h.Root, at)
		if (at != own || at == "/") && unix.Access(filepath.Join(parent, procs), unix.W_OK) == nil && hasControllers(parent, settings) {
			return mkdir(filepath.Join(parent, name))
		}
		if at == "/" {
			return "", fmt.Errorf("%w: no cgroup above its own is delegated to it with the controllers cpu and memory", ErrUnavailable)
		}
	}
}

// hasControllers says whether children of a group have the controllers, which they are given if that is possible.
func hasControllers(dir string, settings []setting) bool {
	for _, s := range settings {
		text, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
		if err != nil {
			return false
		}
		if !slices.Contains(strings.Fields(string(text)), s.controller) && write(filepath.Join(dir, "cgroup.subtree_control"), "+"+s.controller) != nil {
			return false
		}
	}
	return true
}

// dirV1 makes the group beside the caller's own in a controller's hierarchy.
func (h Host) dirV1(name, controller string) (string, error) {
	own, err := h.own(controller)
	if err != nil {
		return "", err
	}
	dir, err := mkdir(filepath.Join(h.Root, controller, filepath.Dir(own), name))
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		err = fmt.Errorf("%w: it has cgroup version 1, where only root can (%w)", ErrUnavailable, err)
	}
	return dir, err
}

func mkdir(dir string) (string, error) {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("make cgroup: %w", err)
	}
	return dir, nil
}

// write writes to a file of the kernel's, which is never created. An os.File would be put under the runtime's poller, at
// three system calls more.
func write(path, value string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("set limit: open %s: %w", path, err)
	}
	_, err = unix.Write(fd, []byte(value))
	if err := errors.Join(err, unix.Close(fd)); err != nil {
		return fmt.Errorf("set limit %s to %s: %w", path, value, err)
	}
	return nil
}

// Inside are the groups that a container's processes enter, below those that Make has made.
func Inside(dirs []string) []string {
	var all []string
	for _, dir := range dirs {
		all = append(all, filepath.Join(dir, inside))
	}
	return all
}

// Open opens what a process writes "0" to in order to enter the group.
func Open(dirs []string) ([]*os.File, error) {
	var files []*os.File
	for _, dir := range dirs {
		f, err := os.OpenFile(filepath.Join(dir, procs), os.O_WRONLY, 0)
		if err != nil {
			Close(files)
			return nil, fmt.Errorf("enter the container's limits: %w", err)
		}
		files = append(files, f)
	}
	return files, nil
}

// Close closes what Open has opened.
func Close(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// Remove removes a group and all below it, some of which may have been made inside. It reports false while one has processes.
func Remove(dirs []string) bool {
	gone := true
	for _, dir := range dirs {
		if err := remove(dir); err != nil && err != unix.ENOENT {
			gone = false
		}
	}
	return gone
}

func remove(dir string) error {
	err := unix.Rmdir(dir)
	if err != unix.EBUSY && err != unix.ENOTEMPTY {
		return err
	}
	below, _ := os.ReadDir(dir)
	for _, entry := range below {
		if entry.IsDir() {
			if err := remove(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	return unix.Rmdir(dir)
}

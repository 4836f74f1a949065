package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// escapeName is what this test program is called where it is the tool that tries from inside to get out.
const escapeName = "escape"

// escape is one attempt. It is refused when try gives one of the errors that are wanted or, where none is, any error.
type escape struct {
	class, attempt string
	want           []unix.Errno
	try            func(host escapeHost) error
}

// escapeHost is what the tool knows about the host, from its arguments.
type escapeHost struct {
	pid      int    // of a process
	abstract string // name of an abstract socket that answers
	secret   string // path of a file that a descriptor was open to
}

// errMissing is given where the attempt has nothing to begin with.
var errMissing = errors.New("it is not there")

// escapeTool is "escape all|home|build PID ABSTRACT SECRET": it tries all the escapes, prints a line for each, and fails when one
// succeeds. "escape within NAME" is an attempt that has got namespaces of its own to begin with.
func escapeTool(args []string) (code int, done bool) {
	if filepath.Base(args[0]) != escapeName || len(args) < 3 {
		return 0, false
	}
	if args[1] == "within" {
		return withinNamespaces(args[2]), true
	}
	host := escapeHost{abstract: args[3], secret: args[4]}
	fmt.Sscan(args[2], &host.pid)
	all := slices.Concat(mountEscapes(), fileEscapes(), processEscapes(), callEscapes(), socketEscapes())
	switch args[1] {
	case "all":
		all = slices.Concat(all, preparedEscapes())
	case "home":
		all = homeEscapes()
	}
	for _, e := range all {
		if err := e.refused(host); err != nil {
			fmt.Printf("ESCAPED %s: %s: %v\n", e.class, e.attempt, err)
			code = 1
		}
	}
	fmt.Println("tried", len(all))
	return code, true
}

// refused gives an error when the attempt has succeeded, or has failed for another reason than the one that holds it.
func (e escape) refused(host escapeHost) error {
	err := e.try(host)
	if err == nil {
		return errors.New("it succeeded")
	}
	if errno := unix.Errno(0); len(e.want) > 0 && (!errors.As(err, &errno) || !slices.Contains(e.want, errno)) {
		return fmt.Errorf("it failed for another reason: %w", err)
	}
	return nil
}

// nested runs an attempt of withinNamespaces in a user namespace and others, as root there.
func nested(name string, flags uintptr) func(escapeHost) error {
	return func(escapeHost) error {
		cmd := exec.Command("/proc/self/exe", "within", name)
		cmd.Args[0] = escapeName
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS | flags,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}}
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &exit) && exit.ExitCode() > 0 && exit.ExitCode() < 200:
			return unix.Errno(exit.ExitCode())
		}
		return fmt.Errorf("%w: %s", err, out)
	}
}

// withinNamespaces makes the attempt and gives its errno as exit code.
func withinNamespaces(name string) int {
	dir, err := os.MkdirTemp("", "within")
	if err == nil {
		err = map[string]func() error{
			"remount": func() error { return remount("/sys") },
			"sysctl":  func() error { return remount("/proc/sys") },
			"unmask":  func() error { return unix.Unmount("/proc/keys", unix.MNT_DETACH) },
			"uncover": func() error { return unix.Unmount("/sys/firmware", unix.MNT_DETACH) },
			"proc":    func() error { return unix.Mount("proc", dir, "proc", 0, "") },
			"sysfs":   func() error { return unix.Mount("sysfs", dir, "sysfs", 0, "") },
			"device":  func() error { return unix.Mknod(dir+"/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))) },
			"block":   func() error { return unix.Mount("/dev/null", dir, "ext4", 0, "") },
			"host":    func() error { return unix.Sethostname([]byte("escaped")) },
			"release": func() error { return releaseAgent(dir) },
			"groups":  func() error { return hostGroups(dir) },
			"pivot":   func() error { return pivoted(dir) },
		}[name]()
	}
	if errno := unix.Errno(0); errors.As(err, &errno) {
		return int(errno)
	}
	if err != nil {
		fmt.Println(err)
		return 255
	}
	return 0
}

// remount makes a read-only mount writable.
func remount(dir string) error {
	return unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND, "")
}

// releaseAgent names a program that the host's kernel is to run.
func releaseAgent(dir string) error {
	for _, controller := range []string{"memory", "cpu", "rdma", "pids", "freezer"} {
		if err := unix.Mount("cgroup", dir, "cgroup", 0, controller); err == nil {
			return openWrite(dir + "/release_agent")
		}
	}
	if err := unix.Mount("cgroup2", dir, "cgroup2", 0, ""); err != nil {
		return err
	}
	return os.Mkdir(dir+"/escaped", 0o755)
}

// hostGroups makes a group in the hierarchies of version 1, beside those of the host's, and in that of version 2.
func hostGroups(dir string) error {
	var refused []error
	for _, kind := range [][2]string{{"cgroup", "freezer"}, {"cgroup", "cpuset"}, {"cgroup", "devices"}, {"cgroup", "none,name=systemd"}, {"cgroup2", ""}} {
		err := unix.Mount("none", dir, kind[0], 0, kind[1])
		if err == nil {
			if err = os.Mkdir(dir+"/escaped", 0o755); err == nil {
				return errors.Join(os.Remove(dir+"/escaped"), unix.Unmount(dir, unix.MNT_DETACH))
			}
			unix.Unmount(dir, unix.MNT_DETACH)
		}
		refused = append(refused, err)
	}
	return errors.Join(refused...)
}

// pivoted looks for the host's root behind a root of one's own.
func pivoted(dir string) error {
	own, err := place("/")
	if err != nil {
		return err
	}
	if err := errors.Join(unix.Mount("none", dir, "tmpfs", 0, ""), os.Mkdir(dir+"/old", 0o755), unix.PivotRoot(dir, dir+"/old"), unix.Unmount("/old", unix.MNT_DETACH)); err != nil {
		return err
	}
	if behind, err := place("/../.."); err != nil || behind != own {
		return unix.EPERM // it is the root of one's own, or nothing
	}
	return nil
}

// place is what file a path leads to.
func place(path string) (id [2]uint64, err error) {
	var st unix.Stat_t
	err = unix.Stat(path, &st)
	return [2]uint64{st.Dev, st.Ino}, err
}

func openWrite(path string) error { return openAs(path, unix.O_WRONLY) }

func openAs(path string, flags int) error {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// call makes a system call, whose arguments are none that could do harm.
func call(number uintptr, args ...uintptr) func(escapeHost) error {
	return func(escapeHost) error {
		var a [6]uintptr
		copy(a[:], args)
		if _, _, errno := unix.Syscall6(number, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
			return errno
		}
		return nil
	}
}

// empty wants a file or directory to have nothing in it, or not to be there.
func empty(path string) func(escapeHost) error {
	return func(escapeHost) error {
		if names, err := os.ReadDir(path); err == nil && len(names) == 0 {
			return errMissing
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		if n, err := f.Read(make([]byte, 1)); n == 0 {
			return errors.Join(errMissing, err)
		}
		return nil
	}
}

func writing(path string) func(escapeHost) error {
	return func(escapeHost) error { return openWrite(path) }
}

// putEscapeTool puts the tool into a directory.
func putEscapeTool(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: escapetool DIR")
	}
	putTool(ts, filepath.Join(ts.MkAbs(args[0]), escapeName))
}

// status is a line of what the kernel says about this process.
func status(key string) string {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err.Error()
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

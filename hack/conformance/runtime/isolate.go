package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// timeout is how long a program may take; the slowest wait for ten seconds some dozen times.
const timeout = 3 * time.Minute

// runtime is a command that is called as the programs expect it: without options of its own.
type runtime struct{ name, wrapper, state string }

// wrappers writes a script for each NAME=COMMAND, which calls the command with a state directory of its own.
func wrappers(work string, args []string) ([]runtime, error) {
	var list []runtime
	for _, arg := range args {
		name, command, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, fmt.Errorf("%q is not NAME=COMMAND", arg)
		}
		r := runtime{name: name, wrapper: filepath.Join(work, "runtime-"+name), state: filepath.Join(work, "state-"+name)}
		text := fmt.Sprintf("#!/bin/sh\nexec %s --root %s \"$@\"\n", command, r.state)
		if err := os.WriteFile(r.wrapper, []byte(text), 0o755); err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

// prepare runs in the new namespaces before a program. Without root of the host, devices can neither be made nor given
// away. Runtimes that refuse to see both layouts of control groups are shown one of them.
const prepare = `
set -e
if mknod "$1/null" c 1 3 2>/dev/null; then
	chmod 666 "$1/null"
	mount --bind "$1/null" /dev/null
fi
if [ -d /sys/fs/cgroup/unified ] && ! umount /sys/fs/cgroup/unified 2>/dev/null; then
	case $RUNTIME in *-crun) mount -t tmpfs -o ro tmpfs /sys/fs/cgroup;; esac
fi
shift
exec "$@"
`

// result is what became of one program under one runtime.
type result struct {
	pass, star bool
	why        string
	output     string
}

func (r *runtime) try(ctx context.Context, suite, program string) result {
	if err := os.MkdirAll(r.state, 0o700); err != nil {
		return result{why: err.Error()}
	}
	dir, err := os.MkdirTemp(filepath.Dir(r.state), program+".")
	if err != nil {
		return result{why: err.Error()}
	}
	defer r.clean(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return result{why: err.Error()}
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private",
		"sh", "-c", prepare, "sh", dir, filepath.Join(suite, program))
	cmd.Dir = suite
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR=" + dir, "RUNTIME=" + r.wrapper, "XDG_RUNTIME_DIR=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	res := judge(out.String(), err)
	if ctx.Err() == context.DeadlineExceeded {
		res = result{why: "it took longer than " + timeout.String(), output: out.String()}
	}
	return res
}

// clean removes what a program and its containers left: files and control groups. Its processes are dead.
func (r *runtime) clean(dir string) {
	os.RemoveAll(dir)
	os.RemoveAll(r.state)
	for _, pattern := range []string{"*/cgrouptest", "*/testdir/cgrouptest/container", "*/testdir/cgrouptest", "*/testdir"} {
		groups, _ := filepath.Glob("/sys/fs/cgroup/" + pattern) // the pattern is well-formed
		for _, g := range groups {
			syscall.Rmdir(g)
		}
	}
}

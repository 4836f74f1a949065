// Package asuser lets the tests of a package run twice where they are started by root: as root, and as an
// unprivileged user with subordinate ids, which is what nearly everybody is.
package asuser

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

const marker = "KARAPACE_TEST_AS_USER"

// Main runs the package's tests, then as root once more as a user. It returns the exit code for os.Exit.
func Main(m *testing.M) int {
	code := m.Run()
	if os.Geteuid() != 0 || code != 0 {
		return code
	}
	u, err := Find()
	if err != nil {
		fmt.Fprintf(os.Stderr, "not run as an unprivileged user: %v\n", err)
		return code
	}
	code, err = again(u)
	if err != nil {
		fmt.Fprintf(os.Stderr, "run as %s: %v\n", u.Username, err)
		return 1
	}
	return code
}

// Find returns a user with subordinate ids.
func Find() (*user.User, error) {
	data, err := os.ReadFile("/etc/subuid")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(data)) {
		name, _, _ := strings.Cut(line, ":")
		if u, err := user.Lookup(name); err == nil && u.Uid != "0" {
			return u, nil
		}
	}
	return nil, errors.New("no user has subordinate ids; add one with: useradd -m tester")
}

// again runs the test binary as u, from a directory that u can read.
func again(u *user.User) (int, error) {
	dir, err := os.MkdirTemp("", "asuser")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil {
		return 1, err
	}
	exe := filepath.Join(dir, filepath.Base(os.Args[0]))
	if err := copyFile(exe, "/proc/self/exe"); err != nil {
		return 1, err
	}
	scratch := filepath.Join(dir, "tmp")
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	if err := errors.Join(os.Mkdir(scratch, 0o700), os.Chown(scratch, uid, gid)); err != nil {
		return 1, err
	}
	var args []string
	for _, a := range os.Args[1:] {
		if !strings.Contains(a, "coverprofile") && !strings.Contains(a, "gocoverdir") && !strings.Contains(a, "testlogfile") && a != "-update" {
			args = append(args, a)
		}
	}
	cmd := exec.Command(exe, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), marker+"=1", "HOME="+u.HomeDir, "USER="+u.Username, "TMPDIR="+scratch, "XDG_RUNTIME_DIR=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}

func copyFile(to, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}

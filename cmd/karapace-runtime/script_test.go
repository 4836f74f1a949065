package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// program is the binary under test: the real one, as it is shipped.
var program string

func TestMain(m *testing.M) {
	dir := os.Getenv("KARAPACE_BIN")
	remove := func() {}
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "karapace-runtime"); err == nil {
			remove = func() { os.RemoveAll(dir) }
			build := exec.Command("go", "build", "-o", dir, ".")
			build.Env = append(os.Environ(), "CGO_ENABLED=0")
			build.Stderr = os.Stderr
			err = build.Run()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	program = filepath.Join(dir, "karapace-runtime")
	code := m.Run()
	remove()
	os.Exit(code)
}

// The command line does what testdata/script says, one file a behaviour; as root, and as a user whose bundles have user
// namespaces.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		Setup:               setup,
		Condition: func(name string) (bool, error) {
			if name == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", name)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"rt": rt, "bundle": bundle, "truncate": truncate},
	})
}

func setup(e *testscript.Env) error {
	state := filepath.Join(e.WorkDir, "state")
	e.Setenv("STATE", state)
	e.Setenv("PATH", filepath.Dir(program)+":"+os.Getenv("PATH")+":/usr/sbin:/sbin")
	e.Setenv("PROGRAM", program)
	for c := e.WorkDir; c != os.TempDir() && c != "/"; c = filepath.Dir(c) {
		if err := os.Chmod(c, 0o755); err != nil { // users of containers come by here
			break
		}
	}
	e.Defer(func() {
		entries, _ := os.ReadDir(state) // there is none when nothing was created
		for _, d := range entries {
			exec.Command(program, "--root", state, "delete", "--force", d.Name()).Run()
		}
	})
	return nil
}

// rt CODE ARGS... runs the program with a state directory of the script's, and wants an exit code.
func rt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: rt CODE ARGS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec("sh", append([]string{"-c", throughFiles, program, "--root", ts.Getenv("STATE")}, args[1:]...)...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// throughFiles keeps containers, which live on, from holding the pipes that a script's output is read from.
const throughFiles = `"$0" "$@" >"$WORK/out" 2>"$WORK/err"; code=$?; cat "$WORK/out"; cat "$WORK/err" >&2; exit $code`

// truncate SIZE FILE makes a file of that size.
func truncate(ts *testscript.TestScript, _ bool, args []string) {
	size, err := strconv.ParseInt(args[0], 10, 64)
	ts.Check(err)
	f, err := os.OpenFile(ts.MkAbs(args[1]), os.O_CREATE|os.O_WRONLY, 0o644)
	ts.Check(err)
	ts.Check(f.Truncate(size))
	ts.Check(f.Close())
}

// applets are the programs of the root file system.
const applets = "sh cat id ls sleep touch echo kill grep test ps hostname mount stat readlink head tty env true false mkdir rm ln dd sed umask ulimit"

// makeRoot makes a root file system of one static program.
func makeRoot(dir string) error {
	for _, d := range []string{"bin", "dev", "proc", "sys", "tmp", "etc", "work"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	path, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	box, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/busybox"), box, 0o755); err != nil {
		return err
	}
	for name := range strings.FieldsSeq(applets) {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", name)); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "etc/plain"), []byte("no program\n"), 0o644)
}

// subordinate is the first of the caller's subordinate ids.
func subordinate() (int, error) {
	name, err := exec.Command("id", "-un").Output()
	if err != nil {
		return 0, err
	}
	data, err := os.ReadFile("/etc/subuid")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Split(strings.TrimSpace(line), ":"); len(f) == 3 && f[0] == string(bytes.TrimSpace(name)) {
			return strconv.Atoi(f[1])
		}
	}
	return 0, errors.New("no subordinate ids")
}

// Package backendtest is the suite that every backend passes, as root and as an unprivileged user.
//
// Its containers run box, a small static program that does one thing per name and prints what it sees. Where a test
// is about the process that supervises a session, about its death for example, that is a process of its own: the test
// binary started again.
package backendtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/internal/asuser"
)

// Factory makes a backend by its name. An error says why this host does not have it.
type Factory func(name string) (backends.Runtime, error)

// Options says what is not the same for every backend.
type Options struct {
	// Isolated: commands run in namespaces of their own and in the container's root.
	Isolated bool
	// Outlives: the container goes on when the session that started it ends before another.
	Outlives bool
	// Reopens: a file that is replaced while it is being mounted is opened again.
	Reopens bool
	// Fast backends try every exit code, slow ones the telling ones.
	Fast bool
}

const boxVariable = "KARAPACE_TEST_BOX"

// Main is the TestMain of a package that calls Run. It returns the exit code.
func Main(m *testing.M, f Factory) int {
	if len(os.Args) > 2 && os.Args[1] == superviseArg {
		return supervise(f, os.Args[2])
	}
	if os.Getenv(boxVariable) == "" {
		dir, err := os.MkdirTemp("", "box")
		if err == nil {
			defer os.RemoveAll(dir)
			err = buildBox(dir)
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "build the containers' program: %v\n", err)
			return 1
		}
	}
	return asuser.Main(m)
}

func buildBox(dir string) error {
	box := filepath.Join(dir, "box")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", box, "github.com/karapace/karapace/backends/backendtest/box")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	return os.Setenv(boxVariable, box)
}

// Run runs the suite for one backend.
func Run(t *testing.T, f Factory, name string, opts Options) {
	rt, err := f(name)
	if err != nil {
		t.Skipf("this host has no %s: %v", name, err)
	}
	if rt.Name() != name {
		t.Errorf("Name() is %q, want %q", rt.Name(), name)
	}
	s := &suite{rt: rt, opts: opts, lower: lowerDir(t)}
	var missing *backends.Error
	if r := s.newBox(t).run("exit", "0"); errors.As(r.err, &missing) && missing.Kind == backends.Prerequisite {
		t.Skipf("%v: %s", missing, missing.Hint)
	}
	for _, c := range cases() {
		if c.isolated && !opts.Isolated {
			continue
		}
		t.Run(c.name, func(t *testing.T) { c.run(t, s) })
	}
}

type testCase struct {
	name     string
	isolated bool
	run      func(*testing.T, *suite)
}

func cases() []testCase {
	return []testCase{
		{"exit codes", false, testExitCodes},
		{"death by signal", false, testDeathBySignal},
		{"cannot execute", false, testCannotExecute},
		{"standard streams", false, testStreams},
		{"a gibibyte", false, testGibibyte},
		{"environment", false, testEnvironment},
		{"working directory", true, testWorkingDirectory},
		{"signals are passed on", false, testSignals},
		{"cancelled", false, testCancel},
		{"identity", true, testIdentity},
		{"capabilities", true, testCapabilities},
		{"limits", true, testLimits},
		{"seccomp", true, testSeccomp},
		{"resources", true, testResources},
		{"descriptors", true, testDescriptors},
		{"root file system", true, testRootfs},
		{"masked and read-only", true, testMasked},
		{"bind mounts", true, testBinds},
		{"sources swapped", true, testSwapped},
		{"files replaced", true, testFilesReplaced},
		{"sources above", true, testAbove},
		{"devices", true, testDevices},
		{"network", true, testNetwork},
		{"refused specs", true, testRefused},
		{"hostile roots", true, testHostile},
		{"second session", false, testSecondSession},
		{"order of endings", true, testEndings},
		{"start refused", false, testStartRefused},
		{"replaced", true, testReplaced},
		{"parallel starts", false, testParallel},
		{"stop", false, testStop},
		{"kill and delete", false, testKillAndDelete},
		{"supervisor killed", true, testSupervisorKilled},
		{"first process killed", true, testFirstKilled},
		{"another backend", false, testOtherBackend},
		{"another profile", false, testOtherProfile},
		{"terminal", true, testTerminal},
		{"inside a user namespace", true, testNested},
	}
}

type suite struct {
	rt    backends.Runtime
	opts  Options
	lower string
}

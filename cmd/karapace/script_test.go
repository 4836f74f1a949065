package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/karapace/karapace/cmd/internal/engine"
	"github.com/karapace/karapace/cmd/internal/testground"
	"github.com/karapace/karapace/hack/faults"
	"github.com/karapace/karapace/manifest/distro/aptrepo/aptrepotest"
)

// binaries is the directory of the programs under test: the real ones, as they are shipped.
var binaries string

func TestMain(m *testing.M) {
	faults.Main()
	for _, tool := range []func([]string) (int, bool){xattrTool, connectTool, escapeTool, damageOne} {
		if code, done := tool(os.Args); done {
			os.Exit(code)
		}
	}
	dir, done, err := testground.Programs()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binaries = dir
	code := m.Run()
	done()
	os.Exit(code)
}

// The command line does what testdata/script says, one file a behaviour.
func TestScripts(t *testing.T) {
	p := params("script", "", "FORGED="+forgedArchive(t))
	p.Cmds["sign"] = signer(aptrepotest.NewKey(t))
	testscript.Run(t, p)
}

// What testdata/backend says holds for every backend.
func TestBackendScripts(t *testing.T) {
	for _, backend := range []string{"namespace", "crun", "runc", "youki"} {
		t.Run(backend, func(t *testing.T) {
			if why := unavailable(t, backend); why != "" {
				t.Skipf("%s cannot run here: %s", backend, why)
			}
			testscript.Run(t, params("backend", backend))
		})
	}
}

// forgedArchive serves an archive with a bookworm that is signed, by a key nobody trusts.
func forgedArchive(t *testing.T) string {
	a := aptrepotest.NewArchive(t)
	a.Publish(aptrepotest.NewKey(t), aptrepotest.Suite{Name: "bookworm", Date: time.Now()})
	return a.URL
}

func params(dir, backend string, vars ...string) testscript.Params {
	return testscript.Params{
		Dir: filepath.Join("testdata", dir),
		Setup: func(e *testscript.Env) error {
			e.Vars = append(e.Vars, append(vars, "BACKEND="+backend)...)
			return setup(e)
		},
		Condition:           condition,
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "tiny": tiny, "jsonfield": jsonField, "expand": expand, "hostile": hostile, "halve": halve,
			"loadvault": loadVault, "savevault": saveVault, "flipvault": flipVault, "nohost": noHost, "layout": layout, "serve": serve, "image": image, "damage": damage,
			"damagesnapshot": damageSnapshot, "damagefile": damageFile, "oldstore": oldStore, "xattrtool": putXattrTool, "connecttool": putConnectTool, "escapetool": putEscapeTool, "reaches": reaches, "listen": listen,
			"fixture": fixture, "asregistry": asRegistry, "registry": startRegistry, "teamserver": teamServer, "forge": forge,
			"devcontainerargs": devcontainerArgs,
		},
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
	}
}

// unavailable says why a backend cannot be used; empty when it can.
func unavailable(t *testing.T, backend string) string {
	t.Helper()
	out, err := exec.Command(filepath.Join(binaries, "karapace"), "backends", "--json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []engine.BackendInfo
	if err := json.Unmarshal(out, &all); err != nil {
		t.Fatal(err)
	}
	for _, b := range all {
		if b.Name == backend && !b.Available {
			return cmp.Or(b.Reason, "no reason given")
		}
		if b.Name == backend {
			return ""
		}
	}
	return "unknown"
}

// setup gives each script an empty home and store, and nothing else of this process's environment.
func setup(e *testscript.Env) error {
	home := filepath.Join(e.WorkDir, "home")
	if err := os.MkdirAll(home, 0o755); err != nil {
		return err
	}
	e.Defer(func() { destroyStore(filepath.Join(home, ".local/share/karapace")) })
	e.Setenv("HOME", home)
	e.Setenv("KARAPACE_STORE", filepath.Join(home, ".local/share/karapace"))
	e.Setenv("PATH", binaries+":"+os.Getenv("PATH")+":/usr/sbin:/sbin")
	e.Setenv("KARAPACE_BACKEND_PATH", os.Getenv("KARAPACE_BACKEND_PATH"))
	e.Setenv("CACHE", cacheDir())
	e.Setenv("KARAPACE_FIXTURES", fixturesDir())
	e.Setenv("USER", "")
	return nil
}

// destroyStore removes a store, files of subordinate ids too.
func destroyStore(store string) {
	if _, err := os.Stat(store); err != nil {
		return
	}
	cmd := exec.Command(filepath.Join(binaries, "karapace"), "--store", store, "destroy", "--all", "--force")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "remove %s: %v\n%s", store, err, out)
	}
}

func cacheDir() string {
	if dir := os.Getenv("KARAPACE_TEST_CACHE"); dir != "" {
		return dir
	}
	if dir, err := os.UserCacheDir(); err == nil {
		return filepath.Join(dir, "karapace-test")
	}
	return filepath.Join(os.TempDir(), "karapace-test")
}

// condition knows [root], and [fixtures]: what hack/fixtures made is here.
func condition(cond string) (bool, error) {
	switch cond {
	case "root":
		return os.Getuid() == 0, nil
	case "fixtures":
		return haveFixtures(), nil
	case "cgroups":
		return mayMakeGroups(), nil
	case "followed":
		return followed(), nil
	}
	return false, fmt.Errorf("unknown condition %q", cond)
}

// mayMakeGroups says whether other people's runtimes can make the control groups that they insist on.
func mayMakeGroups() bool {
	for _, parent := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/pids"} {
		if dir, err := os.MkdirTemp(parent, "karapace-test-"); err == nil {
			return os.Remove(dir) == nil
		}
	}
	return false
}

// followed says that a user runs the same tests after root, who need not run what is the same for both.
func followed() bool { return os.Getenv("KARAPACE_TEST_FOLLOWED") != "" && os.Getuid() == 0 }

// exits N COMMAND... runs a command and checks its exit code, and that failure was not silent.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits N command...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var ee *exec.ExitError
	switch {
	case errors.As(err, &ee):
		got = ee.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("%s: exit code %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

// tiny FILE writes a root file system archive that holds busybox and little else: a base that builds in a moment.
func tiny(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: tiny FILE")
	}
	ts.Check(testground.WriteTiny(ts.MkAbs(args[0])))
}

// jsonfield NAME prints the value of a field of the last standard output into $NAME.
func jsonField(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: jsonfield FIELD...")
	}
	out := ts.ReadFile("stdout")
	for _, name := range args {
		_, rest, found := strings.Cut(out, strconv.Quote(name)+": \"")
		if !found {
			ts.Fatalf("no field %q in %s", name, out)
		}
		value, _, _ := strings.Cut(rest, `"`)
		ts.Setenv(name, value)
	}
}

// expand FILE... replaces $WORK in expected texts.
func expand(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		text := strings.ReplaceAll(ts.ReadFile(name), "$WORK", ts.Getenv("WORK"))
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o644))
	}
}

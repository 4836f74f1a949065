package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/karapace/karapace/cmd/internal/engine"
	"github.com/karapace/karapace/cmd/internal/testground"
	"github.com/karapace/karapace/hack/faults"
)

// What faults_*_test.go do is written in docs/reliability.md.

// inFull tells whether every point is tried, and not some of each operation.
func inFull() bool { return os.Getenv("KARAPACE_FAULTS") == "full" }

// faultBench is one store in which an environment, t, is changed under faults.
type faultBench struct {
	*stateBench
	round    int
	snapshot string            // that nothing lies on, see snapped
	own      *testing.T        // whose bench it is
	server   string            // address of a registry, see registry
	ref      string            // what is pushed and pulled
	other    string            // env_id of an environment beside it, see recorded
	clock    func(*exec.Cmd)   // gives a command another clock; nil: none
	text     string            // what the round wrote into the environment
	digests  map[string]string // by env_id: of the image, as it was first built
}

// newFaultBench makes one in a directory, or one of its own.
func newFaultBench(t *testing.T, dir string) *faultBench {
	t.Helper()
	if dir == "" {
		dir = t.TempDir()
	}
	real, err := filepath.EvalSymlinks(dir)
	must(t, err)
	b := &faultBench{stateBench: &stateBench{t: t, dir: real}, own: t, ref: "127.0.0.1:1/nowhere/t:1", digests: map[string]string{}}
	must(t, os.MkdirAll(filepath.Join(b.dir, "home"), 0o755))
	for name, mark := range map[string]string{"base": "", "other": "another"} {
		must(t, writeSmall(filepath.Join(b.dir, name+".tar"), mark))
	}
	for name, text := range map[string]string{
		"t.toml":     "[base]\nimage = \"./base.tar\"\n",
		"again.toml": "[base]\nimage = \"./base.tar\"\n[env]\nANOTHER = \"lock\"\n",
		"other.toml": "[base]\nimage = \"./other.tar\"\n",
		"url.toml":   "[base]\nimage = \"" + serveDir(t, b.dir) + "/other.tar\"\n",
	} {
		must(t, os.WriteFile(filepath.Join(b.dir, name), []byte("manifest_version = 1\n"+text), 0o644))
	}
	t.Cleanup(func() { destroyStore(b.store()) })
	return b
}

// serveDir serves the archives of a directory.
func serveDir(t *testing.T, dir string) string {
	t.Helper()
	s := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(s.Close)
	return s.URL
}

// writeSmall makes a root file system of busybox under the few names that the rounds call it by.
func writeSmall(file, mark string) error {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("the tests need busybox-static: %w", err)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	tw := tar.NewWriter(f)
	for _, d := range []string{"bin", "dev", "etc", "home", "proc", "root", "run", "srv", "sys", "tmp"} {
		err = errors.Join(err, tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: d + "/", Mode: 0o755, ModTime: testground.Epoch}))
	}
	for name, text := range map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\n", "etc/group": "root:x:0:\n", "etc/os-release": "ID=tiny\nNAME=tiny\n", "etc/mark": mark,
	} {
		err = errors.Join(err, testground.Regular(tw, name, 0o644, int64(len(text)), strings.NewReader(text)))
	}
	err = errors.Join(err, testground.AddFile(tw, "bin/busybox", busybox))
	for _, name := range []string{"sh", "cat", "true", "mkdir", "sleep"} {
		err = errors.Join(err, tw.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: "busybox", Mode: 0o777, ModTime: testground.Epoch}))
	}
	return errors.Join(err, tw.Close(), f.Close())
}

func (b *faultBench) store() string { return filepath.Join(b.dir, "store") }

// command is as a stateBench's, with the clock of this bench.
func (b *faultBench) command(args ...string) *exec.Cmd {
	cmd := b.stateBench.command(args...)
	if b.clock != nil {
		b.clock(cmd)
	}
	return cmd
}

// karapace runs a command that must succeed.
func (b *faultBench) karapace(args ...string) string {
	b.t.Helper()
	a := b.try(args...)
	if a.Exit != 0 {
		b.t.Fatalf("karapace %s: exit code %d\n%s%s", strings.Join(args, " "), a.Exit, a.stdout, a.stderr)
	}
	return a.stdout
}

// answer is what a command said.
type answer struct {
	faults.Outcome
	stdout, stderr string
}

// under runs a command as a plan says.
func (b *faultBench) under(p faults.Plan, args ...string) answer {
	b.t.Helper()
	if p.Under == nil {
		p.Under = []string{b.dir}
	}
	cmd := b.command(args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	o, err := faults.Run(p, cmd)
	must(b.t, err)
	return answer{o, stdout.String(), stderr.String()}
}

// try runs a command that may fail.
func (b *faultBench) try(args ...string) answer {
	b.t.Helper()
	cmd := b.command(args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	a := answer{}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		a.Exit = exit.ExitCode()
	case err != nil:
		b.t.Fatal(err)
	}
	a.stdout, a.stderr = stdout.String(), stderr.String()
	return a
}

// sane complains about an answer that no program should give.
func (b *faultBench) sane(a answer) {
	b.t.Helper()
	switch {
	case a.TimedOut:
		b.t.Error("it did not end")
	case a.Left > 0:
		b.t.Errorf("%d processes outlived it", a.Left)
	case strings.Contains(a.stderr, "panic:"), strings.Contains(a.stderr, "goroutine "), strings.Contains(a.stderr, "fatal error:"):
		b.t.Error("it panicked")
	case a.Exit != 0 && a.Exit < 128 && !strings.Contains(a.stderr, "karapace: "):
		b.t.Errorf("it failed with exit code %d and said nothing", a.Exit)
	default:
		return
	}
	b.t.Logf("%+v\n%s", a.Outcome, a.stderr)
}

// list is what the store shows, by name.
func (b *faultBench) list() map[string]engine.Environment {
	b.t.Helper()
	all := map[string]engine.Environment{}
	for _, e := range decode[[]engine.Environment](b.t, b.karapace("list", "--json")) {
		if _, twice := all[e.Name]; twice {
			b.t.Errorf("two environments are called %q", e.Name)
		}
		all[e.Name] = e
	}
	return all
}

// remove removes a file that may be missing.
func (b *faultBench) remove(name string) {
	if err := os.Remove(filepath.Join(b.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		b.t.Fatal(err)
	}
}

func decode[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.NewDecoder(strings.NewReader(text)).Decode(&v); err != nil && err != io.EOF {
		t.Fatalf("%v in %q", err, text)
	}
	return v
}

package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/karapace/karapace/cmd/internal/testground"
	"github.com/karapace/karapace/storage"
)

// stateBench is one store with one environment, t, of a tiny base.
type stateBench struct {
	t    *testing.T
	dir  string
	args map[storage.Action][]string
}

func newStateBench(t *testing.T) *stateBench {
	b := &stateBench{t: t, dir: t.TempDir()}
	must(t, os.Mkdir(filepath.Join(b.dir, "home"), 0o755))
	must(t, testground.WriteTiny(filepath.Join(b.dir, "base.tar")))
	must(t, os.WriteFile(filepath.Join(b.dir, "t.toml"), []byte("manifest_version = 1\n[base]\nimage = \"./base.tar\"\n"), 0o644))
	t.Cleanup(func() { destroyStore(filepath.Join(b.dir, "store")) })
	b.args = map[storage.Action][]string{
		storage.Enter: {"exec", "t", "--", "true"}, storage.Run: {"run", "t", "--", "true"}, storage.Commit: {"commit", "t"},
		storage.Restore: {"restore", "t", "built"}, storage.RemoveSnapshot: {"snapshots", "rm", "t"}, storage.Freeze: {"freeze", "t"},
		storage.Unfreeze: {"unfreeze", "t"}, storage.Archive: {"archive", "t"}, storage.Unarchive: {"unarchive", "t"},
		storage.Rename: {"rename", "t", "t"}, storage.Destroy: {"destroy", "t"}, storage.Rebuild: {"rebuild", "t.toml"},
	}
	return b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (b *stateBench) command(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(binaries, "karapace"), args...)
	cmd.Dir = b.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Join(b.dir, "home"), "KARAPACE_STORE=" + filepath.Join(b.dir, "store"),
		"KARAPACE_BACKEND_PATH=" + os.Getenv("KARAPACE_BACKEND_PATH")}
	return cmd
}

// karapace runs a command that must succeed.
func (b *stateBench) karapace(args ...string) string {
	b.t.Helper()
	cmd := b.command(args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		b.t.Fatalf("karapace %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return string(out)
}

// bring makes the environment anew where it has gone, with drift and a snapshot that it is not at, in a state.
func (b *stateBench) bring(state string) (snapshot string) {
	b.t.Helper()
	if !strings.Contains(b.karapace("list"), "t ") {
		b.karapace("build", "t.toml", "--name", "t")
	}
	b.karapace("unarchive", "t")
	b.karapace("unfreeze", "t")
	b.karapace("exec", "t", "-u", "0", "--", "sh", "-c", "echo committed >/srv")
	b.karapace("commit", "t")
	b.karapace("restore", "t", "built")
	b.karapace("exec", "t", "-u", "0", "--", "sh", "-c", "echo drift >/srv")
	switch state {
	case storage.StateFrozen:
		b.karapace("freeze", "t")
	case storage.StateArchived:
		b.karapace("archive", "t")
	}
	fields := strings.Fields(b.karapace("snapshots", "t"))
	i := slices.Index(fields, "built") // of the built state, then of the snapshot that lies on it
	for j := i + 1; j < len(fields); j++ {
		if fields[j] == "built" {
			return fields[j-1]
		}
	}
	b.t.Fatal("no snapshot")
	return ""
}

// Every command does in every state, and beside a session, what the table of transitions says, and its error names the
// command that helps.
func TestStates(t *testing.T) {
	b := newStateBench(t)
	for _, rule := range storage.Transitions() {
		args := b.args[rule.Action]
		if args == nil {
			t.Fatalf("no command for %s", rule.Action)
		}
		delete(b.args, rule.Action)
		for _, state := range []string{storage.StateBuilt, storage.StateFrozen, storage.StateArchived, "running"} {
			t.Run(string(rule.Action)+" "+state, func(t *testing.T) {
				b.t = t
				snapshot := b.bring(state)
				helps := map[string]string{storage.StateFrozen: rule.Frozen, storage.StateArchived: rule.Archived, "running": rule.Running}[state]
				args := args
				if rule.Action == storage.RemoveSnapshot {
					args = append(slices.Clip(args), snapshot)
				}
				if state == "running" {
					defer b.session()()
				}
				b.try(helps, state, args)
				if helps != "" && rule.Forced {
					b.karapace(append(args, "--force")...)
				}
			})
		}
	}
	if len(b.args) > 0 {
		t.Errorf("not in the table: %v", b.args)
	}
}

// try runs a command that works when nothing helps, or else is refused with what does.
func (b *stateBench) try(helps, state string, args []string) {
	b.t.Helper()
	cmd := b.command(args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case helps == "" && err != nil:
		b.t.Errorf("karapace %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	case helps == "":
	case !errors.As(err, &exit):
		b.t.Errorf("karapace %s was not refused", strings.Join(args, " "))
	case !strings.Contains(stderr.String(), "environment t is "+state) || !strings.Contains(stderr.String(), "hint: karapace "+helps+" t"):
		b.t.Errorf("karapace %s says\n%s", strings.Join(args, " "), stderr.String())
	}
}

// session keeps one in the environment until it is ended.
func (b *stateBench) session() (end func()) {
	b.t.Helper()
	cmd := b.command("exec", "t", "--", "cat")
	in, err := cmd.StdinPipe()
	must(b.t, err)
	out, err := cmd.StdoutPipe()
	must(b.t, err)
	must(b.t, cmd.Start())
	_, err = in.Write([]byte("x"))
	must(b.t, err)
	_, err = out.Read(make([]byte, 1))
	must(b.t, err)
	return func() {
		in.Close()
		cmd.Wait()
	}
}

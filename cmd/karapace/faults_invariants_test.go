package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/karapace/karapace/cmd/internal/engine"
)

// whole checks what must be true of the store whatever has happened to it. The numbers are those of docs/reliability.md.
func (b *faultBench) whole() {
	b.t.Helper()
	envs := b.list() // I3: what shows is whole
	for name, e := range envs {
		b.karapace("inspect", string(e.EnvID))
		if name != "" {
			b.karapace("inspect", name)
		}
		if want, known := b.digests[string(e.EnvID)]; known && want != string(e.ImageDigest) {
			b.t.Errorf("environment %s was built with the image %s, and now it is %s", name, want, e.ImageDigest)
		}
		b.digests[string(e.EnvID)] = string(e.ImageDigest)
	}
	b.karapace("gc") // I1
	if left := b.garbage(); len(left) > 0 {
		b.t.Errorf("gc leaves what it takes for garbage: %v", left)
	}
	b.verified()
	for _, e := range envs { // I2
		if b.round%8 == 0 { // verify-store has read the same layers
			b.karapace("verify", string(e.EnvID))
		}
		if e.State != "archived" {
			b.karapace("exec", string(e.EnvID), "--", "true")
		}
	}
	for _, left := range b.leftovers() { // I5
		b.t.Errorf("left behind: %s", left)
	}
}

// verified reads the whole store, if this version has a command for it.
func (b *faultBench) verified() {
	b.t.Helper()
	if strings.Contains(b.help(), "verify-store") {
		b.karapace("verify-store")
	}
}

var helpText = sync.OnceValue(func() string {
	out, _ := exec.Command(filepath.Join(binaries, "karapace"), "--help").Output()
	return string(out)
})

func (b *faultBench) help() string { return helpText() }

// garbage is what gc would remove.
func (b *faultBench) garbage() []engine.Garbage {
	b.t.Helper()
	return decode[struct{ Removed []engine.Garbage }](b.t, b.karapace("gc", "--dry-run", "--json")).Removed
}

func (b *faultBench) snapshots() []engine.Snapshot {
	b.t.Helper()
	return decode[[]engine.Snapshot](b.t, b.karapace("snapshots", "t", "--json"))
}

func (b *faultBench) read() string {
	b.t.Helper()
	return strings.TrimSpace(b.karapace("exec", "t", "--", "sh", "-c", "cat /srv/text || true"))
}

// kept tells whether the text of this round is in the environment or in one of its snapshots.
func (b *faultBench) kept() bool {
	b.t.Helper()
	name := "t"
	if b.list()["t"].State == "archived" {
		b.karapace("unarchive", name)
		defer b.karapace("archive", name)
	}
	return b.find(b.text)
}

// leftovers are files that nobody needs once gc has run, mounts and processes.
func (b *faultBench) leftovers() (all []string) {
	b.t.Helper()
	if _, err := os.Stat(b.store()); err == nil {
		for path := range strings.Lines(b.files()) {
			if path = strings.TrimSuffix(path, "\n"); litter(path) {
				all = append(all, path)
			}
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	must(b.t, err)
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, " "+b.store()) {
			all = append(all, "mount "+line)
		}
	}
	return append(all, b.processes()...)
}

// files lists the store, what its owner cannot read too.
func (b *faultBench) files() string {
	b.t.Helper()
	find, err := exec.LookPath("find")
	must(b.t, err)
	// what layers, drift and sessions hold is their own
	return b.mapped(find, ".", "(", "-path", "./storage/overlay/*/diff", "-o", "-path", "./envs/*/upper*", "-o", "-path", "./envs/*/host*", ")", "-prune", "-o", "-print")
}

// litter tells whether a file of a store has no business there when nobody works on it.
func litter(path string) bool {
	dir, name := filepath.Split(path)
	switch {
	case strings.HasPrefix(name, ".tmp-"):
		return true
	case dir == "./tmp/", dir == "./storage/overlay/staging/", dir == "./storage/overlay/tempdirs/", dir == "./vault/bad/":
		return true
	}
	return false
}

// processes are those that know the store by name.
func (b *faultBench) processes() (all []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil && bytes.Contains(text, []byte(b.store())) {
			all = append(all, "process "+strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
	return all
}

func removeAll(b *faultBench, name string) {
	b.t.Helper()
	err := os.RemoveAll(filepath.Join(b.dir, name))
	if err != nil && !os.IsNotExist(err) {
		b.t.Fatal(err)
	}
}

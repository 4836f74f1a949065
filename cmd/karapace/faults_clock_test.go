package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Files that are ten years older or newer than the clock says are no garbage for it, and no younger for it either.
func TestFaultsFileTimes(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long under the race detector, and tells it nothing: the commands are other programs")
	}
	for _, years := range []string{"-10 years", "+10 years"} {
		t.Run(years, func(t *testing.T) {
			t.Parallel()
			b := newFaultBench(t, "")
			for _, op := range operations() {
				if op.minor && !inFull() {
					continue
				}
				b.round++
				op.bring(b)
				if !b.gone() { // what layers hold is no time of a store
					b.mapped("/bin/sh", "-c", `find . \( -path './storage/overlay/*/diff' -o -path './envs/*/upper*' -o -path './envs/*/host*' \) -prune -o -exec touch -h -d "$1" {} +`, "sh", years)
				}
				command := op.command(b)
				a := b.try(command...)
				if a.Exit != 0 {
					t.Errorf("%s: exit code %d\n%s", op.name, a.Exit, a.stderr)
				}
				b.after(op, command, a)
			}
		})
	}
}

// Commands whose clocks are ten years apart work on one store. KARAPACE_FAULTS_CLOCKS has programs that see such clocks,
// see hack/faults/clocks: no library can move the clock of a static program.
func TestFaultsClock(t *testing.T) {
	clocks := os.Getenv("KARAPACE_FAULTS_CLOCKS")
	if clocks == "" {
		t.Skip("make test-faults makes the programs with other clocks that this needs")
	}
	t.Parallel()
	b := newFaultBench(t, "")
	turn := -1
	b.clock = func(cmd *exec.Cmd) {
		turn++
		if where := []string{"ahead", "", "behind"}[turn%3]; where != "" {
			cmd.Path = filepath.Join(clocks, where, "karapace")
		}
	}
	b.karapace("build", "t.toml", "--name", "t") // ahead: the first of three
	if made := b.list()["t"].CreatedAt; made.Before(time.Now().AddDate(9, 0, 0)) {
		t.Fatalf("the clock of the first command is not ahead: %s", made)
	}
	for range 3 { // each with each clock
		for _, op := range operations() {
			b.round++
			op.bring(b)
			command := op.command(b)
			a := b.try(command...)
			if a.Exit != 0 {
				t.Errorf("%s: exit code %d\n%s", op.name, a.Exit, a.stderr)
			}
			b.after(op, command, a)
		}
	}
}

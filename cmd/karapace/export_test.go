package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// An export that is killed is there whole or not at all, and the store and the drift are as they were.
func TestExportKilled(t *testing.T) {
	b := newStateBench(t)
	b.karapace("build", "t.toml", "--name", "t")
	b.write("drift")
	formats := [][]string{{"oci"}, {"bundle"}, {"docker-archive"}, {"oci", "--with-drift"}, {"diff"}, {"rootfs", "--with-drift"}}
	whole := filepath.Join(b.dir, "whole")
	must(t, os.Mkdir(whole, 0o755))
	for i, f := range formats {
		b.karapace(append([]string{"export", "t", "-o", filepath.Join(whole, fmt.Sprint(i)), "--format"}, f...)...)
	}
	const rounds = 24
	finished := 0
	for n := range rounds {
		i := n % len(formats)
		out := filepath.Join(b.dir, fmt.Sprint("out", n))
		if b.kill(time.Duration(n)*5*time.Millisecond, append([]string{"export", "t", "-o", out, "--format"}, formats[i]...)...) {
			finished++
		}
		if _, err := os.Lstat(out); err != nil {
			continue
		}
		if text, err := exec.Command("diff", "-r", "--no-dereference", out, filepath.Join(whole, fmt.Sprint(i))).CombinedOutput(); err != nil {
			t.Errorf("%v after %d ms: %v\n%s", formats[i], n*5, err, text)
		}
	}
	if finished == rounds {
		t.Error("no export was killed")
	}
	t.Logf("%d of %d finished", finished, rounds)
	if got := b.read(); got != "drift" {
		t.Errorf("the drift is %q", got)
	}
	b.karapace("verify", "t")
	if got := b.karapace("gc", "--dry-run"); got != "nothing to remove\n" {
		t.Errorf("left behind in the store: %s", got)
	}
	for i, f := range formats {
		b.karapace(append([]string{"export", "t", "--force", "-o", filepath.Join(whole, fmt.Sprint(i)), "--format"}, f...)...)
	}
}

package main

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// Sessions that start while an environment is committed write into no snapshot and lose nothing:
// each either finishes before, or waits and is in the new layer.
func TestCommitBesideSessions(t *testing.T) {
	b := newStateBench(t)
	b.karapace("build", "t.toml", "--name", "t")
	const writers, writes = 3, 12
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range writes {
				cmd := b.command("exec", "t", "-u", "0", "--", "sh", "-c", fmt.Sprintf("echo %d >>/written-%d", i, w))
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("write: %v\n%s", err, out)
				}
				time.Sleep(time.Duration(10+7*w) * time.Millisecond) // for nobody to be in it now and then
			}
		})
	}
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	commits := 0
	for going := true; going; {
		select {
		case <-done:
			going = false
		default:
		}
		out, err := b.command("commit", "t").CombinedOutput()
		switch {
		case err == nil:
			commits++
		case !strings.Contains(string(out), "is running") && !strings.Contains(string(out), "nothing to commit"):
			t.Errorf("commit: %v\n%s", err, out)
		}
	}
	if commits == 0 {
		t.Error("nothing was committed")
	}
	b.karapace("verify", "t")
	for w := range writers {
		got := b.karapace("exec", "t", "--", "cat", fmt.Sprintf("/written-%d", w))
		if n := strings.Count(got, "\n"); n != writes {
			t.Errorf("writer %d: %d lines of %d", w, n, writes)
		}
	}
	if got := b.karapace("gc", "--dry-run"); strings.Contains(got, "drift") {
		t.Errorf("left behind:\n%s", got)
	}
	t.Logf("%d commits", commits)
}

// More snapshots than the kernel takes by their full names lie upon each other, in sessions and in karapace run.
func TestManySnapshots(t *testing.T) {
	b := newStateBench(t)
	b.karapace("build", "t.toml", "--name", "t")
	const many = 60
	for i := range many {
		b.karapace("exec", "t", "-u", "0", "--", "sh", "-c", fmt.Sprintf("mkdir -p /srv && echo %d >>/srv/file && touch /srv/%d", i, i))
		b.karapace("commit", "t")
	}
	for _, args := range [][]string{{"exec", "t"}, {"run", "t"}} {
		got := b.karapace(append(args, "--", "sh", "-c", "wc -l </srv/file; ls /srv | wc -l")...)
		if want := fmt.Sprintf("%d\n%d\n", many, many+1); got != want {
			t.Errorf("%s: %q, want %q", args[0], got, want)
		}
	}
	b.karapace("freeze", "t")
	if got := b.karapace("exec", "t", "--", "tail", "-n", "1", "/srv/file"); got != fmt.Sprintf("%d\n", many-1) {
		t.Errorf("frozen: %q", got)
	}
}

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/hack/faults"
)

// Killed at any point, every command leaves a whole store in which it works when it is given again.
func TestFaultsKilled(t *testing.T) {
	forOperations(t, func(t *testing.T, op operation) {
		atPoints(t, op, op.some(20, 2), []faults.Action{faults.Kill()})
	})
}

// So does a command of which one process is killed while the others go on.
func TestFaultsCallerKilled(t *testing.T) {
	forOperations(t, func(t *testing.T, op operation) {
		atPoints(t, op, op.some(3, none), []faults.Action{faults.KillCaller()})
	})
}

// A command of which a system call fails, or all from there on, ends with a message, or has done what it promises.
func TestFaultsErrors(t *testing.T) {
	errnos := []unix.Errno{unix.EIO, unix.ENOSPC, unix.EDQUOT, unix.EMFILE, unix.ENOMEM, unix.EINTR, unix.EROFS}
	forOperations(t, func(t *testing.T, op operation) {
		var all []faults.Action
		for _, e := range errnos {
			all = append(all, faults.Fail(e), faults.FailOnward(e))
		}
		atPoints(t, op, op.some(5, 1), all)
	})
}

const none = -1

// some is how many points of an operation are tried: all, written 0, or as many, or few.
func (op *operation) some(many, few int) int {
	switch {
	case inFull():
		return 0
	case op.minor:
		return few
	}
	return many
}

// forOperations runs f for each operation, two at a time.
func forOperations(t *testing.T, f func(*testing.T, operation)) {
	if testing.Short() {
		t.Skip("takes long under the race detector, and tells it nothing: the commands are other programs")
	}
	for _, op := range operations() {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			f(t, op)
		})
	}
}

// atPoints tries actions at n points of an operation that are far from each other, at each point another one; with n = 0 all at all points.
func atPoints(t *testing.T, op operation, n int, actions []faults.Action) {
	if n == none {
		t.Skip("only in make test-faults")
	}
	b := newFaultBench(t, "")
	points := b.count(op)
	rounds := 0
	for i, at := range spread(points, n) {
		if !mine(i) {
			continue
		}
		these := actions
		if n > 0 {
			these = actions[i%len(actions) : i%len(actions)+1]
		}
		for _, a := range these {
			rounds++
			if !t.Run(fmt.Sprintf("%s at %d of %d", a, at, points), func(t *testing.T) { b.at(t, op, at, a) }) {
				b = newFaultBench(t, "")
			}
		}
	}
	t.Logf("%s: %d points, %d rounds", op.name, points, rounds)
}

// mine tells whether this run tries the i-th point of a selection: of two runs, as root and as a user, each takes every other
// one, as KARAPACE_FAULTS_SHARE says ("0/2" and "1/2").
func mine(i int) bool {
	var which, of int
	if _, err := fmt.Sscanf(os.Getenv("KARAPACE_FAULTS_SHARE"), "%d/%d", &which, &of); err != nil || of < 1 {
		return true
	}
	return i%of == which
}

// spread gives n numbers from 1 to last, all for n = 0.
func spread(last, n int) (all []int) {
	if n == 0 || n >= last {
		n = last
	}
	for i := range n {
		all = append(all, 1+i*last/n)
	}
	return all
}

// count runs an operation as it is, checks that it does what it should, and returns its points.
func (b *faultBench) count(op operation) int {
	b.t.Helper()
	b.round++ // what is written into the environment is something new
	op.bring(b)
	a := b.under(faults.Plan{Trace: os.Getenv("KARAPACE_FAULTS_TRACE")}, op.command(b)...)
	b.sane(a)
	if a.Exit != 0 || op.done != nil && !op.done(b) || a.Points == 0 {
		b.t.Fatalf("without a fault: %+v\n%s", a.Outcome, a.stderr)
	}
	b.whole()
	return a.Points
}

// at is one round.
func (b *faultBench) at(t *testing.T, op operation, at int, do faults.Action) {
	outer := b.t
	b.t = t
	defer func() { b.t = outer }()
	b.round++
	op.bring(b)
	command := op.command(b)
	a := b.under(faults.Plan{At: at, Do: do}, command...)
	defer func() {
		if t.Failed() {
			t.Logf("fault at %s; %+v\n%s%s", a.Fired, a.Outcome, a.stdout, a.stderr)
		}
	}()
	b.sane(a)
	b.after(op, command, a)
}

// after checks everything once a command has ended, one way or the other.
func (b *faultBench) after(op operation, command []string, a answer) {
	b.t.Helper()
	if a.Exit == 0 && op.done != nil && !op.done(b) { // I6
		b.t.Errorf("%s ended with 0, and it is not done", op.name)
	}
	b.whole()
	if op.keeps && !b.kept() {
		b.t.Errorf("%q is lost", b.text)
	}
	again := b.try(command...) // I4
	b.sane(again)
	if again.Exit != 0 && (op.again == "" || !strings.Contains(again.stderr, op.again)) {
		b.t.Errorf("given again: exit code %d\n%s", again.Exit, again.stderr)
	}
	if op.done != nil && !op.done(b) {
		b.t.Errorf("given again, it is not done")
	}
	if left, _ := filepath.Glob(filepath.Join(b.dir, ".karapace-export-*")); len(left) > 0 { // the next export removes them
		b.t.Errorf("left behind: %v", left)
	}
	if left, _ := filepath.Glob(filepath.Join(b.dir, ".tmp-*")); len(left) > 0 && strings.Contains(a.Fired, ".lock-") {
		b.t.Errorf("left behind: %v", left)
	}
}

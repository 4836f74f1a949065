package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/karapace/karapace/hack/faults"
)

// helpers are the programs that others than a package's scripts start.
var helpers = []string{"newuidmap", "newgidmap", "karapace-store", "crun", "runc", "youki", "busybox"}

// A command whose helper dies at its start ends, and says so.
func TestFaultsHelpersAtStart(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long under the race detector, and tells it nothing: the commands are other programs")
	}
	for _, backend := range usable(t) {
		for _, command := range [][]string{{"exec", "t", "--backend", backend, "--", "true"}, {"run", "t", "--backend", backend, "--", "true"}, {"commit", "t"}, {"rebuild", "t.toml", "--locked"}} {
			t.Run(backend+" "+command[0], func(t *testing.T) {
				t.Parallel()
				helpersAtStart(t, command)
			})
		}
	}
}

// usable are the backends that can run here; in make test only the first of those that are programs of others.
func usable(t *testing.T) (all []string) {
	for _, backend := range []string{"namespace", "crun", "runc", "youki"} {
		if unavailable(t, backend) == "" && (inFull() || len(all) < 2) {
			all = append(all, backend)
		}
	}
	return all
}

func helpersAtStart(t *testing.T, command []string) {
	b := newFaultBench(t, "")
	b.changed()
	b.karapace("stop", "t") // else a session joins what runs already
	whole := b.under(faults.Plan{Under: []string{"/nowhere"}, Programs: helpers}, command...)
	if whole.Exit != 0 {
		t.Fatalf("without a fault: exit code %d\n%s", whole.Exit, whole.stderr)
	}
	for at := 1; at <= whole.Points; at++ {
		b.round++
		b.changed()
		b.karapace("stop", "t")
		a := b.under(faults.Plan{Under: []string{"/nowhere"}, Programs: helpers, At: at, Do: faults.KillCaller()}, command...)
		b.sane(a)
		if a.Exit == 0 {
			t.Errorf("killed at %s, it ends with 0", a.Fired)
		}
		b.whole()
		if !b.kept() {
			t.Errorf("killed at %s: %q is lost", a.Fired, b.text)
		}
	}
	t.Logf("%d rounds", whole.Points)
}

// A session of which any process is killed, its supervisor and the first process of its container too, ends; the next one
// begins, and nothing of the first is left.
func TestFaultsHelpers(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long under the race detector, and tells it nothing: the commands are other programs")
	}
	for _, backend := range usable(t) {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			b := newFaultBench(t, "")
			rounds := map[bool]int{false: 10, true: 200}[inFull()]
			for i := range rounds {
				if !mine(i) {
					continue
				}
				b.round++
				b.changed()
				b.killInSession(i, backend)
				b.whole()
				if !b.kept() {
					t.Errorf("%q is lost", b.text)
				}
			}
			t.Logf("%d rounds", rounds)
		})
	}
}

// killInSession begins a session and kills one of its processes, each in its turn, now and then before it is ready.
func (b *faultBench) killInSession(i int, backend string) {
	b.t.Helper()
	cmd := b.command("exec", "t", "--backend", backend, "--", "cat")
	in, err := cmd.StdinPipe()
	must(b.t, err)
	out, err := cmd.StdoutPipe()
	must(b.t, err)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	must(b.t, cmd.Start())
	if i%3 == 2 {
		time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond)
	} else {
		_, err = in.Write([]byte("x"))
		must(b.t, err)
		if _, err = out.Read(make([]byte, 1)); err != nil {
			cmd.Wait()
			b.t.Fatalf("no session begins: %v\n%s", err, stderr.String())
		}
	}
	all := append([]int{cmd.Process.Pid}, faults.Descendants(cmd.Process.Pid)...)
	victim := all[i%len(all)]
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", victim))
	syscall.Kill(victim, syscall.SIGKILL)
	ended := make(chan error, 1)
	in.Close()
	go func() { ended <- cmd.Wait() }()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		b.t.Errorf("it does not end after the death of %q", name)
		for _, pid := range append(faults.Descendants(cmd.Process.Pid), cmd.Process.Pid) {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		<-ended
	}
	if text := stderr.String(); strings.Contains(text, "panic") {
		b.t.Errorf("after the death of %q:\n%s", name, text)
	}
	for deadline := time.Now().Add(30 * time.Second); len(b.processes()) > 0 && time.Now().Before(deadline); { // what was its children's
		time.Sleep(time.Millisecond)
	}
}

// gc that runs all the time while a slow command works takes nothing that it needs.
func TestFaultsBesideGC(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long under the race detector, and tells it nothing: the commands are other programs")
	}
	t.Parallel()
	var ops []operation
	for _, op := range operations() {
		if op.name != "gc" && op.name != "destroy --all" && op.name != "build the first" {
			ops = append(ops, op)
		}
	}
	b := newFaultBench(t, "")
	points := map[string]int{}
	rounds := map[bool]int{false: 20, true: 500}[inFull()]
	random := rand.New(rand.NewPCG(1, 2))
	for i := range rounds {
		op := ops[i%len(ops)]
		if !mine(i) {
			continue
		}
		if points[op.name] == 0 {
			points[op.name] = b.count(op)
		}
		at := 1 + random.IntN(points[op.name])
		if !t.Run(fmt.Sprintf("%d %s", i, op.name), func(t *testing.T) { b.besideGC(t, op, at) }) {
			b = newFaultBench(t, "")
		}
	}
	t.Logf("%d rounds", rounds)
}

func (b *faultBench) besideGC(t *testing.T, op operation, at int) {
	outer := b.t
	b.t = t
	defer func() { b.t = outer }()
	b.round++
	op.bring(b)
	command := op.command(b)
	stop, stopped := make(chan struct{}), make(chan string, 1)
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			cmd := exec.Command(filepath.Join(binaries, "karapace"), "gc")
			cmd.Env = b.command().Env
			if out, err := cmd.CombinedOutput(); err != nil {
				stopped <- fmt.Sprintf("%v\n%s", err, out)
				return
			}
		}
	}()
	a := b.under(faults.Plan{At: at, Do: faults.DelayOnward(4 * time.Millisecond)}, command...)
	close(stop)
	if failed := <-stopped; failed != "" {
		t.Errorf("gc: %s", failed)
	}
	b.sane(a)
	if a.Exit != 0 && (op.again == "" || !strings.Contains(a.stderr, op.again)) { // gc may have done it
		t.Errorf("exit code %d, delayed from %s\n%s", a.Exit, a.Fired, a.stderr)
	}
	b.after(op, command, a)
}

package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/hack/faults"
)

// disk is a small file system in a file, mounted for this process only.
type disk struct {
	t          *testing.T
	image, dir string
	mkfs       []string
	megabytes  int
}

// ownMounts runs a test in a mount namespace of its own: nobody else may get a copy of a mount, which would outlive ours.
// It returns false in the process that has only started it.
func ownMounts(t *testing.T) bool {
	t.Helper()
	const inside = "KARAPACE_TEST_MOUNTS"
	if testing.Short() {
		t.Skip("takes long under the race detector, and tells it nothing: the commands are other programs")
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a file system and cut its power; not run as this user")
	}
	if os.Getenv(inside) == t.Name() {
		return true
	}
	t.Parallel()
	pattern := "^" + t.Name() + "$"
	if asked := flag.Lookup("test.run").Value.String(); strings.HasPrefix(asked, t.Name()+"/") {
		pattern = asked
	}
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "/proc/self/exe", "-test.run="+pattern, "-test.v", "-test.timeout=0")
	cmd.Args[4], _ = os.Executable()
	cmd.Env = append(os.Environ(), inside+"="+t.Name())
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()+" (") {
		t.Errorf("in mounts of its own: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "rounds") {
			t.Log(strings.TrimSpace(line))
		}
	}
	return false
}

func newDisk(t *testing.T, megabytes int, mkfs ...string) *disk {
	t.Helper()
	top := t.TempDir()
	d := &disk{t: t, image: filepath.Join(top, "image"), dir: filepath.Join(top, "disk"), mkfs: mkfs, megabytes: megabytes}
	must(t, os.Mkdir(d.dir, 0o755))
	d.make()
	d.mount()
	t.Cleanup(func() { unix.Unmount(d.dir, unix.MNT_DETACH) })
	return d
}

func (d *disk) run(args ...string) {
	d.t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		d.t.Fatalf("%v: %v\n%s", args, err, out)
	}
}

func (d *disk) make() {
	d.t.Helper()
	d.run("truncate", "-s", "0", d.image)
	d.run("truncate", "-s", fmt.Sprintf("%dM", d.megabytes), d.image)
	d.run(append(d.mkfs, d.image)...)
}

func (d *disk) mount() {
	d.t.Helper()
	d.run("mount", "-o", "loop", d.image, d.dir)
}

// unmount waits for the kernel to let go of what killed processes had open.
func (d *disk) unmount() {
	d.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		err := unix.Unmount(d.dir, 0)
		if err == nil {
			return
		}
		if err != unix.EBUSY || time.Now().After(deadline) {
			d.t.Fatalf("unmount: %v", err)
		}
	}
}

func (d *disk) sync() {
	d.t.Helper()
	f, err := os.Open(d.dir)
	must(d.t, err)
	defer f.Close()
	must(d.t, unix.Syncfs(int(f.Fd())))
}

// back is the disk after the power has come back.
func (d *disk) back() {
	d.t.Helper()
	d.unmount()
	d.mount()
}

// A power cut at any point leaves a whole store in which the command works when it is given again, and one right after exit
// code 0 takes nothing back.
func TestFaultsPowerCut(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	for i, op := range operations() {
		if !inFull() && op.minor {
			continue
		}
		t.Run(op.name, func(t *testing.T) { powerCuts(t, newDisk(t, 48, "mkfs.ext4", "-q", "-F"), op, i) })
		if inFull() {
			t.Run(op.name+" on xfs", func(t *testing.T) { powerCuts(t, newDisk(t, 320, "mkfs.xfs", "-q", "-f"), op, i) })
		}
	}
}

func powerCuts(t *testing.T, d *disk, op operation, seed int) {
	b := newFaultBench(t, d.dir)
	points := b.count(op)
	rounds := 0
	for i, at := range spread(points, op.some(5, 0)) {
		flags := []int{faults.JournalWritten, faults.NothingWritten}
		if !inFull() {
			flags = flags[(i+seed)%2 : (i+seed)%2+1]
		}
		for _, flag := range flags {
			rounds++
			if !t.Run(fmt.Sprintf("flag %d at %d of %d", flag, at, points), func(t *testing.T) { b.cut(t, d, op, at, flag) }) {
				b.renew(d)
			}
		}
	}
	for i := range afterwards() {
		rounds++
		flag := 1 + (i+seed)%2
		if !t.Run(fmt.Sprintf("flag %d after exit code 0, %d", flag, i), func(t *testing.T) { b.cut(t, d, op, 0, flag) }) {
			b.renew(d)
		}
	}
	t.Logf("%s: %d points, %d rounds", op.name, points, rounds)
}

// afterwards is how many times the power fails right after one operation.
func afterwards() int {
	if inFull() {
		return 50
	}
	return 3
}

// cut is one round: the power fails at a point, or with 0 right after the command has ended.
func (b *faultBench) cut(t *testing.T, d *disk, op operation, at, flag int) {
	outer := b.t
	b.t, d.t = t, t
	defer func() { b.t, d.t = outer, outer }()
	b.round++
	op.bring(b)
	d.sync() // what was brought about is the past
	command := op.command(b)
	a := b.under(faults.Plan{At: at, Do: faults.PowerCut(d.dir, flag)}, command...)
	if a.Fired == "" {
		must(t, faults.CutPower(d.dir, flag))
	}
	d.back()
	defer func() {
		if t.Failed() {
			t.Logf("power cut at %s; %+v\n%s%s", a.Fired, a.Outcome, a.stdout, a.stderr)
		}
	}()
	b.sane(a)
	if at == 0 && a.Exit != 0 {
		t.Fatalf("without a fault: %+v", a.Outcome)
	}
	b.after(op, command, a)
}

// renew begins with a new file system.
func (b *faultBench) renew(d *disk) {
	b.t.Helper()
	d.unmount()
	d.make()
	d.mount()
	fresh := newFaultBench(b.t, d.dir)
	*b = *fresh
}

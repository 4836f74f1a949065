package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/hack/faults"
)

// On a disk with little room, or few inodes, left, a command does its work or says that the disk is full.
func TestFaultsFullDisk(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	room := []int64{0, 4 << 10, 32 << 10, 256 << 10, 1 << 20, 3 << 20, 6 << 20}
	inodes := []int64{0, 1, 2, 4, 8, 16, 32, 64}
	for i, op := range operations() {
		if !inFull() && op.minor {
			continue
		}
		t.Run(op.name, func(t *testing.T) {
			if inFull() || i%2 == 0 {
				fullDisk(t, op, "bytes", some(room, i), newDisk(t, 32, "mkfs.ext4", "-q", "-F"), (*disk).fill)
			}
			if inFull() || i%2 == 1 {
				fullDisk(t, op, "inodes", some(inodes, i), newDisk(t, 48, "mkfs.ext4", "-q", "-F", "-N", "512"), (*disk).crowd)
			}
		})
	}
}

// some gives one of the values, or all in full.
func some(all []int64, i int) []int64 {
	if inFull() {
		return all
	}
	return all[i%len(all) : i%len(all)+1]
}

func fullDisk(t *testing.T, op operation, unit string, amounts []int64, d *disk, take func(*disk, int64)) {
	b := newFaultBench(t, d.dir)
	b.count(op)
	for _, left := range amounts {
		if !t.Run(fmt.Sprintf("%d %s", left, unit), func(t *testing.T) {
			outer := b.t
			b.t, d.t = t, t
			defer func() { b.t, d.t = outer, outer }()
			b.round++
			op.bring(b)
			command := op.command(b)
			take(d, left)
			a := b.under(faults.Plan{}, command...)
			d.free()
			b.sane(a)
			told := a.Exit == exitStore || a.Exit == exitSession || a.Exit == exitGeneral && strings.Contains(a.stderr, "make room where the output is to be")
			if a.Exit != 0 && (!told || !strings.Contains(a.stderr, "no space left on device")) {
				t.Errorf("exit code %d\n%s", a.Exit, a.stderr)
			}
			b.after(op, command, a)
		}) {
			b.renew(d)
		}
	}
	t.Logf("%s: %d rounds", op.name, len(amounts))
}

func (d *disk) filler(name string) string { return filepath.Join(d.dir, ".filler", name) }

// fill leaves so many bytes.
func (d *disk) fill(left int64) {
	d.t.Helper()
	must(d.t, os.MkdirAll(d.filler(""), 0o755))
	var st unix.Statfs_t
	must(d.t, unix.Statfs(d.dir, &st))
	f, err := os.Create(d.filler("bytes"))
	must(d.t, err)
	defer f.Close()
	for size := int64(st.Bfree)*st.Bsize - left; size > 0; size -= st.Bsize { // less where the file system wants some itself
		if err := unix.Fallocate(int(f.Fd()), 0, 0, size); err == nil || !errors.Is(err, unix.ENOSPC) {
			must(d.t, err)
			return
		}
	}
}

// crowd leaves so many inodes.
func (d *disk) crowd(left int64) {
	d.t.Helper()
	must(d.t, os.MkdirAll(d.filler(""), 0o755))
	for i := 0; ; i++ {
		var st unix.Statfs_t
		must(d.t, unix.Statfs(d.dir, &st))
		if int64(st.Ffree) <= left {
			return
		}
		must(d.t, os.WriteFile(d.filler(fmt.Sprint(i)), nil, 0o644))
	}
}

func (d *disk) free() {
	d.t.Helper()
	must(d.t, os.RemoveAll(d.filler("")))
}

// On a store that can only be read, what looks works, and what changes fails and says why.
func TestFaultsReadOnly(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	d := newDisk(t, 48, "mkfs.ext4", "-q", "-F")
	b := newFaultBench(t, d.dir)
	rounds := 0
	for _, op := range operations() {
		rounds++
		t.Run(op.name, func(t *testing.T) {
			outer := b.t
			b.t = t
			defer func() { b.t = outer }()
			b.round++
			op.bring(b)
			command := op.command(b)
			var a answer
			readOnly(t, d, func() {
				a = b.under(faults.Plan{}, command...)
				b.looks()
			})
			b.sane(a)
			if !op.reads && a.Exit != exitStore && a.Exit != exitSession || a.Exit != 0 && !strings.Contains(a.stderr, "read-only file system") {
				t.Errorf("exit code %d\n%s", a.Exit, a.stderr)
			}
			b.after(op, command, a)
		})
	}
	t.Logf("%d rounds", rounds)
}

func readOnly(t *testing.T, d *disk, f func()) {
	t.Helper()
	d.run("mount", "-o", "remount,ro", d.dir)
	defer d.run("mount", "-o", "remount,rw", d.dir)
	f()
}

// looks gives the commands that change nothing.
func (b *faultBench) looks() {
	b.t.Helper()
	for name := range b.list() {
		for _, command := range []string{"inspect", "snapshots", "diff"} {
			if a := b.try(command, name); a.Exit != 0 {
				b.t.Errorf("%s: exit code %d\n%s", command, a.Exit, a.stderr)
			}
		}
	}
}

// A store of somebody else's is refused, and stays as it is.
func TestFaultsForeignStore(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be somebody else; not run as this user")
	}
	const nobody = 65534
	b := newFaultBench(t, "")
	b.changed()
	b.remove("t.lock")
	for dir := b.dir; len(dir) > len(os.TempDir()); dir = filepath.Dir(dir) { // which says nothing about the store
		must(t, os.Chmod(dir, 0o755))
	}
	home := t.TempDir()
	must(t, os.Chown(home, nobody, nobody))
	must(t, os.Chmod(filepath.Dir(home), 0o755))
	before := b.files()
	for _, mode := range []os.FileMode{0o700, 0o755, 0o777} {
		must(t, os.Chmod(b.store(), mode))
		for _, op := range operations() {
			cmd := b.command(op.command(b)...)
			cmd.Env = append(cmd.Env, "HOME="+home)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "karapace: ") || strings.Contains(string(out), "panic") {
				t.Errorf("mode %o: %s: %v\n%s", mode, op.name, err, out)
			}
		}
	}
	must(t, os.Chmod(b.store(), 0o700))
	if after := b.files(); after != before {
		t.Errorf("the store has changed:\n%s\nwas\n%s", after, before)
	}
	b.whole()
	if !b.kept() {
		t.Error("the drift is lost")
	}
}

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/karapace/karapace/backends/userns"
)

// damageTool is the name under which this program changes one file: TRUNCATE or FLIP, a file, a size in bytes or the number of a bit; or makes a
// SOCKET.
const damageTool = "karapace-test-damage"

// damageOne does it, inside the user namespace, where the store's files can be written.
func damageOne(args []string) (code int, done bool) {
	if len(args) != 4 || args[0] != damageTool {
		return 0, false
	}
	n, err := strconv.ParseInt(args[3], 10, 64)
	if err == nil && args[1] == "TRUNCATE" {
		err = os.Truncate(args[2], n)
	} else if err == nil && args[1] == "SOCKET" {
		err = syscall.Mknod(args[2], syscall.S_IFSOCK|0o600, 0)
	} else if err == nil {
		err = flip(args[2], n)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}

func flip(file string, bit int64) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, bit/8); err != nil {
		return err
	}
	b[0] ^= 1 << (bit % 8)
	_, err = f.WriteAt(b, bit/8)
	return err
}

// mapped runs a program where the store's files can be written, in the store, and returns what it says.
func (b *faultBench) mapped(args ...string) string {
	b.t.Helper()
	m, err := userns.Lookup()
	must(b.t, err)
	r, w, err := os.Pipe()
	must(b.t, err)
	defer r.Close()
	path := args[0]
	if path == damageTool {
		path, err = os.Executable()
		must(b.t, err)
	}
	p, err := userns.Start(m, &userns.Command{Path: path, Args: args, Env: []string{"PATH=" + os.Getenv("PATH")}, Dir: b.store(), Files: []*os.File{nil, w, os.Stderr}})
	w.Close()
	must(b.t, err)
	var out strings.Builder
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		out.Write(buf[:n])
		if err != nil {
			break
		}
	}
	if status, err := p.Wait(); err != nil || status != 0 {
		b.t.Fatalf("%v: %v, %v", args, status, err)
	}
	return out.String()
}

// wound is one file that is damaged in one way.
type wound struct {
	how, class string
	index      int   // among the files of its class
	n          int64 // bytes that are left; or the bit
}

// A store of which one file is torn or has a bit changed is never misread: no command panics, the other environment is as it
// was, gc takes nothing away that the damaged file protected, and what is derived is mended by building again.
func TestFaultsRecords(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long under the race detector, and tells it nothing: the commands are other programs")
	}
	t.Parallel()
	b := newFaultBench(t, "")
	b.recorded()
	wounds := b.wounds()
	flips := map[bool]int{false: 14, true: 200}[inFull()]
	if !inFull() {
		rand.Shuffle(len(wounds), func(i, j int) { wounds[i], wounds[j] = wounds[j], wounds[i] })
		wounds = wounds[:6]
	}
	for i := range flips {
		wounds = append(wounds, wound{"FLIP", classes[i%len(classes)], rand.IntN(1000), rand.Int64()})
	}
	for i, w := range wounds {
		if !mine(i) {
			continue
		}
		if !t.Run(fmt.Sprintf("%s %s %d", w.how, w.class, w.n), func(t *testing.T) { b.wounded(t, w) }) {
			b = newFaultBench(t, "")
			b.recorded()
		}
	}
	t.Logf("%d rounds", len(wounds))
}

// recorded makes a store with every kind of file in it, of two environments.
func (b *faultBench) recorded() {
	b.changed()
	b.karapace("commit", "t")
	b.write(b.text)
	b.karapace("build", "url.toml", "--name", "other")
	b.other = string(b.list()["other"].EnvID)
}

// classes are the files that records are, and some of those that hold content.
var classes = []string{
	"version", "envs/*/record.json", "envs/*/karapace.lock", "layers/*.json", "built/*.json", "vault/sha256/*",
	"storage/overlay-images/images.json", "storage/overlay-images/*/*", "storage/overlay-layers/layers.json", "storage/overlay/*/link",
	"storage/overlay/*/diff/etc/*", "storage/overlay/*/diff/bin/busybox", "envs/*/upper*/srv/text",
}

// storedFile is a file of the store, and its size in bytes.
type storedFile struct {
	path string
	size int64
}

// inStore lists the files of a class that are files and not empty.
func (b *faultBench) inStore(class string) (files []storedFile) {
	b.t.Helper()
	out := b.mapped("/bin/sh", "-c", `for f in `+class+`; do if [ -s "$f" ] && [ ! -L "$f" ]; then stat -c '%s %n' "$f"; fi; done`)
	for line := range strings.Lines(out) {
		size, path, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		n, err := strconv.ParseInt(size, 10, 64)
		must(b.t, err)
		files = append(files, storedFile{path, n})
	}
	return files
}

const block = 512 // bytes of what a disk writes at once

// wounds truncates each record at every block.
func (b *faultBench) wounds() (all []wound) {
	b.t.Helper()
	for _, class := range classes {
		files := b.inStore(class)
		if len(files) == 0 {
			b.t.Fatalf("the store has no %s", class)
		}
		for i, f := range files {
			for n := int64(0); n < min(f.size, 16*block); n += block {
				all = append(all, wound{"TRUNCATE", class, i, n})
			}
		}
	}
	return all
}

// wounded is one round.
func (b *faultBench) wounded(t *testing.T, w wound) {
	outer := b.t
	b.t = t
	defer func() { b.t = outer }()
	files := b.inStore(w.class)
	file := files[w.index%len(files)]
	if w.how == "FLIP" {
		w.n %= 8 * file.size
	}
	defer func() {
		if t.Failed() {
			t.Logf("%s %s at %d", w.how, file.path, w.n)
		}
	}()
	b.mapped("/bin/cp", "-a", file.path, "saved")
	b.mapped(damageTool, w.how, file.path, fmt.Sprint(w.n))
	for _, command := range [][]string{{"list"}, {"inspect", "t"}, {"snapshots", "t"}, {"diff", "t"}, {"verify", "t"}, {"exec", "t", "--", "true"}, {"gc", "--dry-run"}, {"gc"}, {"images"}} {
		b.sane(b.try(command...))
	}
	if strings.HasPrefix(file.path, "envs/") && !strings.Contains(file.path, b.other) {
		b.karapace("verify", "other")
		b.karapace("exec", "other", "--", "true")
	}
	b.mend(file.path)
	b.whole()
	if !b.kept() {
		t.Errorf("%q is lost", b.text)
	}
	if a := b.try("exec", "other", "--", "cat", "/etc/mark"); a.stdout != "another" {
		t.Errorf("the other environment: %+v", a)
	}
}

// mend has the store mend what can be derived, and puts the file back where its loss is one.
func (b *faultBench) mend(file string) {
	b.t.Helper()
	place, _, _ := strings.Cut(file, "/")
	index := strings.HasSuffix(file, "/images.json") || strings.HasSuffix(file, "/layers.json")
	repairs := strings.Contains(helpText(), "verify-store")
	if place != "storage" && place != "layers" && place != "built" || index && !repairs {
		b.mapped("/bin/sh", "-c", `mkdir -p "$(dirname "$1")" && cp -a saved "$1" && rm saved`, "sh", file)
		return
	}
	b.mapped("/bin/rm", "-f", "saved")
	if repairs {
		b.karapace("verify-store", "--repair")
	}
	b.karapace("rebuild", "t.toml", "--locked")
	b.karapace("rebuild", "url.toml", "--locked", "--name", "other")
}

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/karapace/karapace/backends/userns"
	"github.com/karapace/karapace/cmd/internal/testground"
)

// The damage table: every single file of a store, one at a time, removed, cut in half, emptied, or with one bit flipped.
// verify-store finds and names it, no command panics, gc removes nothing that is undamaged, --repair leaves a store that
// verify-store has nothing to say against, and nothing undamaged is lost on the way.

// undamaged are the files whose damage is none, and why. A kind of damage that is named goes with it.
var undamaged = []struct{ pattern, how, why string }{
	{"built/*.lock", "", "only locked, never read"},
	{"storage/*.lock", "", "a lock and who wrote last, which only running processes compare"},
	{"storage/*/*.lock", "", "a lock and who wrote last, which only running processes compare"},
	{"storage/run/*", "", "of this boot: emptied at the first use after it, and where it cannot be read"},
	{"storage/run/*/*", "", "of this boot: emptied at the first use after it, and where it cannot be read"},
	{"storage/overlay/.has-mount-program", "", "what the kernel could do when it was last asked; it is asked again"},
	{"envs/*/state/*", "", "locks of sessions"},
	{"envs/*/containerenv", "", "what the next session writes anew, unless it is as it should be"},
	{"envs/*/upper.2/*", "", "the writable layer, of which only its user knows what it should be"},
	{"built/*.json", "removed", "a cache: what it remembers is made again"},
	{"fetched/*.lock", "removed", "its owner may take it away"},
	{"quick/*", "removed", "written again when the same is asked for"},
	{"started", "", "each line has its checksum; where one is wrong, list asks all"},
	{"vault/documents/*", "removed", "only spares a server sending it again"},
}

func harmless(file, how string) bool {
	for _, u := range undamaged {
		if ok, err := path.Match(u.pattern, file); err == nil && ok && (u.how == "" || u.how == how) {
			return true
		}
	}
	return false
}

// damages are what happens to a file, as a script whose argument it is. A link is cut, emptied and flipped by what it leads to.
var damages = map[string]string{
	"removed": `rm "$1"`,
	"cut": `if [ -h "$1" ]; then t=$(readlink "$1"); rm "$1"; ln -s "$(printf %s "$t" | head -c $((${#t} / 2)))x" "$1"
		else truncate -s $(($(stat -c %s "$1") / 2)) "$1"; fi`,
	"emptied": `if [ -h "$1" ]; then rm "$1"; fi; : >"$1"`,
	"flipped": `if [ -h "$1" ]; then t=$(readlink "$1"); rm "$1"; ln -s "${t%?}Z" "$1"; else
		at=$(($(stat -c %s "$1") / 2)); was=$(od -An -tu1 -j $at -N 1 "$1"); printf "\\$(printf %o $((was ^ 1)))" | dd of="$1" bs=1 seek=$at conv=notrunc 2>/dev/null; fi`,
}

type damageBench struct {
	*stateBench
	mapping *userns.Mapping // nil for root
	before  map[string]string
}

// sh runs a script where all files of the store can be read and written.
func (b *damageBench) sh(script string, args ...string) string {
	b.t.Helper()
	argv := append([]string{"sh", "-ec", script, "sh"}, args...)
	if b.mapping == nil {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Dir = b.dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			b.t.Fatalf("%q: %v\n%s", argv, err, out)
		}
		return string(out)
	}
	out, err := os.Create(filepath.Join(b.dir, "out"))
	must(b.t, err)
	defer out.Close()
	p, err := userns.Start(b.mapping, &userns.Command{Path: "/bin/sh", Args: argv, Env: os.Environ(), Dir: b.dir, Files: []*os.File{nil, out, out}})
	must(b.t, err)
	status, err := p.Wait()
	must(b.t, err)
	text, err := os.ReadFile(out.Name())
	must(b.t, err)
	if status.ExitStatus() != 0 {
		b.t.Fatalf("%q: exit %d\n%s", argv, status.ExitStatus(), text)
	}
	return string(text)
}

// try runs a command that may fail, but must not crash or hang.
func (b *damageBench) try(args ...string) (stdout string, code int) {
	b.t.Helper()
	cmd := b.command(args...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	timer := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	err := cmd.Run()
	timer.Stop()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		b.t.Fatal(err)
	}
	code = cmd.ProcessState.ExitCode()
	if code < 0 || code == 2 || strings.Contains(stderr.String(), "goroutine ") || strings.Contains(stderr.String(), "panic") {
		b.t.Errorf("karapace %s: exit %d\n%s", strings.Join(args, " "), code, stderr.String())
	}
	if code != 0 && stderr.Len() == 0 {
		b.t.Errorf("karapace %s: exit %d without a word", strings.Join(args, " "), code)
	}
	return out.String(), code
}

// newDamageBench makes a small store that has something of everything.
func newDamageBench(t *testing.T) *damageBench {
	b := &damageBench{stateBench: &stateBench{t: t, dir: t.TempDir()}}
	t.Cleanup(func() { destroyStore(filepath.Join(b.dir, "store")) })
	if os.Getuid() != 0 {
		var err error
		b.mapping, err = userns.Lookup()
		must(t, err)
	}
	t.Cleanup(func() { b.t = t; b.sh(`rm -rf "$1/pristine"`, b.dir) })
	must(t, os.Chmod(b.dir, 0o755))
	must(t, os.Mkdir(filepath.Join(b.dir, "home"), 0o755))
	must(t, os.Mkdir(filepath.Join(b.dir, "www"), 0o755))
	must(t, testground.WriteMinute(filepath.Join(b.dir, "base.tar"), "one"))
	must(t, testground.WriteMinute(filepath.Join(b.dir, "www", "base.tar"), "two"))
	must(t, testground.WriteMinute(filepath.Join(b.dir, "www", "later.tar"), "three"))
	server := httptest.NewServer(http.FileServer(http.Dir(filepath.Join(b.dir, "www"))))
	t.Cleanup(server.Close)
	for name, image := range map[string]string{"t": "./base.tar", "u": "./base.tar", "w": server.URL + "/base.tar", "later": server.URL + "/later.tar"} {
		text := fmt.Sprintf("manifest_version = 1\n[base]\nimage = %q\n[env]\nNAME = %q\n", image, name)
		must(t, os.WriteFile(filepath.Join(b.dir, name+".toml"), []byte(text), 0o644))
	}
	for _, name := range []string{"t", "u", "w"} {
		b.karapace("build", name+".toml", "--name", name)
	}
	for _, text := range []string{"one", "two"} {
		b.karapace("exec", "t", "-u", "0", "--", "sh", "-c", "echo "+text+" >/"+text)
		b.karapace("commit", "t", "-m", text)
	}
	b.karapace("exec", "t", "-u", "0", "--", "sh", "-c", "echo drift >/drift")
	b.karapace("archive", "u")
	b.karapace("fetch", "later.toml")
	b.karapace("quick", filepath.Join(b.dir, "base.tar"), "--name", "q", "--", "true")
	b.karapace("gc")
	b.sh(`rm -rf "$1/store/storage/overlay/staging" && cp -a "$1/store" "$1/pristine"`, b.dir)
	b.before = b.contents()
	return b
}

// files lists the files and links of the store, with the size of each.
func (b *damageBench) files() (all []string) {
	b.t.Helper()
	for line := range strings.Lines(b.sh(`cd "$1" && find . ! -type d ! -path './envs/*/work/*' -printf '%P\n'`, filepath.Join(b.dir, "store"))) {
		all = append(all, strings.TrimSuffix(line, "\n"))
	}
	slices.Sort(all)
	return all
}

// contents are the digests of all files in the store that have something in them, and one place of each.
func (b *damageBench) contents() map[string]string {
	b.t.Helper()
	all := map[string]string{}
	for line := range strings.Lines(b.sh(`cd "$1" && find . -type f -size +0 -exec sha256sum {} +`, filepath.Join(b.dir, "store"))) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ./")
		all[sum] = name
	}
	return all
}

// kept are the files whose content must be somewhere in the store after any damage to another one: what users wrote, what
// was fetched, locks, and layers.
func kept(name string) bool {
	for _, pattern := range []string{"envs/*/upper*", "envs/*/karapace.lock", "fetched/*", "vault/sha256/*", "storage/overlay/*/diff"} {
		parts := strings.Split(name, "/")
		n := strings.Count(pattern, "/") + 1
		if len(parts) < n {
			continue
		}
		if ok, err := path.Match(pattern, strings.Join(parts[:n], "/")); err == nil && ok {
			return true
		}
	}
	return false
}

// nothingLost compares what is in the store with what was, but for one damaged file.
func (b *damageBench) nothingLost(when, but string) {
	b.t.Helper()
	now := b.contents()
	for sum, name := range b.before {
		if now[sum] == "" && name != but && kept(name) && !harmless(name, "") {
			b.t.Errorf("%s: %s is lost", when, name)
		}
	}
}

type storeReport struct {
	Failed   int
	Problems []struct{ Kind, ID, Path, What, Remedy, Mended string }
	Notes    []struct{ Kind, ID, Path, What, Remedy string }
}

func (b *damageBench) verify(flags ...string) (r storeReport, code int) {
	b.t.Helper()
	out, code := b.try(append([]string{"verify-store", "--json"}, flags...)...)
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		b.t.Fatalf("verify-store: exit %d, %v\n%s", code, err, out)
	}
	if (code == 3) != (r.Failed > 0) || code != 0 && code != 3 {
		b.t.Errorf("verify-store: exit %d with %d problems", code, r.Failed)
	}
	return r, code
}

// names tells whether a report names a file, or the tree that it is in.
func (r *storeReport) names(file string) bool {
	for _, p := range r.Problems {
		if p.Path == file || strings.HasPrefix(file, p.Path+"/") || p.ID != "" && strings.Contains(file, p.ID) {
			return true
		}
	}
	for _, p := range r.Notes {
		if p.Path == file || len(p.ID) == 64 && strings.HasSuffix(file, p.ID) {
			return true
		}
	}
	return false
}

func TestDamageTable(t *testing.T) {
	b := newDamageBench(t)
	if r, _ := b.verify(); r.Failed > 0 || len(r.Notes) > 0 {
		t.Fatalf("before any damage: %+v", r)
	}
	var cases [][2]string
	for _, file := range b.files() {
		for how := range damages {
			cases = append(cases, [2]string{file, how})
		}
	}
	slices.SortFunc(cases, func(a, b [2]string) int { return strings.Compare(a[0]+a[1], b[0]+b[1]) })
	if os.Getenv("KARAPACE_FAULTS") != "full" {
		cases = sample(cases)
	}
	for _, c := range cases {
		t.Run(c[1]+" "+c[0], func(t *testing.T) {
			b.t, b.stateBench.t = t, t
			b.damaged(c[0], c[1])
		})
	}
	t.Logf("%d cases", len(cases))
}

// sample takes one kind of damage for each class of files: those that differ in digests and names only.
func sample(cases [][2]string) (some [][2]string) {
	seen := map[string]bool{}
	turn := 0
	kinds := []string{"flipped", "removed", "cut", "emptied"}
	for _, c := range cases {
		if class := class(c[0]); !seen[class] && !harmless(c[0], "") && c[1] == kinds[turn%len(kinds)] {
			seen[class] = true
			turn++
			some = append(some, c)
		}
	}
	return some
}

func class(file string) string {
	parts := strings.Split(file, "/")
	for i, p := range parts {
		switch {
		case p == "diff" || strings.HasPrefix(p, "upper") || p == "host":
			return strings.Join(parts[:i+1], "/")
		case len(p) >= 26:
			parts[i] = filepath.Ext(p)
		}
	}
	return strings.Join(parts, "/")
}

// damaged goes through one case, on a copy of the store as it was.
func (b *damageBench) damaged(file, how string) {
	store := filepath.Join(b.dir, "store")
	b.sh(`rm -rf "$1" && cp -a "$2" "$1"`, store, filepath.Join(b.dir, "pristine"))
	if changed := b.sh(`cd "$1" && { readlink "$2" || sha256sum <"$2"; } && ls -l "$2"; `+strings.ReplaceAll(damages[how], "$1", "$2")+
		`; if [ -e "$2" ] || [ -h "$2" ]; then readlink "$2" || sha256sum <"$2"; ls -l "$2"; fi`, store, file); strings.Count(changed, "\n") == 4 {
		if lines := strings.Split(changed, "\n"); lines[0] == lines[2] {
			return // an empty file cannot be cut, nor emptied
		}
	}
	found, _ := b.verify()
	if !harmless(file, how) && !found.names(file) {
		b.t.Errorf("verify-store does not name it: %+v", found)
	}
	if harmless(file, how) && found.Failed > 0 {
		b.t.Errorf("it should be harmless: %+v", found.Problems)
	}
	b.try("list")
	b.try("inspect", "t")
	if _, code := b.try("gc"); code != 0 && harmless(file, how) {
		b.t.Errorf("gc: exit %d", code)
	}
	if how == "removed" && strings.HasPrefix(file, "fetched/") {
		return // nobody wants what it kept any more
	}
	b.nothingLost("after gc", file)
	repaired, _ := b.verify("--repair")
	if repaired.Failed > 0 {
		b.t.Errorf("not mended: %+v", repaired.Problems)
	}
	b.nothingLost("after repair", file)
	if after, _ := b.verify(); after.Failed > 0 {
		b.t.Errorf("after repair: %+v", after.Problems)
	}
	for _, env := range []string{"t", "w", "q"} {
		if _, code := b.try("exec", env, "--", "true"); code != 0 {
			b.t.Errorf("environment %s cannot be entered any more", env)
		}
	}
}

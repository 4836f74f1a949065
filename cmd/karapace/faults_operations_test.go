package main

import (
	"fmt"
	"os"
	"strings"
)

// operation is a command that is tried under every fault. One more entry in operations tries one more.
type operation struct {
	name  string
	bring func(*faultBench)      // makes the store such that the command has all its work to do
	args  []string               // of karapace
	done  func(*faultBench) bool // whether what the command promises with exit code 0 is true; nil: it promises nothing that lasts
	again string                 // what the command may say, given again, if it was done the first time; empty: it succeeds
	minor bool                   // few points of it are tried in make test
	keeps bool                   // the text of the round must be somewhere in t, whatever happens
	reads bool                   // it may work on a store that can only be read
}

func operations() []operation {
	is := func(state string) func(*faultBench) bool {
		return func(b *faultBench) bool { return b.list()["t"].State == state }
	}
	has := func(name string) func(*faultBench) bool {
		return func(b *faultBench) bool { _, ok := b.list()[name]; return ok }
	}
	return []operation{
		{name: "build the first", minor: true, bring: (*faultBench).nothing, args: []string{"build", "t.toml", "--name", "t"}, done: has("t")},
		{name: "build", bring: (*faultBench).emptied, args: []string{"build", "t.toml", "--name", "t"}, done: has("t")},
		{name: "build on a layer", minor: true, bring: (*faultBench).layered, args: []string{"build", "t.toml", "--name", "t"}, done: has("t")},
		{name: "lock", bring: (*faultBench).emptied, args: []string{"lock", "t.toml"},
			done: func(b *faultBench) bool { return b.try("lock", "t.toml", "--check").Exit == 0 }},
		{name: "fetch", minor: true, bring: (*faultBench).emptied, args: []string{"fetch", "url.toml"},
			done: func(b *faultBench) bool { return b.try("build", "url.toml", "--offline", "--name", "url").Exit == 0 }},
		{name: "rebuild", bring: (*faultBench).changed, args: []string{"rebuild", "t.toml", "--locked"}, keeps: true,
			done: func(b *faultBench) bool { return b.list()["t"].Current == "" && b.kept() }},
		{name: "rebuild another lock", minor: true, bring: (*faultBench).another, args: []string{"rebuild", "again.toml", "--name", "t", "--force"},
			done: func(b *faultBench) bool { return strings.Contains(b.karapace("inspect", "t"), "ANOTHER") }},
		{name: "commit", bring: (*faultBench).changed, args: []string{"commit", "t"}, again: "nothing to commit", keeps: true,
			done: func(b *faultBench) bool { return b.read() == b.text && b.list()["t"].Current != "" }},
		{name: "restore", bring: (*faultBench).changed, args: []string{"restore", "t", "built"}, keeps: true,
			done: func(b *faultBench) bool { return b.list()["t"].Current == "" && b.read() == "" && b.kept() }},
		{name: "restore --discard", minor: true, bring: (*faultBench).changed, args: []string{"restore", "t", "built", "--discard"},
			done: func(b *faultBench) bool { return b.list()["t"].Current == "" && b.read() == "" }},
		{name: "snapshots rm", minor: true, bring: (*faultBench).snapped, args: []string{"snapshots", "rm", "t", "SNAPSHOT"}, again: "no snapshot",
			done: func(b *faultBench) bool { return !strings.Contains(b.karapace("snapshots", "t", "--json"), b.snapshot) }},
		{name: "freeze", minor: true, bring: (*faultBench).changed, args: []string{"freeze", "t"}, done: is("frozen"), keeps: true},
		{name: "unfreeze", minor: true, bring: (*faultBench).frozen, args: []string{"unfreeze", "t"}, done: is("built"), keeps: true},
		{name: "archive", minor: true, bring: (*faultBench).changed, args: []string{"archive", "t"}, done: is("archived"), keeps: true},
		{name: "unarchive", minor: true, bring: (*faultBench).archived, args: []string{"unarchive", "t"}, done: is("built"), keeps: true},
		{name: "rename", minor: true, bring: (*faultBench).changed, args: []string{"rename", "t", "u"}, done: has("u"), again: `no environment "t"`},
		{name: "destroy", bring: (*faultBench).changed, args: []string{"destroy", "t"}, again: `no environment "t"`,
			done: func(b *faultBench) bool { return !has("t")(b) }},
		{name: "destroy --all", minor: true, bring: (*faultBench).changed, args: []string{"destroy", "--all"}, done: (*faultBench).gone},
		{name: "images rm", minor: true, bring: (*faultBench).layered, args: []string{"images", "rm", "./base.tar"}, again: "no base image",
			done: func(b *faultBench) bool { return !strings.Contains(b.karapace("images"), "./base.tar") }},
		{name: "gc", bring: (*faultBench).littered, args: []string{"gc"}, keeps: true,
			done: func(b *faultBench) bool { return len(b.garbage()) == 0 }},
		{name: "export", bring: (*faultBench).changed, args: []string{"export", "t", "--format", "oci", "--with-drift", "--force", "-o", "OUT"}, keeps: true, reads: true,
			done: (*faultBench).exported},
		{name: "push", bring: (*faultBench).sendable, args: []string{"push", "t", "REF"}, keeps: true, reads: true,
			done: func(b *faultBench) bool { return b.pushed() }},
		{name: "pull", bring: (*faultBench).sent, args: []string{"pull", "REF", "--name", "t"}, done: has("t")},
		{name: "exec", minor: true, bring: (*faultBench).ready, args: []string{"exec", "t", "-u", "0", "--", "true"}},
		{name: "run", minor: true, bring: (*faultBench).ready, args: []string{"run", "t", "--", "true"}},
	}
}

// gone tells whether there is no store: at most an empty directory, which may be anybody's.
func (b *faultBench) gone() bool {
	entries, err := os.ReadDir(b.store())
	return err != nil || len(entries) == 0
}

// command is an operation's, of the environment as it is.
func (op *operation) command(b *faultBench) []string {
	args := append([]string{}, op.args...)
	for i, a := range args {
		switch a {
		case "SNAPSHOT":
			args[i] = b.snapshot
		case "REF":
			args[i] = b.ref
		case "OUT":
			args[i] = b.out()
		}
	}
	return args
}

// nothing takes the whole store away.
func (b *faultBench) nothing() {
	b.karapace("destroy", "--all", "--force")
	b.remove("t.lock")
}

// destroyed takes all environments away.
func (b *faultBench) destroyed() {
	for _, e := range b.list() {
		b.karapace("destroy", string(e.EnvID), "--force")
	}
}

// layered leaves the layer of an environment that is not there.
func (b *faultBench) layered() {
	b.ready()
	b.destroyed()
}

// emptied takes all layers and files away too.
func (b *faultBench) emptied() {
	b.destroyed()
	for _, name := range []string{"t.lock", "url.lock"} {
		b.remove(name)
	}
	removeAll(b, "store/fetched")
	b.karapace("gc")
}

// renewEvery is how many rounds one environment lives: its snapshots become many.
const renewEvery = 12

// ready makes t an environment that can be entered.
func (b *faultBench) ready() {
	have := b.list()
	if b.round%renewEvery == 0 || len(have) > 1 {
		b.destroyed()
		have = nil
	}
	t, ok := have["t"]
	switch {
	case !ok:
		b.destroyed()
		b.karapace("build", "t.toml", "--name", "t")
	case t.State == "archived":
		b.karapace("unarchive", "t")
		b.karapace("unfreeze", "t")
	case t.State == "frozen":
		b.karapace("unfreeze", "t")
	}
}

// changed gives it a snapshot that it is at, and the text of this round above.
func (b *faultBench) changed() {
	b.ready()
	if len(b.snapshots()) == 0 {
		b.inside("mkdir -p /srv/deep && echo first >/srv/first")
		b.karapace("commit", "t")
	}
	b.write(fmt.Sprintf("round %d", b.round))
}

// write puts a text into the environment, beside a file that is to go and one that has more than one block.
func (b *faultBench) write(text string) {
	b.text = text
	b.inside(`echo "$1" >/srv/text && rm -f /srv/first && cat /bin/busybox /bin/busybox >/srv/bulk`, text)
}

func (b *faultBench) inside(script string, args ...string) {
	b.t.Helper()
	b.karapace(append([]string{"exec", "t", "-u", "0", "--", "sh", "-ec", script, "sh"}, args...)...)
}

func (b *faultBench) frozen() {
	b.changed()
	b.karapace("freeze", "t")
}

func (b *faultBench) archived() {
	b.changed()
	b.karapace("archive", "t")
}

// snapped leaves a snapshot that nothing lies on.
func (b *faultBench) snapped() {
	b.changed()
	b.karapace("commit", "t")
	b.karapace("restore", "t", "built")
	all := b.snapshots()
	b.snapshot = string(all[len(all)-1].Snapshot)
}

// another builds t of a lock which again.toml then replaces.
func (b *faultBench) another() {
	b.destroyed()
	b.remove("again.lock")
	b.karapace("build", "t.toml", "--name", "t")
	b.write("of the old one")
}

// littered leaves an unused image, its layer, files of the vault, and drift that nothing names.
func (b *faultBench) littered() {
	b.changed()
	b.karapace("build", "url.toml", "--name", "url")
	b.karapace("destroy", "url")
	b.karapace("restore", "t", "built", "--discard")
	b.write(b.text)
}

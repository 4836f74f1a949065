package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// envDir is the directory of an environment in the store.
func (b *stateBench) envDir(name string) string {
	b.t.Helper()
	id, err := os.Readlink(b.path("names", name))
	must(b.t, err)
	return b.path("envs", id)
}

// An environment that comes into being while a rebuild of its lock is about to publish it is renewed as any other: what was written
// in it is kept.
func TestRebuildMeetsAnother(t *testing.T) {
	b := newWaitingBench(t)
	b.karapace("exec", "t", "-u", "0", "--", "sh", "-c", "echo kept >/srv/text || echo kept >/srv")
	env, away := b.envDir("t"), filepath.Join(b.dir, "away")
	must(t, os.Rename(env, away))
	must(t, os.Remove(b.path("names", "t")))
	names := b.lock(b.path("names") + "/.")
	defer names.Unlock()
	rebuild := b.start("rebuild", "t.toml", "--name", "t")
	rebuild.says("^wait for ")
	must(t, os.Rename(away, env))
	must(t, os.Symlink(filepath.Base(env), b.path("names", "t")))
	names.Unlock()
	rebuild.ends(0)
	if !strings.Contains(b.karapace("snapshots", "t"), "before rebuild") {
		t.Errorf("what was written is in no snapshot:\n%s", b.karapace("snapshots", "t"))
	}
}

// A rebuild follows the environment that is renamed meanwhile, and takes no other's place than that of the one it was begun for.
func TestRebuildRenamed(t *testing.T) {
	b := newWaitingBench(t)
	held := b.lock(b.envDir("t") + "/.")
	defer held.Unlock()
	rebuild := b.start("rebuild", "t.toml")
	rebuild.says("^wait for ")
	b.karapace("rename", "t", "renamed")
	held.Unlock()
	rebuild.ends(0)
	b.karapace("exec", "renamed", "--", "true")

	held = b.lock(b.envDir("renamed") + "/.")
	defer held.Unlock()
	rebuild = b.start("rebuild", "u.toml", "--name", "renamed")
	rebuild.says("^wait for ")
	b.karapace("rename", "renamed", "kept")
	held.Unlock()
	rebuild.ends(1)
	rebuild.says("environment renamed was renamed to kept")
	b.karapace("exec", "kept", "--", "true")
}

// A name that leads nowhere, as a command that was killed may leave it, is given again by building.
func TestBuildLinksName(t *testing.T) {
	b := newWaitingBench(t)
	must(t, os.Remove(b.path("names", "t")))
	b.karapace("build", "t.toml")
	b.karapace("exec", "t", "--", "true")
}

// Who waits for an environment while a rebuild gives its name to another one gets that one.
func TestNameHandedOver(t *testing.T) {
	for _, command := range [][]string{{"exec", "t", "--", "sh", "-c", "echo $NAME"}, {"run", "t", "--", "sh", "-c", "echo $NAME"}} {
		t.Run(command[0], func(t *testing.T) {
			b := newWaitingBench(t)
			b.karapace("build", "u.toml", "--name", "u")
			env := b.envDir("t")
			held := b.lock(env + "/.")
			defer held.Unlock()
			waiting := b.start(command...)
			waiting.says("^wait for ")
			away := filepath.Join(b.dir, "away")
			must(t, os.Rename(env, away))
			must(t, os.Remove(b.path("names", "t")))
			b.karapace("rename", "u", "t")
			held.Unlock()
			waiting.ends(0)
			must(t, os.Rename(away, env)) // to go with the store: parts of it are of subordinate ids
			if got := waiting.out.String(); got != "u\n" {
				t.Errorf("it prints %q", got)
			}
		})
	}
}

// A lock that somebody writes while a build goes on is not written over.
func TestLockChangedMeanwhile(t *testing.T) {
	b := newWaitingBench(t)
	held := b.lock(b.layerLock())
	defer held.Unlock()
	build := b.start("build", "u.toml", "--name", "u")
	build.says("^wait for ")
	other, err := os.ReadFile(filepath.Join(b.dir, "t.lock"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(b.dir, "u.lock"), other, 0o644))
	held.Unlock()
	build.ends(exitLock)
	build.says("u.lock was changed meanwhile")
	if now, err := os.ReadFile(filepath.Join(b.dir, "u.lock")); err != nil || string(now) != string(other) {
		t.Errorf("it was written over: %v", err)
	}
}

// A session that begins while the whole store is about to go keeps it there.
func TestDestroyAllBesideSession(t *testing.T) {
	b := newWaitingBench(t)
	held := b.lock(b.path("envs") + "/.")
	defer held.Unlock()
	destroy := b.start("destroy", "--all")
	destroy.says("^wait for ")
	session := b.command("exec", "t", "--", "sh", "-c", "echo begun; cat")
	in, err := session.StdinPipe()
	must(t, err)
	out, err := session.StdoutPipe()
	must(t, err)
	must(t, session.Start())
	_, err = out.Read(make([]byte, 1))
	must(t, err)
	held.Unlock()
	destroy.ends(1)
	destroy.says("environment t is running")
	in.Close()
	must(t, session.Wait())
	b.karapace("destroy", "--all")
}

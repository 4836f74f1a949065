package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const (
	committing = "karapace commit, 5,000 files of 100 MB"
	summingUp  = "tar | sha256 of the same files"
	restoring  = "karapace restore, 5,000 files of 100 MB"
	destroying = "karapace destroy, 5,000 files of 100 MB"
	removing   = "rm -rf of the same files"
)

// lifeRows keep drift, go back to it and let it go. What a commit says is kept is on disk, as is what the others take away:
// all files have been synced before every run, and none has left the page cache.
var lifeRows = []row{
	{What: committing, Against: summingUp, AtMost: 1.5},
	{What: restoring, Against: version, AtMost: 3},
	{What: destroying, Against: removing, AtMost: 1.2},
}

func life(ctx context.Context, l *lab) *group {
	g := &group{name: "drift kept and let go", rounds: l.rounds / 2}
	g.add(version, l.karapace, "--version")
	if err := l.addLife(ctx, g); err != nil {
		for _, name := range []string{committing, summingUp, restoring, destroying, removing} {
			g.missing(name, err)
		}
	}
	return g
}

func (l *lab) addLife(ctx context.Context, g *group) error {
	tree := l.path("home", "drift")
	if _, err := os.Stat(tree); err != nil {
		if err := writeLayer(tree); err != nil {
			return err
		}
	}
	for _, name := range []string{"committed", "restored"} {
		if _, err := l.build(ctx, name, name); err != nil {
			return err
		}
	}
	do := func(argv ...string) error { _, err := l.do(ctx, argv...); return err }
	drift := func(name string) error {
		return errors.Join(do(l.karapace, "exec", "--profile", "desktop", name, "-u", "0", "--", "busybox", "cp", "-r", tree+"/usr", "/"), l.sync(ctx))
	}

	// Snapshots of the same files differ by their time, so that none has been there before; those of earlier runs go.
	g.add(committing, l.karapace, "commit", "committed").prepare = func() error {
		if err := do(l.karapace, "restore", "committed", "built", "--discard"); err != nil {
			return err
		}
		return errors.Join(l.dropSnapshots(ctx, "committed"), drift("committed"))
	}
	g.add(summingUp, l.mapped("sh", "-c", `tar -C "$0" -cf - . | openssl dgst -sha256`, tree)...)

	if err := errors.Join(drift("restored"), do(l.karapace, "commit", "restored", "-m", "kept")); err != nil {
		return err
	}
	kept, err := l.do(ctx, "sh", "-c", `"$0" snapshots restored --json | grep -o 'sha256:[0-9a-f]*' | head -n 1`, l.karapace)
	if err != nil || len(kept) < 20 {
		return fmt.Errorf("the snapshot of environment restored: %q, %w", kept, err)
	}
	g.add(restoring, l.karapace, "restore", "restored", string(kept[:len("sha256:")+12])).prepare = func() error {
		return do(l.karapace, "restore", "restored", "built")
	}

	g.add(destroying, l.karapace, "destroy", "destroyed").prepare = func() error {
		if _, err := l.build(ctx, "destroyed", "destroyed"); err != nil {
			return err
		}
		return drift("destroyed")
	}
	gone := l.path("gone")
	g.add(removing, l.mapped("rm", "-rf", gone)...).prepare = func() error {
		return errors.Join(do(l.mapped("cp", "-r", filepath.Join(tree), gone)...), l.sync(ctx))
	}
	return nil
}

// dropSnapshots removes all snapshots of an environment, which lie on nothing but what was built.
func (l *lab) dropSnapshots(ctx context.Context, name string) error {
	_, err := l.do(ctx, "sh", "-ec", `
		for snapshot in $("$0" snapshots "$1" --json | grep -o '"snapshot": *"[^"]*"' | grep -o 'sha256:[0-9a-f]*'); do
			"$0" snapshots rm "$1" "$snapshot"
		done`, l.karapace, name)
	return err
}

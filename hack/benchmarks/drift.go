package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
)

const (
	diffAdded     = "karapace diff, 5,000 files of 100 MB added"
	findAdded     = "find -newer, the same tree"
	diffRewritten = "karapace diff, 5,000 files of 100 MB rewritten"
	cmpRewritten  = "diff -r, the same trees"
)

// diffRows tell what a session has left. What was added is never read; what was rewritten at the same size must be.
var diffRows = []row{
	{What: diffAdded, Against: findAdded, AtMost: 2},
	{What: diffRewritten, Against: cmpRewritten, AtMost: 1},
}

func diffs(ctx context.Context, l *lab) *group {
	g := &group{name: "diff", rounds: l.rounds}
	if err := l.addDiffs(ctx, g); err != nil {
		for _, name := range []string{diffAdded, findAdded, diffRewritten, cmpRewritten} {
			g.missing(name, err)
		}
	}
	return g
}

// addDiffs makes two environments: one that gets the files in a session, and one that has them as built and gets the same
// again.
func (l *lab) addDiffs(ctx context.Context, g *group) error {
	tree, archive := l.path("home", "drift"), l.path("drifted.tar")
	if err := errors.Join(writeLayer(tree), writeManifest(l.path("home", "added.toml"), l.archive, "added"), writeManifest(l.path("home", "rewritten.toml"), archive, "rewritten")); err != nil {
		return err
	}
	const both = `cp "$0" "$1" && tar --owner=0 --group=0 -C "$2" -rf "$1" usr`
	for _, argv := range [][]string{
		{"sh", "-c", both, l.archive, archive, tree},
		{l.karapace, "build", l.path("home", "added.toml"), "--name", "added"},
		{l.karapace, "build", l.path("home", "rewritten.toml"), "--name", "rewritten"},
		{l.karapace, "exec", "--profile", "desktop", "added", "-u", "0", "--", "busybox", "cp", "-r", tree + "/usr", "/"},
		{l.karapace, "exec", "--profile", "desktop", "rewritten", "-u", "0", "--", "busybox", "cp", "-r", tree + "/usr", "/"},
	} {
		if _, err := l.do(ctx, argv...); err != nil {
			return err
		}
	}
	added, rewritten, err := l.envDirs(ctx)
	if err != nil {
		return err
	}
	base, err := l.bottom(l.path("store"), "rewritten")
	if err != nil {
		return err
	}
	g.add(diffAdded, l.karapace, "diff", "added")
	g.add(findAdded, l.mapped("find", filepath.Join(added, "upper"), "-newer", filepath.Join(added, "record.json"))...)
	g.add(diffRewritten, l.karapace, "diff", "rewritten")
	g.add(cmpRewritten, l.mapped("diff", "-r", filepath.Join(rewritten, "upper/usr/share"), strings.TrimSuffix(base, "/.")+"/usr/share")...)
	return nil
}

// envDirs are the directories of the two environments.
func (l *lab) envDirs(ctx context.Context) (added, rewritten string, err error) {
	out, err := l.do(ctx, "readlink", l.path("store", "names", "added"), l.path("store", "names", "rewritten"))
	if err != nil {
		return "", "", err
	}
	a, b, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return l.path("store", "envs", a), l.path("store", "envs", b), nil
}

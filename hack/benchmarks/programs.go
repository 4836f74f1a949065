package main

import (
	"context"
	"fmt"
	"os"
)

const (
	hello   = "Go hello world"
	version = "karapace --version"
	again   = "karapace build, nothing changed"
	list    = "karapace list, 100 environments"
)

// programRows are commands that start no container: what is linked and what is read is what is paid.
var programRows = []row{
	{What: version, Against: hello, AtMost: 2},
	{What: again, Against: version, AtMost: 3},
	{What: list, Against: version, AtMost: 3},
}

func programs(ctx context.Context, l *lab) *group {
	g := &group{name: "commands", rounds: l.rounds}
	g.add(hello, l.hello)
	g.add(version, l.karapace, "--version")
	if manifest, err := l.build(ctx, "bench", "bench"); err != nil {
		g.missing(again, err)
	} else {
		g.add(again, l.karapace, "build", manifest, "--name", "bench")
	}
	if err := l.buildMany(ctx, 100); err != nil {
		g.missing(list, err)
	} else {
		g.add(list, l.karapace, "--store", l.path("many"), "list")
	}
	return g
}

// build builds an environment of the small root file system in the store. What differs is the value of a variable.
func (l *lab) build(ctx context.Context, name, value string, args ...string) (manifest string, err error) {
	manifest = l.path("home", name+".toml")
	if err := writeManifest(manifest, l.archive, value); err != nil {
		return "", err
	}
	_, err = l.do(ctx, append(append([]string{l.karapace}, args...), "build", manifest, "--name", name)...)
	return manifest, err
}

func writeManifest(file, image, value string) error {
	return os.WriteFile(file, manifestText(image, value), 0o644)
}

func manifestText(image, value string) []byte {
	return fmt.Appendf(nil, "manifest_version = 1\n\n[base]\nimage = %q\n\n[env]\nWHICH = %q\n\n[integration]\nprofile = \"isolated\"\n", image, value)
}

// buildMany fills a store of its own.
func (l *lab) buildMany(ctx context.Context, n int) error {
	l.progress(fmt.Sprintf("building %d environments", n))
	for i := range n {
		name := fmt.Sprintf("many%d", i)
		if _, err := l.build(ctx, name, name, "--store", l.path("many")); err != nil {
			return err
		}
	}
	return nil
}

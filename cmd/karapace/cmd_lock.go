package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/karapace/karapace/cmd/internal/engine"
	"github.com/karapace/karapace/manifest"
)

func (p *program) lockCommand() *cli.Command {
	return &cli.Command{
		Name: "lock", Usage: "resolve a manifest and write its lock", ArgsUsage: "[MANIFEST] [--update [PACKAGE...]]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "update", Aliases: []string{"u"}, Usage: "resolve anew"},
			&cli.BoolFlag{Name: "check", Usage: "only tell whether the lock satisfies the manifest"},
			&cli.BoolFlag{Name: "verify", Usage: "build twice, under other circumstances; write the lock only if both agree"},
			&cli.StringSliceFlag{Name: "volatile", Usage: "with --verify: leave `PATH` out, with all below it"},
			&cli.BoolFlag{Name: "accept", Usage: "with --verify: leave out all that differs"},
			&cli.BoolFlag{Name: "offline", Usage: "touch no network"},
			imageServerFlag(),
			buildBackendFlag(),
		},
		Action: p.working(p.lock),
	}
}

func (p *program) lock(c *cli.Context) error {
	file, only, err := p.lockArguments(c)
	if err != nil {
		return err
	}
	o := engine.LockOptions{
		Manifest: file, Only: only, Update: c.Bool("update"), Check: c.Bool("check"), Offline: c.Bool("offline"), Backend: c.String("build-backend"),
	}
	switch {
	case c.Bool("verify"):
		o.Twice = &engine.Twice{Volatile: c.StringSlice("volatile"), Accept: c.Bool("accept")}
	case c.Bool("accept") || len(c.StringSlice("volatile")) > 0:
		return usage(errors.New("--volatile and --accept go with --verify"))
	}
	if o.Check && (o.Update || o.Twice != nil) {
		return usage(errors.New("--check changes nothing and goes without --update and --verify"))
	}
	res, err := p.engine.Lock(p.ctx, o)
	if res == nil {
		return err
	}
	return errors.Join(p.locked(res, o), err)
}

// lockArguments tells a manifest from packages to update: it is the first argument, and a file or written like one.
func (p *program) lockArguments(c *cli.Context) (file string, only []string, err error) {
	args := c.Args().Slice()
	if !c.Bool("update") || len(args) == 0 {
		file, err = p.optional(c, "MANIFEST")
		return file, nil, err
	}
	if strings.HasSuffix(args[0], ".toml") || strings.Contains(args[0], "/") {
		return args[0], args[1:], nil
	}
	for _, name := range args {
		if !manifest.ValidPackageName(name) {
			return "", nil, usage(fmt.Errorf("%q is no name of a package", name))
		}
	}
	return "", args, nil
}

// locked prints what became of a lock.
func (p *program) locked(res *engine.LockResult, o engine.LockOptions) error {
	if p.json {
		return p.document(lockDocument(res))
	}
	if res.Lock == nil {
		return p.differences(res.Differences)
	}
	if len(res.Changes) > 0 && !p.quiet && o.Update {
		if err := p.table(changeRows(res.Changes)); err != nil {
			return err
		}
	}
	if len(res.Varied) > 0 {
		p.say("two builds gave the same bytes; different were: %s", strings.Join(res.Varied, ", "))
	}
	state := "satisfies the manifest"
	if res.Written {
		state = "written"
	}
	p.say("%s: %s, %d packages, environment %s", p.relative(res.File), state, len(res.Lock.BasePackages)+len(res.Lock.Packages), res.Lock.ID().Short())
	return nil
}

// changeRows is the table of what changed between two locks.
func changeRows(changes []manifest.PackageChange) [][]string {
	rows := [][]string{{"PACKAGE", "ARCH", "OLD", "NEW"}}
	for _, ch := range changes {
		rows = append(rows, []string{ch.Name, ch.Arch, dash(ch.Old), dash(ch.New)})
	}
	return rows
}

func lockDocument(res *engine.LockResult) any {
	type change struct {
		Name string `json:"name"`
		Arch string `json:"arch"`
		Old  string `json:"old"`
		New  string `json:"new"`
	}
	doc := map[string]any{"lock": res.File, "written": res.Written, "differences": append([]engine.Difference{}, res.Differences...), "varied": append([]string{}, res.Varied...)}
	changes := []change{}
	for _, ch := range res.Changes {
		changes = append(changes, change{ch.Name, ch.Arch, ch.Old, ch.New})
	}
	doc["changes"] = changes
	if res.Lock != nil {
		doc["env_id"], doc["short_id"], doc["volatile"] = res.Lock.ID(), res.Lock.ID().Short(), volatileDocument(res.Lock)
	}
	return doc
}

func volatileDocument(l *manifest.Lock) any {
	type volatile struct {
		Path    string `json:"path"`
		Package string `json:"package"`
	}
	all := []volatile{}
	for _, v := range l.Volatile {
		all = append(all, volatile{v.Path, v.Package})
	}
	return all
}

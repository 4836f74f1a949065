package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/karapace/karapace/cmd/internal/engine"
)

func (p *program) fetchCommand() *cli.Command {
	return &cli.Command{
		Name: "fetch", Usage: "bring all files that building needs, for later without a network", ArgsUsage: "[MANIFEST]",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "locked", Usage: "a lock must exist"}, imageServerFlag()},
		Action: p.working(func(c *cli.Context) error {
			file, err := p.optional(c, "MANIFEST")
			if err != nil {
				return err
			}
			res, err := p.engine.Fetch(p.ctx, engine.BuildOptions{Manifest: file, Locked: c.Bool("locked")})
			if err != nil {
				return err
			}
			if p.json {
				return p.document(map[string]any{"lock": res.LockFile, "written": res.LockWritten, "files": res.Files, "bytes": res.Bytes})
			}
			p.say("%s, %s; karapace build --offline builds from them", engine.Count(res.Files, "file"), size(res.Bytes))
			return nil
		}),
	}
}

func (p *program) gcCommand() *cli.Command {
	return &cli.Command{
		Name: "gc", Usage: "remove layers, images and files that no environment needs",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "only tell"},
			&cli.BoolFlag{Name: "quarantine", Usage: "also remove what verify-store --repair has put aside"},
		},
		Action: p.working(func(c *cli.Context) error {
			if c.NArg() > 0 {
				return usage(fmt.Errorf("karapace gc takes no argument; karapace destroy %s removes an environment", c.Args().First()))
			}
			removed, err := p.engine.GC(p.ctx, c.Bool("dry-run"), c.Bool("quarantine"))
			if err != nil {
				return err
			}
			return p.collected(removed, c.Bool("dry-run"))
		}),
	}
}

func (p *program) collected(removed []engine.Garbage, dryRun bool) error {
	var total int64
	rows := [][]string{{"KIND", "ID", "SIZE", "WHY"}}
	for _, g := range removed {
		total += g.Size
		rows = append(rows, []string{g.Kind, shorten(g.ID), size(g.Size), g.Reason})
	}
	if p.json {
		return p.document(map[string]any{"dry_run": dryRun, "removed": append([]engine.Garbage{}, removed...), "bytes": total})
	}
	if len(removed) == 0 {
		p.say("nothing to remove")
		return nil
	}
	if !p.quiet {
		if err := p.table(rows); err != nil {
			return err
		}
	}
	p.say("%s %s", map[bool]string{true: "would free", false: "freed"}[dryRun], size(total))
	return nil
}

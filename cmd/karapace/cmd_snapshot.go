package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/karapace/karapace/cmd/internal/engine"
	"github.com/karapace/karapace/storage"
)

func (p *program) commitCommand() *cli.Command {
	return &cli.Command{
		Name: "commit", Usage: "make what was changed in an environment a snapshot", ArgsUsage: "[ENV]",
		Flags: []cli.Flag{&cli.StringFlag{Name: "message", Aliases: []string{"m"}, Usage: "say what it is"}},
		Action: p.working(func(c *cli.Context) error {
			ref, err := p.optional(c, "ENV")
			if err != nil {
				return err
			}
			s, err := p.engine.Commit(p.ctx, ref, c.String("message"))
			if err != nil {
				return err
			}
			if p.json {
				return p.document(s)
			}
			p.say("%s  %s", s.Snapshot.Snapshot, label(s.Name, s.ShortID))
			return nil
		}),
	}
}

func (p *program) restoreCommand() *cli.Command {
	return &cli.Command{
		Name: "restore", Usage: "make an environment what it was at a snapshot, or when it was built", ArgsUsage: "ENV SNAPSHOT|built",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "discard", Usage: "drop what was changed since, instead of making it a snapshot"}},
		Action: p.working(func(c *cli.Context) error {
			if c.NArg() != 2 {
				return usage(fmt.Errorf("karapace restore needs ENV and SNAPSHOT; karapace snapshots ENV shows them"))
			}
			res, err := p.engine.Restore(p.ctx, c.Args().Get(0), c.Args().Get(1), c.Bool("discard"))
			if err != nil {
				return err
			}
			if p.json {
				return p.document(res)
			}
			if res.Kept != "" {
				p.say("kept what was changed as %s", shorten(string(res.Kept)))
			}
			p.say("%s is at %s", label(res.Name, res.ShortID), at(string(res.Current)))
			return nil
		}),
	}
}

// at names a snapshot as a person does.
func at(digest string) string {
	if digest == "" {
		return "built"
	}
	return shorten(digest)
}

func (p *program) snapshotsCommand() *cli.Command {
	return &cli.Command{
		Name: "snapshots", Usage: "show the snapshots of an environment, or remove one", ArgsUsage: "[ENV] | rm ENV SNAPSHOT",
		Action: p.working(func(c *cli.Context) error {
			if c.Args().First() == "rm" && c.NArg() > 1 {
				return p.removeSnapshot(c)
			}
			ref, err := p.optional(c, "ENV")
			if err != nil {
				return err
			}
			r, all, err := p.engine.Snapshots(ref)
			if err != nil {
				return err
			}
			if p.json {
				return p.document(all)
			}
			return p.snapshots(r, all)
		}),
	}
}

func (p *program) snapshots(r *storage.Record, all []engine.Snapshot) error {
	mark := map[bool]string{true: "*"}
	rows := [][]string{{"", "SNAPSHOT", "ON", "CREATED", "SIZE", "MESSAGE"}}
	rows = append(rows, []string{mark[r.Current == ""], "built", "-", age(time.Since(r.CreatedAt)), size(r.BaseSize + r.PackageSize), ""})
	for _, s := range all {
		message, _, _ := strings.Cut(s.Message, "\n")
		rows = append(rows, []string{mark[s.Current], short(string(s.Snapshot)), short(string(s.Parent)), age(time.Since(s.CreatedAt)), size(s.Size), message})
	}
	return p.table(rows)
}

// short is as many digits of a digest as a person types.
func short(digest string) string {
	if digest == "" {
		return "built"
	}
	_, hex, _ := strings.Cut(shorten(digest), ":")
	return hex
}

func (p *program) removeSnapshot(c *cli.Context) error {
	if c.NArg() != 3 {
		return usage(fmt.Errorf("karapace snapshots rm needs ENV and SNAPSHOT"))
	}
	r, s, err := p.engine.RemoveSnapshot(p.ctx, c.Args().Get(1), c.Args().Get(2))
	if err != nil {
		return err
	}
	if p.json {
		return p.document(s)
	}
	p.say("removed %s of %s", shorten(string(s.Snapshot)), label(r.Name, r.EnvID.Short()))
	return nil
}

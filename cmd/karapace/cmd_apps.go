package main

import (
	"errors"

	"github.com/urfave/cli/v2"

	"github.com/karapace/karapace/cmd/internal/engine"
)

func binFlag() cli.Flag {
	return &cli.BoolFlag{Name: "bin", Usage: "a program, as a wrapper in ~/.local/bin"}
}

func (p *program) exportAppCommand() *cli.Command {
	return &cli.Command{
		Name: "export-app", Usage: "put applications of an environment into the host's menu", ArgsUsage: "ENV [APP...]",
		Flags: []cli.Flag{binFlag()},
		Action: p.working(func(c *cli.Context) error {
			if c.NArg() == 0 || c.Bool("bin") && c.NArg() == 1 {
				return usage(errors.New("karapace export-app needs ENV, and with --bin a program's name"))
			}
			ref, names := c.Args().First(), c.Args().Tail()
			if !c.Bool("bin") {
				list, err := p.engine.ExportApp(p.ctx, ref, names)
				return p.exported(list, err)
			}
			var list []engine.App
			for _, n := range names {
				a, err := p.engine.ExportProgram(p.ctx, ref, n)
				if err != nil {
					return err
				}
				list = append(list, *a)
			}
			return p.exported(list, nil)
		}),
	}
}

func (p *program) exported(list []engine.App, err error) error {
	for _, a := range list {
		p.say("exported %s  %s", a.App, a.Exported)
	}
	if err != nil || !p.json {
		return err
	}
	return p.document(append([]engine.App{}, list...))
}

func (p *program) unexportAppCommand() *cli.Command {
	return &cli.Command{
		Name: "unexport-app", Usage: "take applications of an environment out of the host's menu", ArgsUsage: "ENV [APP]",
		Flags: []cli.Flag{binFlag()},
		Action: p.working(func(c *cli.Context) error {
			if c.NArg() < 1 || c.NArg() > 2 {
				return usage(errors.New("karapace unexport-app needs ENV, and perhaps an application"))
			}
			list, err := p.engine.UnexportApp(p.ctx, c.Args().Get(0), c.Args().Get(1), c.Bool("bin"))
			if err != nil {
				return err
			}
			for _, a := range list {
				p.say("removed %s", a.Exported)
			}
			if p.json {
				return p.document(append([]engine.App{}, list...))
			}
			return nil
		}),
	}
}

func (p *program) appsCommand() *cli.Command {
	return &cli.Command{
		Name: "apps", Usage: "show what applications an environment has, and which are exported", ArgsUsage: "[ENV]",
		Action: p.working(func(c *cli.Context) error {
			ref, err := p.optional(c, "ENV")
			if err != nil {
				return err
			}
			list, err := p.engine.Apps(p.ctx, ref)
			if err != nil {
				return err
			}
			if p.json {
				return p.document(list)
			}
			if len(list) == 0 {
				p.say("no applications")
				return nil
			}
			rows := [][]string{{"APP", "NAME", "ENV", "EXPORTED"}}
			for _, a := range list {
				rows = append(rows, []string{a.App, a.Name, a.Env, dash(a.Exported)})
			}
			return p.table(rows)
		}),
	}
}

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/karapace/karapace/cmd/internal/engine"
	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
)

func (p *program) newCommand() *cli.Command {
	return &cli.Command{
		Name: "new", Usage: "write a manifest", ArgsUsage: "NAME",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "template", Aliases: []string{"t"}, Usage: "start from this template", Value: "minimal"},
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "replace a manifest that is there"},
		},
		Action: p.writeNew,
	}
}

func (p *program) writeNew(c *cli.Context) error {
	name, err := p.argument(c, "NAME")
	if err != nil {
		return err
	}
	if !manifest.ValidName(name) {
		return usage(fmt.Errorf("the name %q cannot be used: letters, digits, - and _, at most 64, and no - at the beginning", name))
	}
	text, err := manifest.Template(c.String("template"))
	if err != nil {
		return usage(err)
	}
	file := "karapace.toml"
	if _, err := os.Lstat(file); err == nil && !c.Bool("force") {
		return failure.New(failure.Manifest, fmt.Errorf("%s is there already", file), "karapace new --force "+name)
	}
	if err := storage.WriteDocument(file, []byte(text), 0o644); err != nil {
		return failure.New(failure.General, err, "")
	}
	if p.json {
		path, _ := filepath.Abs(file)
		return p.document(map[string]string{"manifest": path, "template": c.String("template")})
	}
	p.say("wrote %s; next: karapace build --name %s && karapace enter %s", file, name, name)
	return nil
}

func buildFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "name", Aliases: []string{"n"}, Usage: "name the environment"},
		&cli.BoolFlag{Name: "locked", Usage: "a lock must exist, and is left as it is"},
		&cli.BoolFlag{Name: "offline", Usage: "touch no network: everything from the vault"},
		&cli.BoolFlag{Name: "require-pinned-image", Usage: "refuse a base image that can change"},
		imageServerFlag(),
		buildBackendFlag(),
	}
}

func buildBackendFlag() cli.Flag {
	return &cli.StringFlag{Name: "build-backend", Usage: "what package managers run in: namespace, crun, runc or youki"}
}

func buildOptions(c *cli.Context, file string) engine.BuildOptions {
	return engine.BuildOptions{
		Manifest: file, Name: c.String("name"), Locked: c.Bool("locked"), Offline: c.Bool("offline"), RequirePinned: c.Bool("require-pinned-image"),
		Backend: c.String("build-backend"),
	}
}

func (p *program) buildCommand() *cli.Command {
	return &cli.Command{
		Name: "build", Usage: "make the environment of a manifest", ArgsUsage: "[MANIFEST]", Flags: buildFlags(),
		Action: p.working(func(c *cli.Context) error {
			file, err := p.optional(c, "MANIFEST")
			if err != nil {
				return err
			}
			return p.built(p.engine.Build(p.ctx, buildOptions(c, file)))
		}),
	}
}

func (p *program) rebuildCommand() *cli.Command {
	return &cli.Command{
		Name: "rebuild", Usage: "make an environment anew; the old one goes only when the new one stands", ArgsUsage: "[MANIFEST]",
		Flags: append(buildFlags(), &cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "stop it first, and let what it holds of yours go"}),
		Action: p.working(func(c *cli.Context) error {
			file, err := p.optional(c, "MANIFEST")
			if err != nil {
				return err
			}
			o := buildOptions(c, file)
			o.Force = c.Bool("force")
			return p.built(p.engine.Rebuild(p.ctx, o))
		}),
	}
}

func (p *program) built(res *engine.BuildResult, err error) error {
	if err != nil {
		return err
	}
	if p.verbose && !p.quiet && !p.json {
		for _, t := range res.Timings {
			fmt.Fprintf(p.stderr, "%8s ms  %s\n", strconv.FormatInt(t.Millis, 10), t.Step)
		}
	}
	if err := p.describe(p.engine.Describe(res.Record)); err != nil {
		return err
	}
	if res.LockWritten {
		p.say("wrote %s", p.relative(res.LockFile))
	}
	if res.Beside != "" {
		p.say("%s, of this directory too, stays as it is; karapace rebuild %s --name %s puts the new one in its place", res.Beside, p.relative(res.File), res.Beside)
	}
	return nil
}

// relative shows a path below the working directory without it.
func (p *program) relative(path string) string {
	if rel, err := filepath.Rel(p.engine.Cwd, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}

// argument is the one argument of a command.
func (p *program) argument(c *cli.Context, what string) (string, error) {
	if c.NArg() == 0 {
		return "", usage(fmt.Errorf("karapace %s needs %s", c.Command.Name, what))
	}
	return p.optional(c, what)
}

// optional is the one argument that a command may have.
func (p *program) optional(c *cli.Context, what string) (string, error) {
	if c.NArg() > 1 && takesCommand(c) && !p.line.dashes {
		return "", usage(fmt.Errorf("karapace %s takes one %s, not %d: put a command behind --, as in: karapace %[1]s %[4]s -- %s",
			c.Command.Name, what, c.NArg(), c.Args().First(), c.Args().Get(1)))
	}
	if c.NArg() > 1 {
		return "", usage(fmt.Errorf("karapace %s takes one %s, not %d", c.Command.Name, what, c.NArg()))
	}
	if p.line.dashes && len(p.line.after) > 0 && !takesCommand(c) {
		return "", usage(errors.New("karapace " + c.Command.Name + " takes no command behind --"))
	}
	return c.Args().First(), nil
}

func takesCommand(c *cli.Context) bool {
	switch c.Command.Name {
	case "enter", "exec", "run", "env-run", "quick", "export", "compare":
		return true
	}
	return false
}

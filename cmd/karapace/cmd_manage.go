package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/karapace/karapace/cmd/internal/engine"
)

func (p *program) stopCommand() *cli.Command {
	return &cli.Command{
		Name: "stop", Usage: "end everything that runs in an environment", ArgsUsage: "[ENV]",
		Flags: []cli.Flag{&cli.IntFlag{Name: "time", Aliases: []string{"t"}, Usage: "seconds between TERM and KILL", Value: 10}},
		Action: p.working(func(c *cli.Context) error {
			ref, err := p.optional(c, "ENV")
			if err != nil {
				return err
			}
			if c.Int("time") < 0 {
				return usage(fmt.Errorf("--time is a number of seconds, not %d", c.Int("time")))
			}
			r, stopped, err := p.engine.Stop(p.ctx, ref, time.Duration(c.Int("time"))*time.Second)
			if err != nil {
				return err
			}
			if p.json {
				return p.document(map[string]any{"env_id": r.EnvID, "short_id": r.EnvID.Short(), "name": r.Name, "stopped": stopped})
			}
			if stopped {
				p.say("stopped %s", label(r.Name, r.EnvID.Short()))
			} else {
				p.say("%s was not running", label(r.Name, r.EnvID.Short()))
			}
			return nil
		}),
	}
}

func label(name, short string) string {
	if name != "" {
		return name
	}
	return short
}

func (p *program) listCommand() *cli.Command {
	return &cli.Command{
		Name: "list", Aliases: []string{"ls"}, Usage: "show all environments",
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return usage(fmt.Errorf("karapace list takes no argument; karapace inspect %s shows one environment", c.Args().First()))
			}
			envs, bad := p.engine.List()
			if p.json {
				if err := p.document(append([]engine.Environment{}, envs...)); err != nil {
					return err
				}
			} else if len(envs) > 0 || len(bad) == 0 {
				if err := p.listTable(envs); err != nil {
					return err
				}
			}
			for i, err := range bad {
				if i == len(bad)-1 {
					return err
				}
				report(p.stderr, err, false)
			}
			return nil
		},
	}
}

func (p *program) listTable(envs []engine.Environment) error {
	if len(envs) == 0 {
		p.say("no environments yet; karapace new NAME, then karapace build, makes one")
		return nil
	}
	rows := [][]string{{"NAME", "ID", "STATE", "BASE", "BACKEND", "CREATED", "AT"}}
	for _, e := range envs {
		state := e.State
		if e.Running {
			state = "running"
		}
		rows = append(rows, []string{dash(e.Name), e.ShortID, state, e.BaseImage, e.Backend, age(time.Since(e.CreatedAt)), short(string(e.Current))})
	}
	return p.table(rows)
}

func (p *program) inspectCommand() *cli.Command {
	return &cli.Command{
		Name: "inspect", Usage: "show all about an environment", ArgsUsage: "[ENV]",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "provenance", Usage: "print where it comes from instead: an in-toto statement with SLSA provenance"}},
		Action: func(c *cli.Context) error {
			ref, err := p.optional(c, "ENV")
			if err != nil {
				return err
			}
			if c.Bool("provenance") {
				text, err := p.engine.Provenance(ref, version)
				if err != nil {
					return err
				}
				_, err = p.stdout.Write(text)
				return err
			}
			d, err := p.engine.Inspect(ref)
			if err != nil {
				return err
			}
			if p.json {
				return p.document(d)
			}
			return p.table(details(d))
		},
	}
}

func details(d *engine.Details) [][]string {
	rows := [][]string{
		{"id", string(d.EnvID)}, {"name", dash(d.Name)}, {"state", d.State}, {"running", fmt.Sprint(d.Running)},
		{"architecture", d.Arch}, {"base image", d.BaseImage}, {"backend", d.Backend}, {"created", d.CreatedAt.Format(time.RFC3339)},
		{"base layer", string(d.BaseLayer) + "  " + size(d.Size.Base)},
		{"package layer", dash(string(d.PackageLayer)) + "  " + size(d.Size.Packages)},
		{"image", string(d.ImageDigest)},
		{"at", at(string(d.Current))}, {"snapshots", size(d.Size.Snapshots)},
		{"writable layer", size(d.Size.Writable)},
		{"packages", dash(strings.Join(d.Packages, " "))}, {"apps", dash(strings.Join(d.Apps, " "))},
		{"network", map[bool]string{true: "its own, empty", false: "the host's"}[d.NetworkIsolation]},
	}
	for _, m := range d.Mounts {
		rows = append(rows, []string{"mount " + m.Label, m.Host + " -> " + m.Container + map[bool]string{true: " (read-only)"}[m.ReadOnly]})
	}
	for _, v := range d.Env {
		rows = append(rows, []string{"variable", v.Name + "=" + v.Value})
	}
	rows = append(rows, []string{"lock", d.Lock}, []string{"directory", d.Directory}, []string{"profile", d.Policy.Profile})
	for _, thing := range d.Policy.Things {
		rows = append(rows, []string{"reaches " + thing.Name, reach(thing, d.Policy.Home)})
	}
	return rows
}

func (p *program) renameCommand() *cli.Command {
	return &cli.Command{
		Name: "rename", Usage: "give an environment another name", ArgsUsage: "ENV NAME",
		Action: func(c *cli.Context) error {
			if c.NArg() != 2 {
				return usage(fmt.Errorf("karapace rename needs ENV and NAME"))
			}
			r, err := p.engine.Rename(p.ctx, c.Args().Get(0), c.Args().Get(1))
			if err != nil {
				return err
			}
			return p.describe(p.engine.Describe(r))
		},
	}
}

func (p *program) destroyCommand() *cli.Command {
	return &cli.Command{
		Name: "destroy", Usage: "remove an environment and its writable layer", ArgsUsage: "ENV",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "stop it first; an archived one too"},
			&cli.BoolFlag{Name: "all", Usage: "remove the whole store: every environment, base image and package file"},
		},
		Action: p.working(func(c *cli.Context) error {
			if c.Bool("all") {
				return p.destroyAll(c)
			}
			ref, err := p.argument(c, "ENV")
			if err != nil {
				return err
			}
			r, err := p.engine.Destroy(p.ctx, ref, engine.DestroyOptions{Force: c.Bool("force")})
			if err != nil {
				return err
			}
			if p.json {
				return p.document(map[string]any{"env_id": r.EnvID, "short_id": r.EnvID.Short(), "name": r.Name, "destroyed": true})
			}
			p.say("destroyed %s", label(r.Name, r.EnvID.Short()))
			return nil
		}),
	}
}

func (p *program) destroyAll(c *cli.Context) error {
	if c.NArg() > 0 {
		return usage(fmt.Errorf("karapace destroy --all takes no ENV"))
	}
	if err := p.engine.DestroyAll(p.ctx, engine.DestroyOptions{Force: c.Bool("force")}); err != nil {
		return err
	}
	if p.json {
		return p.document(map[string]any{"store": p.engine.StoreRoot, "destroyed": true})
	}
	p.say("destroyed %s", p.engine.StoreRoot)
	return nil
}

func (p *program) imagesCommand() *cli.Command {
	return &cli.Command{
		Name: "images", Usage: "show base images, or remove one", ArgsUsage: "[rm REF]",
		Action: p.working(func(c *cli.Context) error {
			switch {
			case c.NArg() == 0:
				return p.images(p.engine.Images())
			case c.NArg() == 2 && c.Args().Get(0) == "rm":
				removed, err := p.engine.RemoveImage(p.ctx, c.Args().Get(1))
				if err == nil {
					for _, b := range removed {
						p.say("removed %s %s", b.Image, b.Layer)
					}
					if p.json {
						return p.document(removed)
					}
				}
				return err
			default:
				return usage(fmt.Errorf("karapace images takes nothing, or rm REF"))
			}
		}),
	}
}

func (p *program) images(all []engine.BaseImage, err error) error {
	if err != nil {
		return err
	}
	if p.json {
		return p.document(all)
	}
	if len(all) == 0 {
		p.say("no base images yet")
		return nil
	}
	rows := [][]string{{"IMAGE", "FETCHED", "LAYER", "SIZE", "USED BY"}}
	for _, b := range all {
		rows = append(rows, []string{b.Image, shorten(b.Digest), shorten(b.Layer), size(b.Size), dash(strings.Join(b.UsedBy, " "))})
	}
	return p.table(rows)
}

// shorten shows as much of a digest as a person compares.
func shorten(d string) string {
	if algo, hex, ok := strings.Cut(d, ":"); ok && len(hex) > 12 {
		return algo + ":" + hex[:12]
	}
	if len(d) == 64 {
		return d[:12]
	}
	return d
}

package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/bundle"
	"github.com/karapace/karapace/cmd/internal/engine"
)

func backendFlag() cli.Flag {
	return &cli.StringFlag{Name: "backend", Usage: "namespace, oci, crun, runc or youki"}
}

func profileFlag() cli.Flag {
	return &cli.StringFlag{Name: "profile", Usage: "what of the host is let in: desktop, project or isolated"}
}

func (p *program) enterCommand() *cli.Command {
	return &cli.Command{
		Name: "enter", Usage: "open a session in an environment", ArgsUsage: "[ENV] [-- COMMAND...]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "root", Usage: "as root of the environment"},
			&cli.BoolFlag{Name: "print-spec", Usage: "print the runtime document (config.json) instead"},
			&cli.BoolFlag{Name: "print-policy", Usage: "say what of the host the environment can reach instead"},
			profileFlag(), backendFlag(),
		},
		Action: func(c *cli.Context) error {
			ref, err := p.optional(c, "ENV")
			if err != nil {
				return err
			}
			o := engine.SessionOptions{Args: p.line.after, Backend: c.String("backend"), Profile: c.String("profile"), Terminal: p.onTerminal()}
			if c.Bool("root") {
				o.User = "0"
			}
			if c.Bool("print-policy") {
				return p.printPolicy(ref, o)
			}
			if c.Bool("print-spec") {
				return p.printSpec(ref, o)
			}
			return p.session(func(o engine.SessionOptions) (backends.Exit, error) { return p.engine.Exec(p.ctx, ref, o) }, o)
		},
	}
}

func (p *program) printSpec(ref string, o engine.SessionOptions) error {
	spec, err := p.engine.Spec(ref, o)
	if err != nil {
		return err
	}
	b, err := bundle.Encode(spec)
	if err != nil {
		return err
	}
	_, err = p.stdout.Write(b)
	return err
}

func (p *program) execCommand() *cli.Command {
	given := &texts{}
	return &cli.Command{
		Name: "exec", Usage: "run a command in an environment", ArgsUsage: "[ENV] -- COMMAND...",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "user", Aliases: []string{"u"}, Usage: "NAME, UID or UID:GID inside"},
			&cli.StringFlag{Name: "workdir", Aliases: []string{"w"}, Usage: "working directory inside"},
			&cli.GenericFlag{Name: "env", Aliases: []string{"e"}, Usage: "set NAME=VALUE", Value: given},
			&cli.BoolFlag{Name: "tty", Aliases: []string{"t"}, Usage: "give the command a terminal"},
			profileFlag(), backendFlag(),
		},
		Action: func(c *cli.Context) error {
			ref, err := p.optional(c, "ENV")
			if err != nil {
				return err
			}
			args, err := p.line.commandArgs()
			if err != nil {
				return usage(err)
			}
			env, err := variables(*given)
			if err != nil {
				return err
			}
			o := engine.SessionOptions{
				Args: args, User: c.String("user"), Cwd: c.String("workdir"), Env: env,
				Terminal: c.Bool("tty") && p.onTerminal(), Backend: c.String("backend"), Profile: c.String("profile"),
			}
			return p.session(func(o engine.SessionOptions) (backends.Exit, error) { return p.engine.Exec(p.ctx, ref, o) }, o)
		},
	}
}

// variables checks NAME=VALUE; NAME alone takes the caller's value.
func variables(list []string) ([]string, error) {
	out := make([]string, 0, len(list))
	for _, kv := range list {
		name, _, given := strings.Cut(kv, "=")
		if name == "" {
			return nil, usage(fmt.Errorf("--env %q has no name", kv))
		}
		if !given {
			kv = name + "=" + os.Getenv(name)
		}
		out = append(out, kv)
	}
	return out, nil
}

func (p *program) runCommand() *cli.Command {
	return &cli.Command{
		Name: "run", Usage: "run a command in a throw-away layer, building first if need be", ArgsUsage: "[MANIFEST or ENV] -- COMMAND...",
		Flags: append(buildFlags(),
			&cli.BoolFlag{Name: "ephemeral", Usage: "let nothing of the host in, unless the manifest says so"},
			profileFlag(), backendFlag()),
		Action: func(c *cli.Context) error {
			target, err := p.optional(c, "MANIFEST or ENV")
			if err != nil {
				return err
			}
			args, err := p.line.commandArgs()
			if err != nil {
				return usage(err)
			}
			o := engine.SessionOptions{Args: args, Backend: c.String("backend"), Profile: c.String("profile"), Isolated: c.Bool("ephemeral")}
			return p.session(func(o engine.SessionOptions) (backends.Exit, error) {
				return p.engine.Run(p.ctx, target, buildOptions(c, ""), o)
			}, o)
		},
	}
}

func (p *program) quickCommand() *cli.Command {
	return &cli.Command{
		Name: "quick", Usage: "manifest, build and enter in one go", ArgsUsage: "[IMAGE] [-- COMMAND...]",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "packages", Aliases: []string{"p"}, Usage: "packages, separated by commas"},
			&cli.BoolFlag{Name: "gpu", Usage: "let the graphics card in"},
			&cli.BoolFlag{Name: "audio", Usage: "let sound in"},
			&cli.StringFlag{Name: "name", Aliases: []string{"n"}, Usage: "name the environment"},
			&cli.BoolFlag{Name: "offline", Usage: "touch no network"},
			imageServerFlag(),
			backendFlag(),
		},
		Action: func(c *cli.Context) error {
			image, err := p.optional(c, "IMAGE")
			if err != nil {
				return err
			}
			r, err := p.engine.Quick(p.ctx, engine.QuickOptions{
				Image: image, Packages: c.StringSlice("packages"), GPU: c.Bool("gpu"), Audio: c.Bool("audio"), Name: c.String("name"), Offline: c.Bool("offline"),
			})
			if err != nil {
				return err
			}
			o := engine.SessionOptions{Args: p.line.after, Backend: c.String("backend"), Terminal: p.onTerminal() && len(p.line.after) == 0}
			return p.session(func(o engine.SessionOptions) (backends.Exit, error) { return p.engine.Exec(p.ctx, string(r.EnvID), o) }, o)
		},
	}
}

// session runs f with this program's standard streams and makes the command's exit code this program's.
func (p *program) session(f func(engine.SessionOptions) (backends.Exit, error), o engine.SessionOptions) error {
	o.Stdio = backends.Stdio{In: p.stdin, Out: p.stdout, Err: p.stderr}
	exit, err := f(o)
	if err != nil {
		return sessionError{err}
	}
	if code := exit.ShellCode(); code != 0 {
		return commandExit(code)
	}
	return nil
}

func (p *program) onTerminal() bool {
	for _, f := range []*os.File{p.stdin, p.stdout} {
		if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
			return false
		}
	}
	return true
}

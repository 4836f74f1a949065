package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/cmd/internal/engine"
)

// envRunCommand is for editors and scripts, which say the same thing wherever they are: it is exec that says nothing of its
// own, takes a terminal where there is one, begins in this directory or not at all, and inside of an environment runs the command there.
func (p *program) envRunCommand() *cli.Command {
	return &cli.Command{
		Name: "env-run", Usage: "run a command for an editor or a script: in this directory, quietly, with the command's exit code", ArgsUsage: "[ENV] -- COMMAND...",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "workdir", Aliases: []string{"w"}, Usage: "working directory inside"},
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
			if os.Getenv("KARAPACE_ENV") != "" && (ref == "" || ref == os.Getenv("KARAPACE_ENV")) {
				return p.runHere(args, c.String("workdir"))
			}
			p.quiet = true
			p.engine.Progress = p.progress()
			o := engine.SessionOptions{
				Args: args, Cwd: c.String("workdir"), SameDir: true, Terminal: p.onTerminal(),
				Backend: c.String("backend"), Profile: c.String("profile"),
			}
			return p.session(func(o engine.SessionOptions) (backends.Exit, error) { return p.engine.Exec(p.ctx, ref, o) }, o)
		},
	}
}

// runHere becomes a command, inside of the environment that it is to run in.
func (p *program) runHere(args []string, dir string) error {
	if dir != "" {
		if err := os.Chdir(dir); err != nil {
			return sessionError{err}
		}
	}
	path, err := exec.LookPath(args[0])
	if err == nil {
		err = syscall.Exec(path, args, os.Environ())
	}
	kind := backends.NotExecutable
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		kind = backends.NotFound
	}
	return sessionError{&backends.Error{Kind: kind, Op: "run " + args[0], Err: err}}
}

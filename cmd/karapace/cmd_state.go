package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"github.com/karapace/karapace/storage"
)

// stateChange is one of the engine's verbs that give an environment another state.
type stateChange func(ctx context.Context, ref string) (r *storage.Record, changed bool, err error)

func (p *program) freezeCommand() *cli.Command {
	return p.stateCommand("freeze", "let nothing be written to an environment's root", "frozen",
		func(ctx context.Context, ref string) (*storage.Record, bool, error) { return p.engine.Freeze(ctx, ref) })
}

func (p *program) unfreezeCommand() *cli.Command {
	return p.stateCommand("unfreeze", "let sessions write again", "not frozen",
		func(ctx context.Context, ref string) (*storage.Record, bool, error) {
			return p.engine.Unfreeze(ctx, ref)
		})
}

func (p *program) archiveCommand() *cli.Command {
	return p.stateCommand("archive", "keep an environment, and let nobody enter or change it", "archived",
		func(ctx context.Context, ref string) (*storage.Record, bool, error) {
			return p.engine.Archive(ctx, ref)
		})
}

func (p *program) unarchiveCommand() *cli.Command {
	return p.stateCommand("unarchive", "take an environment out of the archive", "not archived",
		func(ctx context.Context, ref string) (*storage.Record, bool, error) {
			return p.engine.Unarchive(ctx, ref)
		})
}

func (p *program) stateCommand(name, does, already string, change stateChange) *cli.Command {
	return &cli.Command{
		Name: name, Usage: does, ArgsUsage: "[ENV]",
		Action: p.working(func(c *cli.Context) error {
			ref, err := p.optional(c, "ENV")
			if err != nil {
				return err
			}
			r, changed, err := change(p.ctx, ref)
			if err != nil {
				return err
			}
			if p.json {
				return p.document(p.engine.Describe(r))
			}
			if changed {
				p.say("%s is %s", label(r.Name, r.EnvID.Short()), r.State)
			} else {
				p.say("%s was %s", label(r.Name, r.EnvID.Short()), already)
			}
			return nil
		}),
	}
}

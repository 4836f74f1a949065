package main

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/karapace/karapace/cmd/internal/engine"
)

func (p *program) verifyStoreCommand() *cli.Command {
	return &cli.Command{
		Name: "verify-store", Usage: "check every byte, record and reference in the store",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "repair", Usage: "mend what can be mended, and put the rest aside"},
			&cli.BoolFlag{Name: "offline", Usage: "touch no network"},
			buildBackendFlag(),
		},
		Action: p.working(func(c *cli.Context) error {
			if c.NArg() > 0 {
				return usage(fmt.Errorf("karapace verify-store takes no argument; karapace verify %s checks one environment", c.Args().First()))
			}
			report, err := p.engine.VerifyStore(p.ctx, engine.VerifyStoreOptions{Repair: c.Bool("repair"), Offline: c.Bool("offline"), Backend: c.String("build-backend")})
			if report == nil {
				return err
			}
			return errors.Join(p.storeReport(report), err)
		}),
	}
}

func (p *program) storeReport(r *engine.StoreReport) error {
	if p.json {
		return p.document(map[string]any{"checked": r.Checked, "bytes": r.Bytes, "failed": engine.Failed(r), "problems": r.Problems, "notes": r.Notes})
	}
	for _, n := range r.Notes {
		if p.verbose {
			p.say("note: %s", problemLine(n))
		}
	}
	for _, f := range r.Problems {
		p.say("%s\n  %s", problemLine(f), cmp.Or(f.Mended, f.Remedy))
	}
	left := engine.Failed(r)
	p.say("%s, %s: %s, %d mended, %s", engine.Count(r.Checked, "thing"), size(r.Bytes), engine.Count(left, "problem"), len(r.Problems)-left, engine.Count(len(r.Notes), "note"))
	return nil
}

// problemLine says what is wrong with what, and where.
func problemLine(f engine.StoreProblem) string {
	line := f.Kind
	if f.ID != "" {
		line += " " + shorten(f.ID)
	}
	if f.Path != "" {
		line += " (" + f.Path + ")"
	}
	return line + ": " + f.What
}

func (p *program) migrateCommand() *cli.Command {
	return &cli.Command{
		Name: "migrate", Usage: "bring the store to the version that this program knows",
		Action: p.working(func(c *cli.Context) error {
			if c.NArg() > 0 {
				return usage(errors.New("karapace migrate takes no argument"))
			}
			m, err := p.engine.Migrate(p.ctx)
			if err != nil {
				return err
			}
			if p.json {
				return p.document(m)
			}
			if m.From == m.To {
				p.say("nothing to do: the store is of version %d", m.To)
				return nil
			}
			p.say("migrated from version %d to %d; the records as they were are in %s", m.From, m.To, m.Backup)
			return nil
		}),
	}
}

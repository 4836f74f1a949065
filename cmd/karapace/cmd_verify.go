package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/karapace/karapace/cmd/internal/engine"
)

func (p *program) verifyCommand() *cli.Command {
	return &cli.Command{
		Name: "verify", Usage: "check every byte of an environment's layers", ArgsUsage: "[ENV]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "rebuild", Usage: "also build again from its lock, aside, and explain any difference"},
			&cli.BoolFlag{Name: "otherwise", Usage: "with --rebuild: under other circumstances, as lock --verify builds"},
			&cli.BoolFlag{Name: "offline", Usage: "touch no network"},
			buildBackendFlag(),
		},
		Action: p.working(func(c *cli.Context) error {
			ref, err := p.optional(c, "ENV")
			if err != nil {
				return err
			}
			if c.Bool("otherwise") && !c.Bool("rebuild") {
				return usage(errors.New("--otherwise goes with --rebuild"))
			}
			v, err := p.engine.Verify(p.ctx, ref, engine.VerifyOptions{
				Rebuild: c.Bool("rebuild"), Odd: c.Bool("otherwise"), Offline: c.Bool("offline"), Backend: c.String("build-backend"),
			})
			if v == nil {
				return err
			}
			return errors.Join(p.verified(v), err)
		}),
	}
}

func (p *program) verified(v *engine.Verification) error {
	if p.json {
		return p.document(map[string]any{
			"env_id": v.Record.EnvID, "short_id": v.Record.EnvID.Short(), "name": v.Record.Name, "layers": v.Layers, "differences": v.Differences,
			"varied": append([]string{}, v.Varied...),
		})
	}
	rows := [][]string{}
	for _, l := range v.Layers {
		rows = append(rows, []string{l.What, string(l.Digest), stored(l), rebuilt(l)})
	}
	if !p.quiet {
		if err := p.table(rows); err != nil {
			return err
		}
	}
	if len(v.Varied) > 0 {
		p.say("different in the second build were: %s", strings.Join(v.Varied, ", "))
	}
	return p.differences(v.Differences)
}

// stored says what is in the store instead of a layer.
func stored(l engine.VerifiedLayer) string {
	switch l.Found {
	case l.Digest:
		return "ok"
	case "":
		return "MISSING"
	}
	return "DAMAGED: it is now " + shorten(string(l.Found))
}

func rebuilt(l engine.VerifiedLayer) string {
	switch l.Rebuilt {
	case "":
		return ""
	case l.Digest:
		return "the same again"
	}
	return "OTHER: it became " + shorten(string(l.Rebuilt))
}

// shown is how many differences are printed for a person; --json has all.
const shown = 200

// differences prints in which paths two builds differ.
func (p *program) differences(all []engine.Difference) error {
	if len(all) == 0 {
		return nil
	}
	rows := [][]string{{"PATH", "WHAT DIFFERS", "PACKAGE", "WHY"}}
	for _, d := range all[:min(shown, len(all))] {
		rows = append(rows, []string{d.Path, d.Kind, dash(d.Package), dash(d.Cause)})
	}
	if err := p.table(rows); err != nil {
		return err
	}
	if len(all) > shown {
		p.say("%s", fmt.Sprintf("and %d more; --json lists all", len(all)-shown))
	}
	return nil
}

package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/karapace/karapace/cmd/internal/doctor"
	"github.com/karapace/karapace/cmd/internal/engine"
)

func (p *program) doctorCommand() *cli.Command {
	return &cli.Command{
		Name: "doctor", Usage: "check this host and the store, and say how to mend them",
		Action: p.working(func(c *cli.Context) error {
			if c.NArg() > 0 {
				return usage(fmt.Errorf("karapace doctor takes no argument"))
			}
			checks := p.engine.Doctor(p.ctx)
			if err := context.Cause(p.ctx); err != nil { // what was tried then says nothing about the host
				return err
			}
			if p.json {
				if err := p.document(checks); err != nil {
					return err
				}
			} else {
				p.checkup(checks)
			}
			if doctor.Unfit(checks) {
				return engine.ErrUnfit
			}
			return nil
		}),
	}
}

// checkup prints a line a check, and what to do below those that are not ok.
func (p *program) checkup(checks []doctor.Check) {
	const margin = "%-7s  %-17s  %s"
	for _, c := range checks {
		p.say(margin, c.Status, c.Name, c.Detail)
		if c.Status == doctor.OK {
			continue
		}
		p.say(margin, "", "", c.Meaning)
		if c.Fix != "" {
			p.say(margin, "", "", "> "+c.Fix)
		}
	}
}

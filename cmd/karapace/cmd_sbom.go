package main

import (
	"github.com/urfave/cli/v2"
)

func (p *program) sbomCommand() *cli.Command {
	return &cli.Command{
		Name: "sbom", Usage: "write the bill of materials of an environment, from its lock", ArgsUsage: "[ENV or LOCK]",
		Flags: []cli.Flag{&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Usage: "spdx (2.3) or cyclonedx (1.6), in JSON", Value: "spdx"}},
		Action: func(c *cli.Context) error {
			ref, err := p.optional(c, "ENV or LOCK")
			if err != nil {
				return err
			}
			text, err := p.engine.SBOM(ref, c.String("format"), version)
			if err != nil {
				return err
			}
			_, err = p.stdout.Write(text)
			return err
		},
	}
}

package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

func (p *program) backendsCommand() *cli.Command {
	return &cli.Command{
		Name: "backends", Usage: "show what can run environments here",
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return usage(fmt.Errorf("karapace backends takes no argument"))
			}
			all := p.engine.Backends(p.ctx)
			if p.json {
				return p.document(all)
			}
			rows := [][]string{{"BACKEND", "AVAILABLE", "VERSION", "PATH", "FEATURES", "WHY NOT"}}
			for _, b := range all {
				rows = append(rows, []string{b.Name, map[bool]string{true: "yes", false: "no"}[b.Available], dash(b.Version), dash(b.Path), dash(strings.Join(b.Features, " ")), b.Reason})
			}
			return p.table(rows)
		},
	}
}

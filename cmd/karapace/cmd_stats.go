package main

import (
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/karapace/karapace/cmd/internal/engine"
)

func (p *program) statsCommand() *cli.Command {
	return &cli.Command{
		Name: "stats", Usage: "show what running environments take of the machine", ArgsUsage: "[ENV]",
		Action: func(c *cli.Context) error {
			ref, err := p.optional(c, "ENV")
			if err != nil {
				return err
			}
			list, err := p.engine.Stats(ref)
			if err != nil && len(list) == 0 {
				return err
			}
			if p.json {
				if err := p.document(list); err != nil {
					return err
				}
			} else if err := p.statsTable(list); err != nil {
				return err
			}
			return err // of records that cannot be read, beside those that can
		},
	}
}

func (p *program) statsTable(list []engine.Stats) error {
	if len(list) == 0 {
		p.say("no environment is running")
		return nil
	}
	rows := [][]string{{"NAME", "ID", "CPU", "MEMORY", "LIMIT", "PROCESSES", "THREADS", "READ", "WRITTEN"}}
	for _, s := range list {
		known := func(what, text string) string {
			if s.From[what] == "" {
				return "-"
			}
			return text
		}
		limit := "-"
		if s.MemoryLimit != 0 {
			limit = size(s.MemoryLimit)
		}
		rows = append(rows, []string{
			dash(s.Name), s.ShortID, known("cpu", (time.Duration(s.CPU) * time.Microsecond).Round(10*time.Millisecond).String()),
			known("memory", size(s.Memory)), limit, fmt.Sprint(s.Processes), fmt.Sprint(s.Threads), known("io", size(s.Read)), known("io", size(s.Written)),
		})
	}
	return p.table(rows)
}

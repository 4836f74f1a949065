package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/cmd/internal/engine"
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

func (p *program) compareCommand() *cli.Command {
	return &cli.Command{
		Name: "compare", Usage: "run an environment on several backends and show what differs", ArgsUsage: "[ENV] [-- COMMAND...]",
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "backends", Usage: "backends, separated by commas; all that are available"},
			&cli.IntFlag{Name: "runs", Usage: "runs of each, for the times", Value: 5},
		},
		Action: p.working(func(c *cli.Context) error {
			ref, err := p.optional(c, "ENV")
			if err != nil {
				return err
			}
			res, err := p.engine.Compare(p.ctx, ref, engine.CompareOptions{Backends: c.StringSlice("backends"), Runs: c.Int("runs"), Args: p.line.after})
			if err != nil {
				return err
			}
			if p.json {
				return p.document(res)
			}
			return p.comparison(res)
		}),
	}
}

func (p *program) comparison(c *engine.BackendComparison) error {
	rows := [][]string{{"BACKEND", "VERSION", "START", "RUN", "STOP", "TOTAL"}}
	for _, b := range c.Backends {
		if b.Ran {
			t := b.Times
			rows = append(rows, []string{b.Name, dash(b.Version), millis(t.Start), millis(t.Run), millis(t.Stop), millis(t.Total())})
		}
	}
	if p.drawing() {
		rows = bars(rows, c.Backends, columns(p.stdout))
	}
	if err := p.table(rows); err != nil {
		return err
	}
	tell := func(format string, args ...any) { fmt.Fprintln(p.stdout, printable(fmt.Sprintf(format, args...))) }
	for _, b := range c.Backends {
		if !b.Ran {
			tell("%s did not run: %s", b.Name, b.Reason)
		}
	}
	tell("medians of %d runs; %d facts are the same, %d differ", c.Runs, c.Same, len(c.Differences))
	for _, d := range c.Differences {
		tell("%s: %s", d.Group, d.Name)
		for _, line := range byValue(c.Backends, d) {
			tell("  %s", line)
		}
	}
	return nil
}

func millis(ms float64) string { return fmt.Sprintf("%.1f ms", ms) }

// drawing tells whether results go to a terminal.
func (p *program) drawing() bool {
	_, err := unix.IoctlGetTermios(int(p.stdout.Fd()), unix.TCGETS)
	return err == nil && os.Getenv("TERM") != "dumb"
}

// bars adds a column of bars as long as the times, start #, run =, stop -, as wide as fits behind the others.
func bars(rows [][]string, all []engine.ComparedResult, columns int) [][]string {
	const widest, narrowest = 40, 10
	for i := range rows[0] {
		cell := 0
		for _, r := range rows {
			cell = max(cell, utf8.RuneCountInString(printable(r[i])))
		}
		columns -= cell + len("  ")
	}
	width := float64(max(narrowest, min(widest, columns-1)))
	longest := 0.0
	for _, b := range all {
		if b.Ran {
			longest = max(longest, b.Times.Total())
		}
	}
	rows[0] = append(rows[0], "# start  = run  - stop")
	i := 1
	for _, b := range all {
		if !b.Ran {
			continue
		}
		at, from := 0.0, 0
		bar := ""
		for _, phase := range []struct {
			mark string
			ms   float64
		}{{"#", b.Times.Start}, {"=", b.Times.Run}, {"-", b.Times.Stop}} {
			at += phase.ms
			to := from
			if longest > 0 {
				to = int(at/longest*width + 0.5)
			}
			bar += strings.Repeat(phase.mark, max(0, to-from))
			from = to
		}
		rows[i] = append(rows[i], bar)
		i++
	}
	return rows
}

// byValue are lines of a difference: backends with the same value share one.
func byValue(all []engine.ComparedResult, d engine.FactDifference) []string {
	var names, values []string
	for _, b := range all {
		if !b.Ran {
			continue
		}
		value := "not there"
		if v := d.Values[b.Name]; v != nil {
			value = oneLine(*v)
		}
		if i := slices.Index(values, value); i >= 0 {
			names[i] += ", " + b.Name
			continue
		}
		names, values = append(names, b.Name), append(values, value)
	}
	for i := range names {
		names[i] += ": " + values[i]
	}
	return names
}

// oneLine is a value on one line; that it is empty is to be seen.
func oneLine(v string) string {
	switch {
	case v == "":
		return "empty"
	case strings.ContainsAny(v, "\n\t\r"):
		return fmt.Sprintf("%q", v)
	}
	return v
}

package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// commandLine is what the user typed, taken apart so that flags may stand before and after arguments.
type commandLine struct {
	args    []string // for the cli package: program, global flags, command, its flags, its arguments
	after   []string // what stands behind the first "--"
	dashes  bool     // there was one
	command *cli.Command
	help    bool // of the program as a whole is asked for
}

// arrange takes argv apart. It knows every flag, so unknown ones, and values that are missing, are found here.
func arrange(app *cli.App, argv []string) (*commandLine, error) {
	l := &commandLine{}
	rest := argv[1:]
	for i, a := range rest {
		if a == "--" {
			l.after, l.dashes, rest = rest[i+1:], true, rest[:i]
			break
		}
	}
	var globals, flags, arguments []string
	for len(rest) > 0 {
		a := rest[0]
		rest = rest[1:]
		if len(a) < 2 || a[0] != '-' {
			if l.command == nil {
				if l.command = app.Command(a); l.command == nil {
					return nil, unknownCommand(app, a)
				}
				continue
			}
			arguments = append(arguments, a)
			continue
		}
		name, _, joined := strings.Cut(strings.TrimLeft(a, "-"), "=")
		flag, global := l.lookup(app, name)
		if flag == nil {
			return nil, l.unknownFlag(app, a)
		}
		taken := []string{a}
		if takesValue(flag) && !joined {
			if len(rest) == 0 {
				return nil, fmt.Errorf("flag %s needs a value", a)
			}
			taken = append(taken, rest[0])
			rest = rest[1:]
		}
		l.help = l.help || global && flag == cli.HelpFlag
		if global {
			globals = append(globals, taken...)
		} else {
			flags = append(flags, taken...)
		}
	}
	l.args = append([]string{argv[0]}, globals...)
	if l.command != nil {
		l.args = append(l.args, l.command.Name)
		l.args = append(append(l.args, flags...), arguments...)
	}
	return l, nil
}

// lookup finds a flag of the command, or else of the program.
func (l *commandLine) lookup(app *cli.App, name string) (flag cli.Flag, global bool) {
	if l.command != nil {
		if f := named(l.command.Flags, name); f != nil {
			return f, false
		}
		if name == "help" || name == "h" {
			return cli.HelpFlag, false
		}
	}
	if name == "help" || name == "h" {
		return cli.HelpFlag, true
	}
	return named(app.Flags, name), true
}

func named(flags []cli.Flag, name string) cli.Flag {
	for _, f := range flags {
		for _, n := range f.Names() {
			if n == name {
				return f
			}
		}
	}
	return nil
}

func takesValue(f cli.Flag) bool {
	d, ok := f.(cli.DocGenerationFlag)
	return ok && d.TakesValue()
}

func (l *commandLine) unknownFlag(app *cli.App, a string) error {
	if l.command == nil {
		return fmt.Errorf("unknown flag %s; see karapace --help", a)
	}
	return fmt.Errorf("unknown flag %s for karapace %s; see karapace %s --help", a, l.command.Name, l.command.Name)
}

func unknownCommand(app *cli.App, name string) error {
	best, bestDistance := "", 3
	for _, c := range app.Commands {
		if d := distance(name, c.Name); d < bestDistance {
			best, bestDistance = c.Name, d
		}
	}
	if best != "" {
		return fmt.Errorf("unknown command %q; did you mean %q?", name, best)
	}
	return fmt.Errorf("unknown command %q; see karapace --help", name)
}

// distance is how many insertions, deletions and substitutions lead from a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = min(diagonal, row[j], row[j+1]) + 1
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

// commandArgs is what stands behind "--"; arguments in front of it that nothing took are an error.
func (l *commandLine) commandArgs() ([]string, error) {
	if !l.dashes || len(l.after) == 0 {
		return nil, errors.New("no command to run: put it behind --, as in: karapace exec NAME -- ls -l")
	}
	return l.after, nil
}

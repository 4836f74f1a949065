package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// commandLine is what the user typed, taken apart so that flags may stand before and after arguments.
type commandLine struct {
	program   string
	globals   []string // flags of the program, by their first names
	command   *cli.Command
	flags     []string // of the command, by their first names
	arguments []string
	dashes    bool     // there is a "--"
	after     []string // what stands behind the first one
	help      bool     // is asked for
}

// args is the line as the cli package takes it.
func (l *commandLine) args() []string {
	args := append([]string{l.program}, l.globals...)
	if l.command != nil {
		args = append(append(append(args, l.command.Name), l.flags...), l.arguments...)
	}
	return args
}

// arrange takes argv apart. It knows every flag, so unknown ones, and values that are missing, are found here.
func (p *program) arrange(app *cli.App, argv []string) (*commandLine, error) {
	l := &commandLine{program: argv[0]}
	rest := argv[1:]
	asked := false // for help, by the word in the place of a command
	for i, a := range rest {
		if a == "--" {
			l.after, l.dashes, rest = rest[i+1:], true, rest[:i]
			break
		}
	}
	for len(rest) > 0 {
		a := rest[0]
		rest = rest[1:]
		if len(a) < 2 || a[0] != '-' {
			if l.command == nil {
				if a == "help" {
					asked = true
					continue
				}
				if l.command = p.command(a); l.command == nil {
					return nil, unknownCommand(a)
				}
				continue
			}
			l.arguments = append(l.arguments, a)
			continue
		}
		name, value, joined := strings.Cut(strings.TrimLeft(a, "-"), "=")
		flag, global := l.lookup(app, name)
		if flag == nil {
			return nil, l.unknownFlag(a)
		}
		first, _ := names(flag)
		taken := "--" + first
		if takesValue(flag) && !joined {
			if len(rest) == 0 && asked {
				break
			}
			if len(rest) == 0 {
				return nil, fmt.Errorf("flag %s needs a value", a)
			}
			value, rest, joined = rest[0], rest[1:], true
		}
		if joined {
			taken += "=" + value
		}
		l.help = l.help || flag == cli.HelpFlag
		if global {
			l.globals = append(l.globals, taken)
		} else {
			l.flags = append(l.flags, taken)
		}
	}
	if asked {
		l.askHelp()
	}
	return l, nil
}

// askHelp is what --help does behind all flags, of which none can take it for its value.
func (l *commandLine) askHelp() {
	l.help = true
	if l.command != nil {
		l.flags = append(l.flags, "--help")
	} else {
		l.globals = append(l.globals, "--help")
	}
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

func takesValue(f cli.Flag) bool {
	d, ok := f.(cli.DocGenerationFlag)
	return ok && d.TakesValue()
}

func (l *commandLine) unknownFlag(a string) error {
	if l.command == nil {
		return fmt.Errorf("unknown flag %s; see karapace --help", a)
	}
	if slices.Contains([]string{"-i", "-it", "-ti", "--interactive"}, a) && named(l.command.Flags, "tty") != nil {
		return fmt.Errorf("unknown flag %s for karapace %s: -t gives a terminal, and standard input passes through anyway", a, l.command.Name)
	}
	return fmt.Errorf("unknown flag %s for karapace %s; see karapace %s --help", a, l.command.Name, l.command.Name)
}

// elsewhere is what other tools' commands are here.
func elsewhere(name string) string {
	switch name {
	case "rm", "remove", "delete":
		return "karapace destroy removes an environment"
	case "ps":
		return "karapace list shows what runs"
	case "start", "shell", "attach":
		return "karapace enter opens a session, and starts the environment when it does not run"
	case "create", "init":
		return "karapace new writes a manifest, karapace build makes the environment of it"
	case "update", "upgrade":
		return "karapace lock --update takes what is new into the lock, karapace rebuild makes the environment of it"
	case "install":
		return "name packages in the manifest, or install them inside as everywhere, and take them into the manifest with karapace adopt"
	}
	return ""
}

func unknownCommand(name string) error {
	if here := elsewhere(name); here != "" {
		return fmt.Errorf("unknown command %q; %s", name, here)
	}
	best, bestDistance := "", 3
	for _, c := range commandTable() {
		if d := distance(name, c.name); d < bestDistance {
			best, bestDistance = c.name, d
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
		return nil, fmt.Errorf("no command to run: put it behind --, as in: karapace %s NAME -- ls -l", l.command.Name)
	}
	return l.after, nil
}

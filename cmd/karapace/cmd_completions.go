package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
)

// completeName is the command that completion scripts call, with the words of the line behind "--", the last one being the
// one to complete. It prints a candidate a line, what it is behind a tab, and for what a shell knows better :files or :commands.
const completeName = "__complete"

func (p *program) completionsCommand() *cli.Command {
	return &cli.Command{
		Name: "completions", Usage: "print what lets a shell complete commands, flags and names", ArgsUsage: "bash|zsh|fish|elvish|powershell",
		Action: func(c *cli.Context) error {
			name, err := p.argument(c, "bash, zsh, fish, elvish or powershell")
			if err != nil {
				return err
			}
			text, ok := completionScripts()[name]
			if !ok {
				return usage(fmt.Errorf("there are no completions for %s: it is bash, zsh, fish, elvish or powershell", name))
			}
			self, err := os.Executable()
			if err != nil {
				return err
			}
			_, err = p.stdout.WriteString(strings.ReplaceAll(text, "@SELF@", shellQuoted(name, self)))
			return err
		},
	}
}

func (p *program) completeCommand() *cli.Command {
	return &cli.Command{Name: completeName, Hidden: true, Action: func(*cli.Context) error {
		var text strings.Builder
		for _, c := range p.complete(p.line.after) {
			if c.value == "" || strings.ContainsFunc(c.value, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
				continue
			}
			about, _, _ := strings.Cut(c.about, "\n")
			text.WriteString(printable(c.value + "\t" + about + "\n"))
		}
		_, err := p.stdout.WriteString(text.String())
		return err
	}}
}

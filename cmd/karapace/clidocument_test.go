package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

var update = flag.Bool("update", false, "write docs/cli.md")

// What docs/cli.md says of commands is what they are: go test ./cmd/karapace -run TestCommandLineDocument -update
func TestCommandLineDocument(t *testing.T) {
	const file, begin, end = "../../docs/cli.md", "<!-- the commands, written by TestCommandLineDocument -->\n", "<!-- end of the commands -->\n"
	text, err := os.ReadFile(file)
	must(t, err)
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("the document has no place for the commands")
	}
	want := before + begin + commandsDocument(&program{}) + end + after
	if want == string(text) {
		return
	}
	if !*update {
		t.Fatal("it is not as the commands are: run this test with -update")
	}
	must(t, os.WriteFile(file, []byte(want), 0o644))
}

func commandsDocument(p *program) string {
	var b strings.Builder
	b.WriteString("\nOf every command:\n\n")
	optionsDocument(&b, p.app().Flags)
	for _, ch := range chapters() {
		fmt.Fprintf(&b, "## %s\n\n", ch.title)
		for _, d := range ch.commands {
			commandDocument(&b, p.command(d.name), d)
		}
	}
	return b.String()
}

func commandDocument(b *strings.Builder, c *cli.Command, d description) {
	options := ""
	if len(c.Flags) > 0 {
		options = " [options]"
	}
	fmt.Fprintf(b, "### `%s`\n\n    %s\n\n%s.", c.Name, strings.TrimSpace("karapace "+c.Name+options+" "+c.ArgsUsage), capital(c.Usage))
	if d.text != "" {
		b.WriteString(" " + d.text)
	}
	if d.see != "" {
		fmt.Fprintf(b, " See [%s](%s).", d.see, d.see)
	}
	b.WriteString("\n\n")
	optionsDocument(b, c.Flags)
}

func optionsDocument(b *strings.Builder, flags []cli.Flag) {
	head := "| option | |\n| --- | --- |\n"
	for _, f := range flags {
		first, others := names(f)
		d, ok := f.(cli.DocGenerationFlag)
		if !ok || first == "help" {
			continue
		}
		about := strings.ReplaceAll(d.GetUsage(), "`", "")
		value := ""
		if d.TakesValue() {
			value = " VALUE"
			if parts := strings.Split(d.GetUsage(), "`"); len(parts) == 3 {
				value = " " + parts[1]
			}
			if def := d.GetDefaultText(); def != "" && def != `""` {
				about += " (" + def + ")"
			}
		}
		for _, env := range d.GetEnvVars() {
			about += "; also `" + env + "`"
		}
		var all []string
		for _, name := range append([]string{first}, others...) {
			all = append(all, "`"+strings.Repeat("-", min(len(name), 2))+name+value+"`")
		}
		fmt.Fprintf(b, "%s| %s | %s |\n", head, strings.Join(all, ", "), strings.ReplaceAll(about, "|", `\|`))
		head = ""
	}
	if head == "" {
		b.WriteString("\n")
	}
}

// Every command is in one chapter.
func TestChapters(t *testing.T) {
	seen := map[string]int{}
	last := ""
	for _, ch := range chapters() {
		if ch.title < last {
			t.Errorf("help has %q before %q", ch.title, last)
		}
		last = ch.title
		for _, d := range ch.commands {
			seen[d.name]++
		}
	}
	for _, e := range commandTable() {
		if seen[e.name] != 1 {
			t.Errorf("%s is in %d chapters", e.name, seen[e.name])
		}
	}
	if len(seen) != len(commandTable()) {
		t.Errorf("%d commands are described, and there are %d", len(seen), len(commandTable()))
	}
}

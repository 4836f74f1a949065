package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/karapace/karapace/manifest"
)

type candidate struct{ value, about string }

// shellsOwn is a candidate that stands for what the shell completes by itself.
func shellsOwn(what string) []candidate { return []candidate{{":" + what, ""}} }

// complete gives what the last word may become.
func (p *program) complete(words []string) []candidate {
	if len(words) == 0 {
		return nil
	}
	cur, before := words[len(words)-1], words[:len(words)-1]
	l := p.typed(before)
	if l.store != "" {
		p.engine.StoreRoot = l.store
	}
	switch {
	case l.dashes:
		if len(l.after) == 0 {
			return shellsOwn("commands")
		}
		return shellsOwn("files")
	case l.waits != nil:
		return starting(cur, "", p.values(l, l.waits))
	}
	if name, value, joined := strings.Cut(cur, "="); joined && strings.HasPrefix(name, "-") {
		return starting(value, name+"=", p.values(l, l.flag(strings.TrimLeft(name, "-"))))
	}
	switch {
	case strings.HasPrefix(cur, "-"):
		return starting(cur, "", l.flagNames())
	case l.command == nil:
		return starting(cur, "", p.commandNames())
	}
	return starting(cur, "", p.arguments(l))
}

// starting keeps what begins with the word, and puts the prefix before each; what the shell does itself it filters itself.
func starting(word, prefix string, all []candidate) []candidate {
	var kept []candidate
	for _, c := range all {
		switch {
		case strings.HasPrefix(c.value, ":"):
			kept = append(kept, c)
		case strings.HasPrefix(c.value, word):
			kept = append(kept, candidate{prefix + c.value, c.about})
		}
	}
	return kept
}

// typedLine is what stands before the word to complete.
type typedLine struct {
	globals   []cli.Flag
	store     string // empty: as ever
	command   *cli.Command
	arguments []string
	waits     cli.Flag // the flag whose value comes next
	dashes    bool
	after     []string
}

func (l *typedLine) flag(name string) cli.Flag {
	if l.command != nil {
		if f := named(l.command.Flags, name); f != nil {
			return f
		}
	}
	return named(l.globals, name)
}

// typed understands as much of a line as there is.
func (p *program) typed(words []string) *typedLine {
	l := &typedLine{globals: p.app().Flags}
	for i := 0; i < len(words); i++ {
		w := words[i]
		switch {
		case w == "--":
			l.dashes, l.after = true, words[i+1:]
			return l
		case strings.HasPrefix(w, "-") && len(w) > 1:
			name, value, joined := strings.Cut(strings.TrimLeft(w, "-"), "=")
			f := l.flag(name)
			if f == nil || !takesValue(f) {
				continue
			}
			if !joined {
				if i++; i == len(words) {
					l.waits = f
					return l
				}
				value = words[i]
			}
			if first, _ := names(f); first == "store" {
				l.store = value
			}
		case l.command == nil:
			if l.command = p.command(w); l.command == nil {
				l.command = &cli.Command{}
			}
		default:
			l.arguments = append(l.arguments, w)
		}
	}
	return l
}

func (l *typedLine) flagNames() (all []candidate) {
	flags := l.globals
	if l.command != nil {
		flags = append(slices.Clone(l.command.Flags), flags...)
	}
	for _, f := range append(slices.Clone(flags), cli.HelpFlag) {
		first, _ := names(f)
		about := ""
		if d, ok := f.(cli.DocGenerationFlag); ok {
			about = strings.ReplaceAll(d.GetUsage(), "`", "")
		}
		all = append(all, candidate{"--" + first, about})
	}
	return all
}

func (p *program) commandNames() (all []candidate) {
	for _, e := range commandTable() {
		all = append(all, candidate{e.name, e.make(p).Usage})
	}
	return all
}

// values are what a flag may be given.
func (p *program) values(l *typedLine, f cli.Flag) []candidate {
	if f == nil {
		return nil
	}
	first, _ := names(f)
	switch first {
	case "backend", "build-backend", "backends":
		return fixed("namespace", "crun", "runc", "youki")
	case "profile":
		return fixed("desktop", "project", "isolated")
	case "color":
		return fixed("auto", "always", "never")
	case "template":
		return templateNames()
	case "compression":
		return fixed("none", "gzip", "zstd")
	case "format":
		return fixed("bundle", "oci", "docker-archive", "rootfs", "diff", "pod")
	case "snapshot":
		return p.snapshotNames(l)
	case "name", "message", "user", "packages", "tag", "image", "remote", "image-server", "time", "runs", "env", "shim", "mount-from":
		return nil
	}
	return shellsOwn("files")
}

func templateNames() (all []candidate) {
	for _, t := range manifest.Templates() {
		all = append(all, candidate{t.Name, t.Summary})
	}
	return all
}

func fixed(values ...string) (all []candidate) {
	for _, v := range values {
		all = append(all, candidate{v, ""})
	}
	return all
}

// arguments are what a command may be given next, as its usage says.
func (p *program) arguments(l *typedLine) []candidate {
	n := len(l.arguments)
	switch name := l.command.Name; {
	case name == "hook" && n == 0:
		return fixed("bash", "zsh", "fish")
	case name == "completions" && n == 0:
		return fixed("bash", "zsh", "fish", "elvish", "powershell")
	case name == "images" && n == 0:
		return fixed("rm")
	case name == "images" && n == 1:
		return p.imageNames()
	case name == "snapshots" && n == 0:
		return append(p.environmentNames(), candidate{"rm", "remove one"})
	case name == "snapshots" && l.arguments[0] == "rm" && n == 1:
		return p.environmentNames()
	case name == "snapshots" && l.arguments[0] == "rm" && n == 2, (name == "restore" || name == "diff") && n == 1:
		return p.snapshotNames(l)
	case (name == "export-app" || name == "unexport-app") && n > 0:
		return p.appNames(l.arguments[0], name == "unexport-app")
	case name == "run" && n == 0:
		return append(p.environmentNames(), shellsOwn("files")...)
	}
	usage := l.command.ArgsUsage
	switch {
	case n == 0 && strings.Contains(usage, "ENV"):
		return p.environmentNames()
	case n == 0 && strings.Contains(usage, "MANIFEST"):
		return shellsOwn("files")
	}
	return nil
}

func (p *program) environmentNames() (all []candidate) {
	envs, _ := p.engine.List()
	for _, e := range envs {
		name := e.Name
		if name == "" {
			name = e.ShortID
		}
		all = append(all, candidate{name, e.State + ", of " + e.BaseImage})
	}
	return all
}

// snapshotNames are those of the environment that the line names last.
func (p *program) snapshotNames(l *typedLine) (all []candidate) {
	if len(l.arguments) == 0 {
		return nil
	}
	_, list, err := p.engine.Snapshots(l.arguments[len(l.arguments)-1])
	if err != nil {
		return nil
	}
	for _, s := range list {
		all = append(all, candidate{short(string(s.Snapshot)), s.Message})
	}
	return append(all, candidate{"built", "as it was built"})
}

func (p *program) appNames(env string, exported bool) (all []candidate) {
	list, err := p.engine.Apps(p.ctx, env)
	if err != nil {
		return nil
	}
	for _, a := range list {
		if !exported || a.Exported != "" {
			all = append(all, candidate{a.App, a.Name})
		}
	}
	return all
}

func (p *program) imageNames() (all []candidate) {
	list, err := p.engine.Images()
	if err != nil {
		return nil
	}
	for _, i := range list {
		all = append(all, candidate{i.Image, ""})
	}
	return all
}

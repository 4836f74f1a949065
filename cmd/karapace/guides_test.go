package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/karapace/karapace/cmd/internal/testground"
)

// guideBlock is a fenced block of a document.
type guideBlock struct {
	title, kind string // of the section it is in, and what stands behind the fence
	lines       []string
}

func guideBlocks(t *testing.T, file string) []guideBlock {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", file))
	must(t, err)
	var all []guideBlock
	title, inside := "", false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		heading, isHeading := strings.CutPrefix(line, "## ")
		switch kind, fence := strings.CutPrefix(line, "```"); {
		case fence && !inside:
			all = append(all, guideBlock{title: title, kind: kind})
			inside = true
		case fence:
			inside = false
		case inside:
			all[len(all)-1].lines = append(all[len(all)-1].lines, line)
		case isHeading:
			title = heading
		}
	}
	return all
}

// commands are what is typed in the block, for a shell that shows it, and what is printed there.
func (b guideBlock) commands() (script, printed []string) {
	for _, line := range b.lines {
		if command, typed := strings.CutPrefix(line, "$ "); typed {
			script = append(script, "echo '+ '"+shellQuoted("sh", command), command)
		} else {
			printed = append(printed, line)
		}
	}
	return script, printed
}

// otherStore is that of another machine, below the home.
const otherStore = "beyond"

// follow runs a script as somebody who has just installed Karapace, and gives what is printed.
func follow(t *testing.T, script []string) string {
	t.Helper()
	home := t.TempDir()
	store := filepath.Join(home, ".local/share/karapace")
	vault := filepath.Join(store, "vault/sha256")
	t.Cleanup(func() {
		destroyStore(store)
		destroyStore(filepath.Join(home, otherStore))
	})
	must(t, copyFiles(filepath.Join(cacheDir(), "vault"), vault)) // what was fetched by an earlier run
	must(t, os.Chmod(store, 0o700))
	cmd := exec.Command("sh", "-c", "set -e\n"+strings.Join(script, "\n"))
	cmd.Dir = home
	cmd.Env = []string{"HOME=" + home, "PATH=" + binaries + ":" + os.Getenv("PATH"), "LC_ALL=C", "KARAPACE_STORE=" + store} // root's is elsewhere
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// The commands of the first guide work as they stand there, one after the other, in an empty home.
func TestGettingStarted(t *testing.T) {
	mayFollow(t)
	var script []string
	for _, b := range guideBlocks(t, "getting-started.md") {
		if b.kind != "console" {
			continue
		}
		commands, printed := b.commands()
		script = append(script, commands...)
		for _, line := range printed {
			t.Errorf("%q is no command", line)
		}
	}
	if len(script) < 40 {
		t.Fatalf("only %d commands were found", len(script)/2)
	}
	out := follow(t, script)
	for _, want := range []string{"/bin/sh: symbolic link", "/etc/motd", "a motd, and no wc", "wc (GNU coreutils)"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
}

func mayFollow(t *testing.T) {
	t.Helper()
	if followed() {
		t.Skip("the user who follows does")
	}
	if testing.Short() {
		t.Skip("installs packages of a distribution")
	}
}

// cookbookSetting is what a reader of the cookbook has before each block of commands of a section, as shell commands.
func cookbookSetting() map[string][]string {
	return map[string][]string{
		"A lock in git, for a team":          {"mkdir work; cd work; git init -q; printf 'test:\\n\\t@echo it is tested\\n' >Makefile"},
		"In CI":                              {""},
		"Offline, and behind an air gap":     {"", "KARAPACE_STORE=$HOME/" + otherStore, ""},
		"Build a .deb or .rpm, hermetically": {"KARAPACE_STORE=$HOME/.local/share/karapace\n" + debianSource},
		"A graphical program":                {""},
		"From distrobox or toolbox":          {"printf '[box]\\nimage=registry.example/team/work:1\\ninit_hooks=touch /etc/made\\n' >distrobox.ini", ""},
		"Try something, and take it back":    {"karapace exec work -u 0 -- touch /etc/made"},
	}
}

// debianSource makes the least source package.
const debianSource = `mkdir debian
printf 'hello (1.0) unstable; urgency=low\n\n  * Say hello.\n\n -- Nobody <nobody@localhost>  Thu, 01 Jan 2026 00:00:00 +0000\n' >debian/changelog
printf 'Source: hello\nMaintainer: Nobody <nobody@localhost>\nBuild-Depends: debhelper-compat (= 13)\n\nPackage: hello\nArchitecture: all\nDescription: says hello\n' >debian/control
printf '#!/usr/bin/make -f\n%%:\n\tdh $@\n' >debian/rules
chmod +x debian/rules`

// The recipes of the cookbook work as they stand there, with a registry on loopback in place of registry.example. Of the packages that
// a template names, no more are installed than the recipes use.
func TestCookbook(t *testing.T) {
	mayFollow(t)
	addr, stop, err := testground.ServeRegistry(t.TempDir())
	must(t, err)
	defer stop()
	var script, wanted []string
	setting := cookbookSetting()
	for _, b := range guideBlocks(t, "cookbook.md") {
		switch b.kind {
		case "toml":
			name := strings.TrimPrefix(b.lines[0], "# ")
			if filepath.Ext(name) != ".toml" {
				t.Fatalf("%s: the first line of the manifest does not name it", b.title)
			}
			directory := strings.TrimSuffix(name, ".toml")
			script = append(script, "mkdir ~/"+directory+"; cd ~/"+directory, "cat >"+name+" <<'END'\n"+strings.Join(b.lines, "\n")+"\nEND")
		case "console":
			before := setting[b.title]
			if len(before) == 0 {
				t.Fatalf("%s has more commands than this test knows", b.title)
			}
			setting[b.title] = before[1:]
			commands, printed := b.commands()
			script = append(append(script, before[0]), commands...)
			wanted = append(wanted, printed...)
		}
	}
	for title, left := range setting {
		if len(left) > 0 {
			t.Errorf("%s has fewer commands than this test knows", title)
		}
	}
	text := strings.ReplaceAll(strings.Join(script, "\n"), "registry.example", addr)
	text = strings.Replace(text, "--template dev", `--template dev; sed -i '/^packages/,/^]/c packages = ["make"]' karapace.toml`, 1)
	out := follow(t, strings.Split(text, "\n"))
	for _, want := range append(wanted, "it is tested", "hello_1.0_all.deb", "geany.desktop") {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
}

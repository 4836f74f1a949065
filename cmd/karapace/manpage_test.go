package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The manual has a page for every command and both formats, and mandoc has nothing to say against any.
func TestManPages(t *testing.T) {
	p := &program{}
	pages, err := p.manPages()
	must(t, err)
	dir := t.TempDir()
	must(t, writePages(dir, pages))
	if want := len(commandTable()) + 3; len(pages) != want {
		t.Errorf("%d pages, want %d", len(pages), want)
	}
	index := exec.Command("/usr/sbin/makewhatis", dir) // for references
	if out, err := index.CombinedOutput(); err != nil {
		t.Errorf("makewhatis, which hack/setup tests installs with mandoc: %v\n%s", err, out)
	}
	lint := exec.Command("mandoc", "-T", "lint", "-W", "style")
	files, err := filepath.Glob(filepath.Join(dir, "man?", "*"))
	must(t, err)
	lint.Args = append(lint.Args, files...)
	lint.Env = append(os.Environ(), "MANPATH="+dir)
	if out, err := lint.CombinedOutput(); err != nil {
		t.Errorf("mandoc, which hack/setup tests installs: %v\n%s", err, out)
	}
	out, err := exec.Command("mandoc", "-T", "utf8", filepath.Join(dir, "man1", "karapace-export.1")).Output()
	must(t, err)
	plain := regexp.MustCompile(".\x08").ReplaceAllString(string(out), "")
	for _, want := range []string{"karapace-export", "--compression", "-f value", "[ENV] --format FORMAT -o PATH [-- COMMAND...]"} {
		if !strings.Contains(plain, want) {
			t.Errorf("the page of export lacks %q:\n%s", want, plain)
		}
	}
}

// The pages of the formats have every key that the documents of the formats have.
func TestManPagesHaveKeys(t *testing.T) {
	for page, doc := range map[string]string{"karapace.toml.5": "manifest-spec.md", "karapace.lock.5": "lock-spec.md"} {
		text, err := formatPages.ReadFile("man/" + page)
		must(t, err)
		spec, err := os.ReadFile(filepath.Join("..", "..", "docs", doc))
		must(t, err)
		keys := 0
		for line := range strings.Lines(string(spec)) {
			if strings.HasPrefix(line, "## Configuration") { // another file's
				break
			}
			cells := strings.SplitN(line, "|", 3)
			if len(cells) != 3 || !strings.HasPrefix(cells[1], " `") {
				continue
			}
			for _, m := range regexp.MustCompile("`(?:\\[[a-z._]+\\] )?([a-z][a-z0-9_-]*)`").FindAllStringSubmatch(cells[1], -1) {
				keys++
				if !regexp.MustCompile(`\b`+m[1]+`\b`).Match(text) && !isForm(m[1]) {
					t.Errorf("%s lacks %s", page, m[1])
				}
			}
		}
		if keys < 15 {
			t.Errorf("%d keys in %s", keys, doc)
		}
	}
}

// isForm says that a name in the first column of a table is no key but a form of a base image.
func isForm(name string) bool {
	return name == "debian" || name == "rolling" || name == "tumbleweed" || name == "leap"
}

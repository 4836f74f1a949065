package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Links between documents lead to files that are there.
func TestDocumentLinks(t *testing.T) {
	top := filepath.Join("..", "..")
	files, err := filepath.Glob(filepath.Join(top, "docs", "*.md"))
	must(t, err)
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	for _, file := range append(files, filepath.Join(top, "README.md")) {
		text, err := os.ReadFile(file)
		must(t, err)
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), m[1])); err != nil {
				t.Errorf("%s leads to %s, which is not there", filepath.Base(file), m[1])
			}
		}
	}
}

// docs/cli.md has every command and every flag.
func TestDocumentedCommands(t *testing.T) {
	text, err := os.ReadFile("../../docs/cli.md")
	must(t, err)
	doc := string(text)
	p := &program{}
	for _, f := range p.app().Flags {
		if first, _ := names(f); !strings.Contains(doc, "--"+first) {
			t.Errorf("--%s is not there", first)
		}
	}
	for _, e := range commandTable() {
		if !regexp.MustCompile("`" + e.name + "[` ]").MatchString(doc) {
			t.Errorf("%s is not there", e.name)
		}
		for _, f := range e.make(p).Flags {
			first, _ := names(f)
			if !strings.Contains(doc, "--"+first) {
				t.Errorf("--%s of %s is not there", first, e.name)
			}
		}
	}
}

package main

import (
	"cmp"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/storage"
)

// formatPages are the pages of the file formats. Those of the commands are made of the commands themselves.
//
//go:embed man/*.5
var formatPages embed.FS

// manDate is the date of the pages, which are the same whenever they are written.
const manDate = "November 26, 2026"

func (p *program) manPagesCommand() *cli.Command {
	return &cli.Command{
		Name: "man-pages", Usage: "write the manual pages, below ~/.local/share/man or another directory", ArgsUsage: "[DIR]",
		Action: func(c *cli.Context) error {
			dir, err := p.optional(c, "DIR")
			if err != nil {
				return err
			}
			pages, err := p.manPages()
			if err == nil {
				dir = cmp.Or(dir, p.ownManual())
				err = writePages(dir, pages)
			}
			if err != nil {
				return failure.New(failure.General, fmt.Errorf("write the manual: %w", err), "name a directory that may be written to: karapace man-pages DIR")
			}
			p.say("%d manual pages in %s", len(pages), printable(dir))
			return nil
		},
	}
}

// ownManual is where man looks for the user's own pages.
func (p *program) ownManual() string {
	data := os.Getenv("XDG_DATA_HOME")
	if !filepath.IsAbs(data) {
		data = filepath.Join(p.engine.User.Home, ".local", "share")
	}
	return filepath.Join(data, "man")
}

func writePages(dir string, pages map[string]string) error {
	for name, text := range pages {
		section := filepath.Join(dir, "man"+strings.TrimPrefix(filepath.Ext(name), "."))
		if err := os.MkdirAll(section, 0o755); err != nil {
			return err
		}
		if err := storage.WriteDocument(filepath.Join(section, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// manPages are all pages, by the names of their files.
func (p *program) manPages() (map[string]string, error) {
	pages := map[string]string{"karapace.1": p.mainPage()}
	for _, c := range p.commands() {
		pages["karapace-"+c.Name+".1"] = commandPage(c)
	}
	entries, err := formatPages.ReadDir("man")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		text, err := formatPages.ReadFile("man/" + e.Name())
		if err != nil {
			return nil, err
		}
		pages[e.Name()] = strings.Replace(string(text), "@DATE@", manDate, 1)
	}
	return pages, nil
}

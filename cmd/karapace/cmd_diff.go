package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"github.com/karapace/karapace/cmd/internal/engine"
)

func (p *program) diffCommand() *cli.Command {
	return &cli.Command{
		Name: "diff", Usage: "show what was changed in an environment", ArgsUsage: "[ENV [SNAPSHOT|built]]",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "packages", Aliases: []string{"p"}, Usage: "in packages, not in paths"}},
		Action: p.working(func(c *cli.Context) error {
			ref, snapshot := c.Args().Get(0), c.Args().Get(1)
			switch {
			case c.NArg() > 2:
				return usage(fmt.Errorf("karapace diff takes ENV and SNAPSHOT, and got %d arguments", c.NArg()))
			case c.Bool("packages"):
				return p.diffPackages(ref, snapshot)
			case p.json:
				return p.diffDocument(ref, snapshot)
			}
			return p.diffLines(ref, snapshot)
		}),
	}
}

// diffDocument prints the JSON document, which wants its arrays one after the other.
func (p *program) diffDocument(ref, snapshot string) error {
	all := map[string][]changeDocument{"+": {}, "~": {}, "-": {}}
	compared, err := p.engine.Diff(p.ctx, ref, snapshot, func(c engine.Change) error {
		all[c.Op] = append(all[c.Op], newChangeDocument(c))
		return nil
	})
	if err != nil {
		return err
	}
	r := compared.Record
	return p.document(map[string]any{
		"env_id": r.EnvID, "short_id": r.EnvID.Short(), "name": r.Name, "snapshot": compared.Snapshot, "has_drift": len(all["+"])+len(all["~"])+len(all["-"]) > 0,
		"added": all["+"], "modified": all["~"], "removed": all["-"],
	})
}

type changeDocument struct {
	Path    string   `json:"path"`
	Bytes   []byte   `json:"path_base64,omitempty"` // when the path is no UTF-8
	Kind    string   `json:"kind"`
	Size    int64    `json:"size"`
	Link    string   `json:"link,omitempty"`
	Changes []string `json:"changes,omitempty"`
	OldKind string   `json:"old_kind,omitempty"`
	OldSize *int64   `json:"old_size,omitempty"`
}

func newChangeDocument(c engine.Change) changeDocument {
	d := changeDocument{Path: c.Path, Kind: c.Kind, Size: c.Size, Link: c.Link, Changes: c.What, OldKind: c.OldKind}
	if !utf8.ValidString(c.Path) {
		d.Bytes = []byte(c.Path)
	}
	if c.Op == "~" {
		d.OldSize = &c.OldSize
	}
	return d
}

// tally counts changes of one kind.
type tally struct {
	paths int
	bytes int64 // of contents
}

func (p *program) diffLines(ref, snapshot string) error {
	out := bufio.NewWriterSize(p.stdout, 64<<10)
	tallies := map[string]*tally{"+": {}, "~": {}, "-": {}}
	compared, err := p.engine.Diff(p.ctx, ref, snapshot, func(c engine.Change) error {
		t := tallies[c.Op]
		t.paths++
		if c.Op != "~" || slices.Contains(c.What, "content") || slices.Contains(c.What, "type") {
			t.bytes += c.Size
		}
		return changeLine(out, c)
	})
	if err = errors.Join(err, out.Flush()); err != nil {
		return err
	}
	p.diffSummary(compared, tallies)
	return nil
}

func (p *program) diffSummary(c *engine.Comparison, tallies map[string]*tally) {
	var parts []string
	for _, k := range []struct{ op, word string }{{"+", "added"}, {"~", "modified"}, {"-", "removed"}} {
		if t := tallies[k.op]; t.paths > 0 {
			part := fmt.Sprintf("%d %s", t.paths, k.word)
			if t.bytes > 0 {
				part += " (" + size(t.bytes) + ")"
			}
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 {
		p.say("%s is as %s left it", label(c.Record.Name, c.Record.EnvID.Short()), c.State())
		return
	}
	p.say("%s", strings.Join(parts, ", "))
}

// changeLine writes a change as a line. A path that could be mistaken for something else is quoted.
func changeLine(w io.Writer, c engine.Change) error {
	path := safePath(c.Path)
	if c.Kind == "directory" && len(c.Path) > 1 {
		path = safePath(c.Path + "/")
	}
	var notes []string
	switch {
	case len(c.What) > 0 && c.What[0] == "type":
		notes = append(notes, c.Kind+", was "+c.OldKind)
	case len(c.What) > 0:
		notes = append(notes, strings.Join(c.What, ", "))
	case c.Kind == "hardlink":
		notes = append(notes, "hard link of "+safePath(c.Link))
	case c.Kind != "file" && c.Kind != "directory":
		notes = append(notes, c.Kind)
	}
	switch {
	case slices.Contains(c.What, "content") && c.Size != c.OldSize:
		notes = append(notes, size(c.OldSize)+" -> "+size(c.Size))
	case c.Kind == "file" && c.Op != "~":
		notes = append(notes, size(c.Size))
	}
	line := c.Op + " " + path
	if len(notes) > 0 {
		line += "  " + strings.Join(notes, "; ")
	}
	_, err := io.WriteString(w, line+"\n")
	return err
}

// safePath quotes what is not printed as it is.
func safePath(path string) string {
	if plain(path) {
		return path
	}
	if quoted := strconv.Quote(path); len(quoted) != len(path)+2 || spaced(path) {
		return quoted
	}
	return path
}

// plain is the quick answer for most paths.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return !spaced(s)
}

// spaced tells whether a path has spaces like those between it and what is said of it.
func spaced(s string) bool {
	return strings.Contains(s, "  ") || strings.HasPrefix(s, " ") || strings.HasSuffix(s, " ")
}

func (p *program) diffPackages(ref, snapshot string) error {
	d, err := p.engine.DiffPackages(p.ctx, ref, snapshot)
	if err != nil {
		return err
	}
	r := d.Record
	if p.json {
		return p.document(map[string]any{
			"env_id": r.EnvID, "short_id": r.EnvID.Short(), "name": r.Name, "snapshot": d.Snapshot, "manager": d.Manager, "has_drift": len(d.Packages) > 0,
			"packages": packageDocuments(d.Packages),
		})
	}
	name := label(r.Name, r.EnvID.Short())
	if len(d.Packages) == 0 {
		p.say("the packages of %s are as %s left them", name, d.State())
		return nil
	}
	rows, adoptable := [][]string{{"PACKAGE", "ARCH", "OLD", "NEW", "CHANGE"}}, false
	for _, c := range d.Packages {
		what := c.Change
		if c.Change == "installed" && c.Explicit {
			what, adoptable = "installed by name", true
		}
		rows = append(rows, []string{c.Name, c.Arch, dash(c.Old), dash(c.New), what})
	}
	if err := p.table(rows); err != nil {
		return err
	}
	if adoptable {
		p.say("karapace adopt %s adds what was installed by name to the manifest", name)
	}
	return nil
}

func packageDocuments(all []engine.PackageChange) any {
	type document struct {
		Name     string `json:"name"`
		Arch     string `json:"arch"`
		Change   string `json:"change"`
		Old      string `json:"old"`
		New      string `json:"new"`
		Explicit bool   `json:"explicit"`
	}
	out := []document{}
	for _, c := range all {
		out = append(out, document{c.Name, c.Arch, c.Change, c.Old, c.New, c.Explicit})
	}
	return out
}

func (p *program) adoptCommand() *cli.Command {
	return &cli.Command{
		Name: "adopt", Usage: "add packages that were installed by hand to the manifest and its lock", ArgsUsage: "[ENV]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "only tell"},
			&cli.BoolFlag{Name: "offline", Usage: "touch no network"},
			buildBackendFlag(),
		},
		Action: p.working(func(c *cli.Context) error {
			ref, err := p.optional(c, "ENV")
			if err != nil {
				return err
			}
			o := engine.AdoptOptions{DryRun: c.Bool("dry-run"), Offline: c.Bool("offline"), Backend: c.String("build-backend")}
			res, err := p.engine.Adopt(p.ctx, ref, o)
			if err != nil {
				return err
			}
			return p.adopted(res, o)
		}),
	}
}

func (p *program) adopted(res *engine.AdoptResult, o engine.AdoptOptions) error {
	if p.json {
		return p.document(adoptDocument(res, o))
	}
	for _, name := range res.Foreign {
		p.progress().Note(name + " is left out: manifests name packages of the system's own architecture")
	}
	file := p.relative(res.File)
	if len(res.Packages)+len(res.Unlocked) == 0 {
		p.say("nothing to adopt: no package was installed by name that %s has not", file)
		return nil
	}
	added, locked := "added to %s: %s", "in %s already, but not in its lock until now: %s"
	if o.DryRun {
		added, locked = "would add to %s: %s", "in %s already, but not in its lock: %s"
	}
	if len(res.Packages) > 0 {
		p.say(added, file, strings.Join(res.Packages, " "))
	}
	if len(res.Unlocked) > 0 {
		p.say(locked, file, strings.Join(res.Unlocked, " "))
	}
	if o.DryRun {
		return nil
	}
	if err := p.locked(res.Lock, engine.LockOptions{Update: true}); err != nil {
		return err
	}
	if name := res.Record.Name; name != "" {
		p.say("karapace rebuild %s --name %s --force makes the environment anew with them, without what else was changed in it", file, name)
	} else {
		p.say("karapace build %s makes an environment with them", file)
	}
	return nil
}

func adoptDocument(res *engine.AdoptResult, o engine.AdoptOptions) any {
	doc := map[string]any{
		"env_id": res.Record.EnvID, "short_id": res.Record.EnvID.Short(), "name": res.Record.Name, "manifest": res.File, "dry_run": o.DryRun,
		"packages": append([]string{}, res.Packages...), "unlocked": append([]string{}, res.Unlocked...), "foreign": append([]string{}, res.Foreign...),
	}
	if res.Lock != nil {
		doc["lock"] = lockDocument(res.Lock)
	}
	return doc
}

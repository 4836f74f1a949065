package builder

import (
	"context"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/integration/desktop"
	"github.com/karapace/karapace/manifest/distro"
	"github.com/karapace/karapace/storage/rootview"
)

// bounds of what an environment may offer
const (
	maxEntries  = 4096     // in one directory
	maxExported = 64       // applications at once
	maxIconSum  = 16 << 20 // bytes of all icons in one answer
)

// applications are where desktop entries lie, the most important first.
func applications() []string {
	return []string{"/usr/local/share/applications", "/usr/share/applications"}
}

// idForm is what desktop file ids may be here: they become file names on the host.
var idForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.+@-]{0,127}$`)

// entry is a desktop entry of an environment.
type entry struct {
	wire.App
	path   string
	parsed *desktop.Entry
}

// apps finds applications of an environment without mounting it, unless its package manager has to run for that.
func (w *worker) apps(ctx context.Context, req *wire.Apps) (*wire.AppsResult, error) {
	r, err := w.store.Record(req.EnvID)
	if err != nil {
		return nil, failure.New(failure.Store, err, "")
	}
	dirs := w.stacks(r, r.Current).Now
	view := rootview.New(dirs...)
	if req.Program != "" {
		return program(view, req.Program), nil
	}
	all := entries(view)
	res := &wire.AppsResult{}
	if len(req.Names) == 0 {
		for _, e := range all {
			res.Apps = append(res.Apps, e.App)
		}
		return res, nil
	}
	var chosen []entry
	for _, name := range req.Names {
		found := byID(all, name)
		if len(found) == 0 && req.Packages != nil {
			if found, err = w.byPackage(ctx, dirs, req.Packages, all, name); err != nil {
				return nil, err
			}
		}
		if len(found) == 0 {
			res.Missing = append(res.Missing, name)
		}
		for _, e := range found {
			e.For = name
			chosen = append(chosen, e)
		}
	}
	if len(chosen) > maxExported {
		return nil, failure.New(failure.General, fmt.Errorf("%d applications are more than can be exported at once (%d)", len(chosen), maxExported), "name some of them")
	}
	room := maxIconSum
	for _, e := range chosen {
		e.Icons = findIcons(view, e.parsed.Icon(), &room)
		res.Apps = append(res.Apps, e.App)
	}
	return res, nil
}

// program looks for a program where sessions look for it.
func program(v rootview.View, name string) *wire.AppsResult {
	for _, dir := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/games"} {
		if m, err := v.Mode(path.Join(dir, name)); err == nil && m.IsRegular() && m&0o111 != 0 {
			return &wire.AppsResult{}
		}
	}
	return &wire.AppsResult{Missing: []string{name}}
}

// entries lists the applications by their ids. What is no valid entry is none.
func entries(v rootview.View) (all []entry) {
	seen := map[string]bool{}
	for _, dir := range applications() {
		names, err := v.ReadDir(dir, maxEntries)
		if err != nil {
			continue
		}
		for _, n := range names {
			id, ok := strings.CutSuffix(n, ".desktop")
			if !ok || !idForm.MatchString(id) || seen[id] {
				continue
			}
			seen[id] = true
			file := path.Join(dir, n)
			text, err := readFrom(v, file, desktop.Limit)
			if err != nil {
				continue
			}
			parsed, err := desktop.Parse(text)
			if err != nil || !parsed.Application() {
				continue
			}
			all = append(all, entry{App: wire.App{ID: id, Name: parsed.Name(), Shown: parsed.Shown(), Text: text}, path: file, parsed: parsed})
		}
	}
	slices.SortFunc(all, func(a, b entry) int { return strings.Compare(a.ID, b.ID) })
	return all
}

func readFrom(v rootview.View, name string, limit int64) ([]byte, error) {
	f, err := v.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return b, err
}

// byID finds the application of an id.
func byID(all []entry, name string) []entry {
	name = strings.TrimSuffix(name, ".desktop")
	for _, e := range all {
		if e.ID == name {
			return []entry{e}
		}
	}
	return nil
}

// byPackage finds the applications that menus show of a package, in a throw-away layer on the environment.
func (w *worker) byPackage(ctx context.Context, dirs []string, lock *wire.Build, all []entry, name string) (found []entry, err error) {
	b, err := w.newBuild(lock)
	if err != nil {
		return nil, err
	}
	paths := make([]string, len(all))
	for i, e := range all {
		paths[i] = e.path
	}
	err = b.onLayers("apps", strings.Join(dirs, ":"), func(sb *sandbox, _ string) error {
		m, err := b.manager(sb)
		owner, ok := m.(distro.Owner)
		if err != nil || !ok {
			return nil // nobody knows packages here; ids are still known
		}
		owners, err := owner.Owners(ctx, sb, paths)
		if err != nil {
			return failure.New(failure.General, err, "")
		}
		for _, e := range all {
			if e.Shown && owners[e.path] == name {
				found = append(found, e)
			}
		}
		return nil
	})
	return found, err
}

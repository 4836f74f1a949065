package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
)

// App is an application of an environment.
type App struct {
	App      string `json:"app"`  // desktop file id, or with Kind "program" its name
	Name     string `json:"name"` // what people call it
	Kind     string `json:"kind"` // "menu" or "program"
	EnvID    string `json:"env_id"`
	Env      string `json:"env"`      // name or short id
	Exported string `json:"exported"` // the file on the host; empty when there is none
}

// ExportApp puts applications of an environment into the host's menu: those of a desktop file id or a package, and without
// a name those of the manifest's [gui] apps.
func (e *Engine) ExportApp(ctx context.Context, ref string, names []string) ([]App, error) {
	s, r, err := e.find(ref)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		names = r.Apps
	}
	if len(names) == 0 {
		return nil, failure.New(failure.Usage, fmt.Errorf("environment %s has no [gui] apps, and no application is named", displayName(r)), "karapace apps "+displayName(r)+" shows what there is")
	}
	list, missing, err := e.exportApps(ctx, s, r, names)
	if err == nil && len(missing) > 0 {
		err = failure.New(failure.General, fmt.Errorf("environment %s has no application and no package with one called %s", displayName(r), strings.Join(missing, ", ")),
			"karapace apps "+displayName(r)+" shows what there is; --bin is for programs without a menu entry")
	}
	return list, err
}

func (e *Engine) exportApps(ctx context.Context, s *storage.Store, r *storage.Record, names []string) (list []App, missing []string, err error) {
	if err := allow(r, storage.Enter, false); err != nil {
		return nil, nil, err
	}
	lock, err := e.fromEnvironment(ctx, s, r)
	if err != nil {
		return nil, nil, err
	}
	var res wire.AppsResult
	if err := e.call(ctx, s, wire.Request{Apps: &wire.Apps{EnvID: r.EnvID, Names: names, Packages: lock}}, &res); err != nil {
		return nil, nil, err
	}
	m := e.menu(s)
	for _, a := range res.Apps {
		file, err := m.put(r, a)
		if err != nil {
			return list, nil, failure.New(failure.General, fmt.Errorf("export %s of environment %s: %w", a.ID, displayName(r), err), "")
		}
		list = append(list, App{App: a.ID, Name: a.Name, Kind: "menu", EnvID: string(r.EnvID), Env: displayName(r), Exported: file})
	}
	m.refresh(ctx)
	return list, res.Missing, nil
}

// ExportProgram puts a wrapper for a program of an environment into the user's directory of programs.
func (e *Engine) ExportProgram(ctx context.Context, ref, name string) (*App, error) {
	s, r, err := e.find(ref)
	if err != nil {
		return nil, err
	}
	if !programForm().MatchString(name) {
		return nil, failure.New(failure.Usage, fmt.Errorf("%s cannot be the name of a program", quoted(name)), "")
	}
	var res wire.AppsResult
	if err := e.call(ctx, s, wire.Request{Apps: &wire.Apps{EnvID: r.EnvID, Program: name}}, &res); err != nil {
		return nil, err
	}
	if len(res.Missing) > 0 {
		return nil, failure.New(failure.General, fmt.Errorf("environment %s has no program %s", displayName(r), name), "if a package brings it: name that under [system] packages, then karapace rebuild")
	}
	file, err := e.menu(s).putProgram(r, name)
	if err != nil {
		return nil, failure.New(failure.General, fmt.Errorf("export program %s of environment %s: %w", name, displayName(r), err), "")
	}
	return &App{App: name, Name: name, Kind: "program", EnvID: string(r.EnvID), Env: displayName(r), Exported: file}, nil
}

// UnexportApp takes what an environment has exported from the host: the application or program of a name, or everything.
func (e *Engine) UnexportApp(ctx context.Context, ref, name string, bin bool) ([]App, error) {
	s, r, err := e.find(ref)
	if err != nil {
		return nil, err
	}
	m := e.menu(s)
	var gone []App
	for _, x := range m.exported() {
		if x.Env != string(r.EnvID) || name != "" && (x.App != strings.TrimSuffix(name, ".desktop") || x.program != bin) {
			continue
		}
		if err := m.remove(x); err != nil {
			return gone, failure.New(failure.General, err, "")
		}
		gone = append(gone, x.app(displayName(r)))
	}
	if name != "" && len(gone) == 0 {
		return nil, failure.New(failure.General, fmt.Errorf("environment %s has not exported %s", displayName(r), name), "karapace apps "+displayName(r)+" shows what it has")
	}
	m.refresh(ctx)
	return gone, nil
}

// Apps lists what an environment can export and has exported; without an environment, what all have exported.
func (e *Engine) Apps(ctx context.Context, ref string) ([]App, error) {
	if ref == "" {
		s, err := e.store()
		if errors.Is(err, storage.ErrNoStore) {
			return e.orphans(), nil
		}
		if err != nil {
			return nil, err
		}
		e.prune(ctx, s)
		return e.allExported(s), nil
	}
	s, r, err := e.find(ref)
	if err != nil {
		return nil, err
	}
	var res wire.AppsResult
	if err := e.call(ctx, s, wire.Request{Apps: &wire.Apps{EnvID: r.EnvID}}, &res); err != nil {
		return nil, err
	}
	list := slices.DeleteFunc(e.allExported(s), func(a App) bool { return a.EnvID != string(r.EnvID) })
	for _, a := range res.Apps {
		i := slices.IndexFunc(list, func(x App) bool { return x.App == a.ID && x.Kind == "menu" })
		if i >= 0 {
			list[i].Name = a.Name
		} else if a.Shown {
			list = append(list, App{App: a.ID, Name: a.Name, Kind: "menu", EnvID: string(r.EnvID), Env: displayName(r)})
		}
	}
	return list, nil
}

// orphans are what is exported of a store that is not there. Whether it was removed or its disk is only not mounted now is for
// the user to know.
func (e *Engine) orphans() []App {
	list := e.allExported(storage.At(e.StoreRoot))
	if len(list) > 0 {
		e.Progress.Note(fmt.Sprintf("there is no store %s, and what is exported from it does not work: karapace destroy --all takes it away", e.StoreRoot))
	}
	return list
}

func (e *Engine) allExported(s *storage.Store) []App {
	list := []App{}
	for _, x := range e.menu(s).exported() {
		title := manifest.EnvID(x.Env).Short()
		if r, err := s.Find(x.Env); err == nil {
			title = displayName(r)
		}
		list = append(list, x.app(title))
	}
	return list
}

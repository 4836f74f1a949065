package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
)

// prune takes from the host what environments have exported that are gone. Which those are is seen from the files
// themselves, so that an export that a crash has left goes with the next one.
func (e *Engine) prune(ctx context.Context, s *storage.Store) {
	m := e.menu(s)
	changed := false
	for _, x := range m.exported() {
		if _, err := os.Lstat(s.EnvDir(manifest.EnvID(x.Env))); !storage.IsID(x.Env) || !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := m.remove(x); err != nil {
			e.Progress.Note(err.Error())
			continue
		}
		changed = true
	}
	if changed {
		m.refresh(ctx)
	}
}

// exportedBy are what an environment has exported.
func (e *Engine) exportedBy(s *storage.Store, id manifest.EnvID) (list []export) {
	for _, x := range e.menu(s).exported() {
		if x.Env == string(id) {
			list = append(list, x)
		}
	}
	return list
}

// renewExports writes what was exported once from an environment as it is now. What it no longer has goes. Failures are
// told, since what they come after is done.
func (e *Engine) renewExports(ctx context.Context, s *storage.Store, r *storage.Record, before []export) {
	if len(before) == 0 {
		return
	}
	m := e.menu(s)
	for _, x := range before {
		var err error
		if x.program {
			if x.Env != string(r.EnvID) {
				err = m.remove(x) // the name is free for the wrapper of the new one
			}
			if err == nil {
				_, err = e.ExportProgram(ctx, string(r.EnvID), x.App)
			}
		} else {
			var missing []string
			_, missing, err = e.exportApps(ctx, s, r, []string{x.App})
			if err == nil && len(missing) > 0 {
				err = errors.Join(fmt.Errorf("environment %s no longer has the application %s, which was exported", displayName(r), x.App), m.remove(x))
			}
		}
		if err != nil {
			e.Progress.Note(err.Error())
		}
	}
	e.prune(ctx, s)
}

package engine

import (
	"path/filepath"
	"strings"

	"github.com/karapace/karapace/integration/desktop"
	"github.com/karapace/karapace/storage"
)

const (
	wrapperLimit = 16 << 10 // bytes
	wrapperHead  = "#!/bin/sh\n# karapace: "
)

// putProgram writes a wrapper.
func (m menu) putProgram(r *storage.Record, name string) (string, error) {
	file := filepath.Join(m.bin, name)
	owner := desktop.Owner{Env: string(r.EnvID), Store: m.store, App: name}
	if err := m.free(file, func() bool { x, ok := m.ownedProgram(file); return ok && x.Owner == owner }); err != nil {
		return "", err
	}
	var words []string
	for _, w := range append(m.command(r), "-t", "--", name) {
		words = append(words, "'"+strings.ReplaceAll(w, "'", `'\''`)+"'")
	}
	text := wrapperHead + owner.Env + " " + name + " of the store\n# " + strings.ReplaceAll(m.store, "\n", "?") + "\nexec " + strings.Join(words, " ") + " \"$@\"\n"
	return file, writeOwn(file, []byte(text), 0o755)
}

// ownedProgram tells whose a wrapper is.
func (m menu) ownedProgram(file string) (export, bool) {
	text, err := readPlain(file, wrapperLimit)
	if err != nil {
		return export{}, false
	}
	rest, ours := strings.CutPrefix(string(text), wrapperHead)
	head, rest, _ := strings.Cut(rest, " of the store\n# ")
	store, _, _ := strings.Cut(rest, "\n")
	env, name, ok := strings.Cut(head, " ")
	o := desktop.Owner{Env: env, Store: store, App: name}
	return export{Owner: o, program: true, path: file}, ours && ok && storage.IsID(env) && store == m.store && name == filepath.Base(file)
}

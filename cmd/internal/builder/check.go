package builder

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/fstree"
	"github.com/karapace/karapace/storage/layers"
)

// checker reads everything in the store and compares it with what it should be, in both directions: what a record names
// exists and has the bytes of its name, and what exists is named, or is garbage and only mentioned.
type checker struct {
	*worker
	wire.CheckResult
	envs  []*storage.Record      // those that can be read; before the layers, so that theirs are among those that are read
	good  map[digest.Digest]bool // layers and images that are whole; nil while none could be looked at
	files map[string]string      // what a lock names, by sha256: who needs it
}

type problem = wire.Problem

// check reads all. withGarbage also finds out what gc would remove, for which it opens containers/storage.
func (w *worker) check(ctx context.Context, withGarbage bool) (*checker, error) {
	c := &checker{worker: w, files: map[string]string{}}
	c.Problems, c.Notes = []problem{}, []problem{}
	w.tell.Step("look at what there is")
	w.tell.Start("read the store", 0, c.bytes())
	parts := []func(context.Context) error{c.version, c.directories, c.environments, c.layersAndImages, c.built, c.names, c.ahead, c.quick, c.builds, c.vault, c.strangers}
	if withGarbage {
		parts = append(parts, c.garbage)
	}
	for _, part := range parts {
		if err := part(ctx); err != nil {
			return nil, failure.New(failure.Store, err, hintOf(err))
		}
	}
	w.tell.Done()
	return c, nil
}

// result is what to tell.
func (c *checker) result() *wire.CheckResult {
	if c == nil {
		return nil
	}
	return &c.CheckResult
}

// version checks what the store says it is.
func (c *checker) version(context.Context) error {
	c.Checked++
	if _, err := storage.VersionOf(c.store.Root()); err != nil {
		c.damage("version", "", c.store.Path("version"), says(err))
	}
	return nil
}

// directories names those that are missing, which no other part of a check does.
func (c *checker) directories(context.Context) error {
	for _, d := range storage.Directories() {
		if !exists(c.store.Path(d)) {
			c.damage("directory", d, c.store.Path(d), "it is missing")
		}
	}
	return nil
}

// read is told of bytes that have been read.
func (c *checker) read(n int64) {
	c.Bytes += n
	c.tell.Add(n)
}

// bytes is how much there is to read, as far as records tell.
func (c *checker) bytes() (n int64) {
	if l, err := c.layers(); err == nil {
		n = l.Bytes()
	}
	records, _ := c.store.Records()
	for _, r := range records {
		for _, s := range r.Snapshots {
			n += s.Size
		}
	}
	entries, _ := os.ReadDir(c.store.Path("vault", "sha256"))
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			n += info.Size()
		}
	}
	return n
}

const repairs = "karapace verify-store --repair"

// damage is a problem that repair mends or puts aside.
func (c *checker) damage(kind, id, path, what string) {
	c.Problems = append(c.Problems, wire.Problem{Kind: kind, ID: id, Path: c.below(path), What: what, Remedy: repairs})
}

// note mentions what is no damage.
func (c *checker) note(kind, id, path, what, remedy string) {
	c.Notes = append(c.Notes, wire.Problem{Kind: kind, ID: id, Path: c.below(path), What: what, Remedy: remedy})
}

// below is a path below the store.
func (c *checker) below(path string) string {
	if rel, err := filepath.Rel(c.store.Root(), path); err == nil && filepath.IsAbs(path) {
		return rel
	}
	return path
}

const collects = "karapace gc removes it"

// layersAndImages checks all that containers/storage has.
func (c *checker) layersAndImages(ctx context.Context) error {
	if !exists(c.store.Path("layers")) { // without it there is no lock to look under
		return nil
	}
	l, err := c.layers()
	if err != nil {
		return err
	}
	found, err := l.Check(ctx, c.read)
	if err != nil {
		return err
	}
	c.Checked += found.Things
	c.good = found.Good
	needed := map[digest.Digest]bool{}
	records, _ := c.store.Records()
	for _, r := range records {
		needed[r.BaseLayer], needed[r.PackageLayer], needed[r.ImageDigest] = true, true, true
	}
	for _, f := range found.Findings {
		switch unneeded := !needed[digest.Digest(f.ID)]; {
		case f.Foreign:
			c.note("file", f.ID, f.Path, f.What, "")
		case f.Idle || f.Kind == layers.KindImage && unneeded: // a build that ended early leaves half an image
			c.note(f.Kind, f.ID, f.Path, f.What, collects)
		case unneeded && f.Empty: // others may lie on it, or did
			c.note(f.Kind, f.ID, f.Path, f.What+", and no environment has it", collects+" once no layer lies on it")
		default:
			c.damage(f.Kind, f.ID, f.Path, f.What)
		}
	}
	return nil
}

// digest reads a tree.
func (c *checker) digest(ctx context.Context, dir string) (digest.Digest, int64, error) {
	return fstree.WriteTar(ctx, reader(c.read), dir)
}

// reader passes on how much is written to it.
type reader func(int64)

func (r reader) Write(b []byte) (int, error) {
	r(int64(len(b)))
	return len(b), nil
}

// garbage mentions what gc would remove.
func (c *checker) garbage(ctx context.Context) error {
	roots, err := c.roots(true)
	if err != nil { // something is damaged, and has been named
		return ctx.Err()
	}
	all, err := c.worker.garbage(ctx, roots)
	if err != nil && len(c.Problems) > 0 {
		return ctx.Err()
	}
	for _, g := range all {
		c.note(g.Kind, g.ID, "", g.Reason, collects)
	}
	return err
}

// strangers are files in the store that nothing knows.
func (c *checker) strangers(context.Context) error {
	known := map[string]bool{}
	for _, n := range storage.Names() {
		known[n] = true
	}
	entries, err := os.ReadDir(c.store.Root())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !known[e.Name()] {
			c.note("file", e.Name(), c.store.Path(e.Name()), "it is no part of a store", "")
		}
	}
	aside, err := c.quarantined()
	for _, g := range aside {
		c.note(g.Kind, g.ID, c.store.Path("quarantine", g.ID), g.Reason, dropsQuarantine)
	}
	return err
}

// missing tells whether an error says that a file is not there.
func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// says is what to tell of an error about a file that is named beside it.
func says(err error) string {
	var pe *fs.PathError
	var se *storage.Error
	switch {
	case missing(err):
		return "it is missing"
	case errors.As(err, &pe):
		return pe.Err.Error()
	case errors.As(err, &se):
		return se.Msg
	}
	return err.Error()
}

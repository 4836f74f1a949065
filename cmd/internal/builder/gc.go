package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro"
	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/fstree"
	"github.com/karapace/karapace/storage/layers"
)

// garbage is one thing to remove, and how.
type garbage struct {
	wire.Garbage
	remove func() error
}

// gc removes what no environment, and no lock that was fetched ahead, needs. Everything is found before anything goes.
func (w *worker) gc(ctx context.Context, req *wire.GC) (*wire.GCResult, error) {
	w.tell.Step("read what environments need")
	roots, err := w.roots(!req.Quarantine)
	if err != nil {
		return nil, err
	}
	if err := w.protected(ctx); err != nil {
		return nil, err
	}
	w.tell.Step("look for what none needs")
	all, err := w.garbage(ctx, roots)
	if err != nil {
		return nil, failure.New(failure.Store, err, "")
	}
	if req.Quarantine {
		aside, err := w.quarantined()
		if err != nil {
			return nil, failure.New(failure.Store, err, "")
		}
		all = append(all, aside...)
	}
	if len(all) > 0 && !req.DryRun {
		w.tell.Step("remove " + wire.Count(len(all), "thing"))
	}
	res := &wire.GCResult{Removed: []wire.Garbage{}}
	if req.DryRun {
		for _, g := range all {
			res.Removed = append(res.Removed, g.Garbage)
		}
		return res, nil
	}
	if err := w.remove(ctx, all, res); err != nil {
		return nil, err
	}
	return res, failure.New(failure.Store, syncFS(w.store.Root()), "") // what is gone stays gone
}

// remove removes garbage, and what interrupted operations left in containers/storage. A layer that something lies on goes after that, or
// stays.
func (w *worker) remove(ctx context.Context, all []garbage, res *wire.GCResult) error {
	inUse, err := removeEach(ctx, all, res)
	if err != nil {
		return err
	}
	store, err := w.layers()
	if err != nil {
		return err
	}
	if _, err := store.Sweep(ctx, false); err != nil {
		return failure.New(failure.Store, err, "")
	}
	_, err = removeEach(ctx, inUse, res)
	return err
}

// removeEach removes what it can, and tells what is in use.
func removeEach(ctx context.Context, all []garbage, res *wire.GCResult) (inUse []garbage, err error) {
	for _, g := range all {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		switch err := g.remove(); {
		case errors.Is(err, fs.ErrNotExist): // went with the environment it lay in, or to another gc
		case errors.Is(err, layers.ErrInUse):
			inUse = append(inUse, g)
		case err != nil:
			return nil, failure.New(failure.Store, err, "")
		default:
			res.Removed = append(res.Removed, g.Garbage)
		}
	}
	return inUse, nil
}

// roots is what must stay: the layers and images of environments, and the files of their locks.
type roots struct {
	layers map[digest.Digest]bool
	files  map[string]bool // by sha256
	vault  func(sum string) string
}

// quarantined is what repairs have put aside.
func (w *worker) quarantined() ([]garbage, error) {
	entries, err := os.ReadDir(w.store.Path("quarantine"))
	if err != nil && !missing(err) {
		return nil, err
	}
	var all []garbage
	for _, e := range entries {
		path := w.store.Path("quarantine", e.Name())
		all = append(all, garbage{
			wire.Garbage{Kind: "quarantine", ID: e.Name(), Size: storage.Size(path), Reason: "verify-store --repair has put it aside"}, func() error { return fstree.RemoveAll(path) },
		})
	}
	return all, nil
}

// roots reads every record and lock. One that cannot be read may need anything. What is in the quarantine is kept if that is.
func (w *worker) roots(quarantine bool) (*roots, error) {
	r := &roots{files: map[string]bool{}, vault: func(sum string) string { return w.store.Path("vault", "sha256", sum) }}
	var err error
	if r.layers, err = w.used(); err != nil {
		return nil, err
	}
	for _, place := range []struct {
		pattern, hint string
		layers        bool // it has those that the lock names
	}{
		{"envs/*/record.json", repairs + ", or karapace rebuild, mends an environment", false},
		{"fetched/*.lock", "remove it; karapace fetch brings it again", false},
		{"quarantine/*/envs/*/" + lockName, dropsQuarantine, true},
		{"quarantine/*/fetched/*.lock", dropsQuarantine, false},
	} {
		files, err := storage.Glob(w.store.Root(), place.pattern)
		if err != nil {
			return nil, failure.New(failure.Store, err, "")
		}
		if place.hint == dropsQuarantine && !quarantine {
			continue
		}
		for _, file := range files {
			if filepath.Base(file) == "record.json" {
				file = filepath.Join(filepath.Dir(file), lockName)
			}
			if err := r.read(file, place.layers); err != nil {
				return nil, failure.New(failure.Store, fmt.Errorf("nothing is removed while a lock in the store cannot be read: %w", err), place.hint)
			}
		}
	}
	return r, w.keepBelow(r.layers)
}

const dropsQuarantine = "karapace gc --quarantine removes it, when nothing in it is needed"

// protected makes sure that layers and images which must stay are known as such to all who remove.
func (w *worker) protected(ctx context.Context) error {
	store, err := w.layers()
	if err != nil {
		return err
	}
	records, _ := w.store.Records()
	var needed, images []digest.Digest
	for _, r := range records {
		needed, images = append(needed, r.BaseLayer), append(images, r.ImageDigest)
		if r.PackageLayer != "" {
			needed = append(needed, r.PackageLayer)
		}
	}
	for _, d := range slices.Clone(needed) {
		needed = append(needed, store.Below(d)...)
	}
	err = store.Protects(ctx, needed, images)
	var lost *layers.LostError
	if errors.As(err, &lost) {
		return failure.New(failure.Store, fmt.Errorf("nothing is removed while what environments need is damaged: %w", lost), repairs)
	}
	return failure.New(failure.Store, err, "")
}

// read keeps what a lock names. An environment that has just gone names nothing.
func (r *roots) read(file string, layers bool) error {
	text, err := readBounded(file, manifest.MaxLockSize)
	if missing(err) && (filepath.Base(file) != lockName || !storage.Lacks(filepath.Dir(file), lockName)) {
		return nil
	}
	if missing(err) {
		return fmt.Errorf("%s is missing", file)
	}
	if err != nil {
		return err
	}
	l, err := manifest.ParseLock(file, text)
	if err != nil { // whose help is for locks of projects
		return fmt.Errorf("%s is damaged", file)
	}
	r.keep(l)
	if layers {
		r.layers[l.Output.BaseLayer], r.layers[l.Output.PackageLayer], r.layers[l.Output.ImageDigest] = true, true, true
	}
	return nil
}

func (r *roots) keep(l *manifest.Lock) {
	r.files[l.BaseImageDigest.Encoded()] = true
	if ref, err := manifest.ParseBaseRef(l.BaseImage); err == nil && ref.Kind == manifest.BaseRegistry {
		for _, d := range partsInVault(r.vault, l.BaseImageDigest, l.Arch) {
			r.files[d.Digest.Encoded()] = true
		}
	}
	for _, pkgs := range [][]manifest.Package{l.BasePackages, l.Packages} {
		for _, f := range distro.PackageFiles(pkgs) {
			r.files[f.SHA256] = true
		}
	}
}

// garbage lists what can go, in an order in which it can.
func (w *worker) garbage(ctx context.Context, r *roots) ([]garbage, error) {
	var all []garbage
	for _, find := range []func(context.Context, *roots) ([]garbage, error){w.oldScratch, w.oldTemporary, w.oldNames, w.oldDrift, w.oldLayers, w.oldFiles, w.oldTransit, w.oldFetched} {
		found, err := find(ctx, r)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

func (w *worker) oldScratch(context.Context, *roots) ([]garbage, error) {
	left, err := w.store.Abandoned()
	if err != nil {
		return nil, err
	}
	var all []garbage
	for _, s := range left {
		all = append(all, garbage{
			wire.Scratch(filepath.Base(s.Dir), storage.Size(s.Dir)),
			func() error { defer s.Release(); return fstree.RemoveAll(s.Dir) },
		})
	}
	return all, nil
}

// oldTemporary are files that were to replace others.
func (w *worker) oldTemporary(ctx context.Context, _ *roots) ([]garbage, error) {
	files, err := w.store.AbandonedFiles()
	if err != nil {
		return nil, err
	}
	var all []garbage
	item := func(path string, remove func() error) {
		id, err := filepath.Rel(w.store.Root(), path)
		if err != nil {
			id = path
		}
		all = append(all, garbage{wire.Scratch(id, storage.Size(path)), remove})
	}
	for _, f := range files {
		item(f.Dir, func() error { defer f.Release(); return os.Remove(f.Dir) })
	}
	err = w.store.ChangeNames(ctx, func() error {
		links, err := w.store.AbandonedNames()
		for _, link := range links {
			item(link, func() error { return w.removeNewName(ctx, link) })
		}
		return err
	})
	return all, err
}

// removeNewName removes a link that has no name yet, unless it has got it meanwhile.
func (w *worker) removeNewName(ctx context.Context, link string) error {
	return w.store.ChangeNames(ctx, func() error {
		if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}

// oldDrift are writable and host layers that no record names. An environment that somebody is changing is left for another time.
func (w *worker) oldDrift(context.Context, *roots) ([]garbage, error) {
	records, _ := w.store.Records()
	var all []garbage
	for _, r := range records {
		left, err := w.unnamed(r.EnvID)
		if err != nil {
			return nil, err
		}
		for _, dir := range left {
			all = append(all, garbage{
				wire.Garbage{Kind: "drift", ID: r.EnvID.Short() + "/" + filepath.Base(dir), Size: storage.Size(dir), Reason: unnamedReason(dir)},
				func() error { return fstree.RemoveAll(dir) },
			})
		}
	}
	return all, nil
}

func unnamedReason(dir string) string {
	switch name := filepath.Base(dir); {
	case strings.HasPrefix(name, "."):
		return "a removal that ended early has left it"
	case strings.HasPrefix(name, "upper"):
		return "it is neither a snapshot nor the writable layer"
	}
	return "its environment's record does not name it"
}

func (w *worker) unnamed(id manifest.EnvID) (dirs []string, err error) {
	lock, err := w.store.TryAloneIn(id)
	if errors.Is(err, fs.ErrNotExist) || lock == nil && err == nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer lock.Unlock()
	r, err := w.store.Record(id)
	if err != nil {
		return nil, err
	}
	names, err := w.store.Unnamed(r)
	for _, n := range names {
		dirs = append(dirs, w.store.EnvDir(id, n))
	}
	return dirs, err
}

// oldFiles are files of the vault.
func (w *worker) oldFiles(_ context.Context, r *roots) ([]garbage, error) {
	var all []garbage
	for _, dir := range []struct{ name, kind, reason string }{
		{"sha256", "file", "no lock of an environment names it"},
		{"partial", "download", "nobody waits for the rest of it"},
		{"documents", "document", "it only spares its server sending it again"},
		{"bad", "damaged", "its bytes were not those of its name"},
	} {
		entries, err := os.ReadDir(w.store.Path("vault", dir.name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries {
			sum, _, _ := strings.Cut(e.Name(), ".")
			if dir.kind != "damaged" && r.files[sum] {
				continue
			}
			path := w.store.Path("vault", dir.name, e.Name())
			all = append(all, garbage{
				wire.Garbage{Kind: dir.kind, ID: e.Name(), Size: storage.Size(path), Reason: dir.reason}, func() error { return os.Remove(path) },
			})
		}
	}
	return all, nil
}

// oldFetched are locks that were fetched ahead and are built by now: their environments keep what they need.
func (w *worker) oldFetched(context.Context, *roots) ([]garbage, error) {
	ahead, err := storage.Glob(w.store.Path("fetched"), "*.lock")
	if err != nil {
		return nil, err
	}
	var all []garbage
	for _, path := range ahead {
		id := strings.TrimSuffix(filepath.Base(path), ".lock")
		if _, err := w.store.Record(manifest.EnvID(id)); err == nil {
			all = append(all, garbage{
				wire.Garbage{Kind: "lock", ID: id, Size: storage.Size(path), Reason: "what was fetched ahead for it is built"}, func() error { return os.Remove(path) },
			})
		}
	}
	return all, nil
}

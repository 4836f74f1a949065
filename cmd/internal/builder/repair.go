package builder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/layers"
)

// repairer mends what a check found. Whether something is mended a second check says; the repairer only remembers what
// it did, by path. The store is its own: no build, removal or check runs beside it. Sessions do, and what they are in is
// left alone.
type repairer struct {
	*worker
	req   *wire.Check
	found *checker // the last check
	did   map[string]string
	could map[string]string // what would have helped, by path
	place string            // the quarantine of this repair; empty until it is needed
}

// verifyStore checks the store and, if asked to, repairs it and checks again.
func (w *worker) verifyStore(ctx context.Context, req *wire.Check) (*wire.CheckResult, error) {
	if !req.Repair {
		c, err := w.check(ctx, true)
		return c.result(), err
	}
	before, err := w.check(ctx, false)
	if err != nil {
		return nil, err
	}
	before.Problems = append(w.lost, before.Problems...)
	r := &repairer{worker: w, req: req, found: before, did: map[string]string{}, could: map[string]string{}}
	for _, p := range w.lost {
		r.did[p.Path] = "made again"
	}
	if len(before.Problems) == 0 {
		return before.result(), failure.New(failure.Store, errors.Join(r.records(ctx), before.garbage(ctx)), "")
	}
	if err := r.repair(ctx); err != nil {
		return nil, failure.New(failure.Store, err, hintOf(err))
	}
	after, err := w.check(ctx, true)
	if err != nil {
		return nil, err
	}
	return r.compare(before, after), nil
}

// makeDirectories makes those that are missing, and remembers which they were.
func (w *worker) makeDirectories() error {
	c := &checker{worker: w}
	if err := errors.Join(c.directories(context.Background()), w.store.MakeDirectories()); err != nil {
		return err
	}
	w.lost = c.Problems
	for _, d := range storage.Directories() { // a repair before may have been killed in between
		if err := os.Chown(w.store.Path(d), w.user.UID, w.user.GID); err != nil {
			return err
		}
	}
	return nil
}

// compare tells of each problem what became of it.
func (r *repairer) compare(before, after *checker) *wire.CheckResult {
	res := after.result()
	still := map[string]bool{}
	for i, p := range res.Problems {
		still[p.Kind+p.Path] = true
		if could := r.could[p.Path]; could != "" {
			res.Problems[i].Remedy = could
		}
	}
	for _, p := range before.Problems {
		if !still[p.Kind+p.Path] {
			p.Mended = "mended"
			if did := r.did[p.Path]; did != "" {
				p.Mended = did
			}
			res.Problems = append(res.Problems, p)
		}
	}
	return res
}

// repair goes from what others rest on to what rests on it.
func (r *repairer) repair(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		r.version, r.records, r.files, r.layersFirst, r.rebuild, r.environments, r.names, r.notes,
	} {
		if err := step(ctx); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// version writes what the records say.
func (r *repairer) version(context.Context) error {
	for _, d := range storage.Directories() {
		if err := os.Chown(r.store.Path(d), r.user.UID, r.user.GID); err != nil {
			return err
		}
	}
	if _, err := storage.VersionOf(r.store.Root()); err == nil {
		return nil
	}
	n, err := r.store.GuessVersion()
	if err != nil {
		return err
	}
	r.did["version"] = fmt.Sprintf("written again: the records are of version %d", n)
	if err := errors.Join(r.store.SetVersion(n), r.giveToUser(r.store.Path("version"))); err != nil || n == storage.Version {
		return err
	}
	return &storage.Error{Path: r.store.Root(), Msg: fmt.Sprintf("it was of version %d, and its version file says so again", n), Hint: "karapace migrate, then karapace verify-store --repair"}
}

// aside moves what cannot be mended, and may still be worth something, to the quarantine, where it has its old path.
func (r *repairer) aside(path string) error {
	for n := 1; r.place == ""; n++ {
		dir := r.store.Path("quarantine", strconv.Itoa(n))
		if !exists(dir) {
			r.place = dir
		}
	}
	to := filepath.Join(r.place, r.found.below(path))
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	for dir := filepath.Dir(to); dir != r.store.Root(); dir = filepath.Dir(dir) { // who may look at what is there
		if err := os.Chown(dir, r.user.UID, r.user.GID); err != nil {
			return err
		}
	}
	if err := os.Rename(path, to); err != nil && !missing(err) {
		return fmt.Errorf("put %s aside: %w", path, err)
	}
	r.did[r.found.below(path)] = "moved to " + r.found.below(to)
	return errors.Join(storage.SyncDir(filepath.Dir(path)), storage.SyncDir(filepath.Dir(to)))
}

// layersFirst has containers/storage's indexes and our records of layers made again from what is there.
func (r *repairer) layersFirst(ctx context.Context) error {
	store, err := r.layers()
	if err != nil {
		return err
	}
	if err := store.Repair(ctx, r.wanted(), r.aside); err != nil {
		return err
	}
	checked, err := store.Check(ctx, func(int64) {})
	if err != nil {
		return err
	}
	r.found.good = checked.Good
	return nil
}

// wanted are the layers that environments have.
func (r *repairer) wanted() (all []layers.Wanted) {
	records, _ := r.store.Records()
	for _, e := range records {
		all = append(all, layers.Wanted{DiffID: e.BaseLayer, Size: e.BaseSize})
		if e.PackageLayer != "" {
			all = append(all, layers.Wanted{DiffID: e.PackageLayer, Parent: e.BaseLayer, Size: e.PackageSize})
		}
	}
	return all
}

// rebuild makes the layers again that are not whole, from the locks of the environments that have them. Those that none
// has go.
func (r *repairer) rebuild(ctx context.Context) error {
	store, err := r.layers()
	if err != nil {
		return err
	}
	_, unread := r.store.Records()
	needed := map[digest.Digest]bool{}
	for _, w := range r.wanted() {
		needed[w.DiffID] = true
	}
	all, err := store.List()
	if err != nil {
		return err
	}
	for _, d := range all {
		if r.found.good[d] || !needed[d] && len(unread) > 0 { // which may be those that need it
			continue
		}
		if err := r.store.ForgetLayer(d); err != nil {
			return err
		}
		if needed[d] {
			continue
		}
		if err := r.dropLayer(ctx, store, d); err != nil {
			return err
		}
	}
	records, _ := r.store.Records()
	for _, e := range records {
		if r.found.good[e.BaseLayer] && (e.PackageLayer == "" || r.found.good[e.PackageLayer]) {
			continue
		}
		if err := r.rebuildLayers(ctx, e); ctx.Err() != nil {
			return ctx.Err()
		} else if err != nil {
			r.cannotRebuild(e, err)
			continue
		}
		r.found.good[e.BaseLayer], r.found.good[e.PackageLayer] = true, true
		for _, other := range records { // whose image has the layer where it was
			if e.PackageLayer != "" && other.PackageLayer == e.PackageLayer {
				r.found.good[other.ImageDigest] = false
			}
		}
	}
	return nil
}

// dropLayer removes a layer that no environment has. Where others lie on it only its files go.
func (r *repairer) dropLayer(ctx context.Context, store *layers.Store, d digest.Digest) error {
	err := store.Delete(ctx, d)
	if !errors.Is(err, layers.ErrInUse) {
		return err
	}
	for _, p := range r.found.Problems {
		if p.ID == string(d) {
			r.did[p.Path] = "its files were removed: no environment has it"
		}
	}
	return store.Empty(ctx, d)
}

// rebuildLayers builds the layers of an environment from its lock.
func (r *repairer) rebuildLayers(ctx context.Context, e *storage.Record) error {
	unlock, err := r.aloneWith(ctx, e)
	defer unlock()
	if err != nil {
		return err
	}
	b, err := r.fromLock(e)
	if err != nil {
		return err
	}
	defer b.dropTree()
	out, err := b.make(ctx)
	if err != nil {
		return err
	}
	if out != (manifest.Output{BaseLayer: e.BaseLayer, PackageLayer: e.PackageLayer, ImageDigest: e.ImageDigest}) {
		return errors.New("building it again gave other bytes")
	}
	return nil
}

// aloneWith keeps sessions out of all environments that have a layer of e that is not whole, for its files are about to be replaced.
func (r *repairer) aloneWith(ctx context.Context, e *storage.Record) (unlock func(), err error) {
	var locks []*storage.Lock
	unlock = func() {
		for _, l := range locks {
			l.Unlock()
		}
	}
	records, _ := r.store.Records()
	slices.SortFunc(records, func(a, b *storage.Record) int { return strings.Compare(string(a.EnvID), string(b.EnvID)) }) // as everybody who locks two
	for _, other := range records {
		if !r.lack(e, other) {
			continue
		}
		_, lock, err := r.aloneIn(ctx, other.EnvID)
		if err != nil {
			return unlock, err
		}
		locks = append(locks, lock)
		if err := r.refuseUsed(other); err != nil {
			return unlock, err
		}
	}
	return unlock, nil
}

// lack tells whether two environments have a layer in common that is not whole.
func (r *repairer) lack(a, b *storage.Record) bool {
	return slices.ContainsFunc([]digest.Digest{a.BaseLayer, a.PackageLayer}, func(d digest.Digest) bool {
		return d != "" && !r.found.good[d] && (b.BaseLayer == d || b.PackageLayer == d)
	})
}

// fromLock prepares to build what the lock of an environment says.
func (r *repairer) fromLock(e *storage.Record) (*build, error) {
	file := r.store.EnvDir(e.EnvID, lockName)
	l, err := readLock(file)
	if err != nil {
		return nil, fmt.Errorf("its lock: %w", err)
	}
	req := r.req.Build
	req.File, req.LockFile, req.Dir, req.Lock, req.Mend = file, file, e.ManifestDir, l.Encode(), true
	return r.newBuild(&req)
}

// cannotRebuild says what would help.
func (r *repairer) cannotRebuild(e *storage.Record, err error) {
	could := fmt.Sprintf("it cannot be made again now: %v; when that is no longer so, or with a network, karapace verify-store --repair again", err)
	for _, p := range r.found.Problems {
		if p.ID == string(e.BaseLayer) || p.ID == string(e.PackageLayer) || p.Kind == "environment" && p.ID == e.EnvID.Short() {
			r.could[p.Path] = could
		}
	}
}

// Package builder does the work of karapace-store: everything that touches layers, package files and root file
// systems. It runs inside the user namespace as its root, or as real root, in a mount namespace of its own.
//
// A build is a sequence of steps, each of which finds its result in the store or makes it in a scratch directory and
// publishes it with one rename: base layer, package layer, image, environment. A crash leaves scratch directories and
// unreferenced layers, both garbage.
package builder

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/fstree"
	"github.com/karapace/karapace/storage/layers"
)

const requestLimit = 64 << 20

// Serve reads one request from in, does it, and writes events to out. It returns an error only when out cannot be written.
func Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	t := &teller{enc: json.NewEncoder(out)}
	result, err := serve(ctx, in, t)
	if err != nil {
		var out *outputError // what it is written to is not the store
		if disk := failure.Disk(err); disk != nil && !errors.As(err, &out) {
			err = disk
		}
		kind, hint := failure.Of(err)
		if gone := (*storage.NotFoundError)(nil); errors.As(err, &gone) { // it went while this request waited
			kind, hint = failure.General, "karapace list shows what there is"
		}
		return t.send(wire.Event{Error: &wire.Error{Kind: kind, Message: err.Error(), Hint: hint, Reason: wire.ReasonOf(err)}})
	}
	body, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("encode result: %w", err)
	}
	return t.send(wire.Event{Result: body})
}

func serve(ctx context.Context, in io.Reader, t *teller) (any, error) {
	var req wire.Request
	if err := json.NewDecoder(bufio.NewReader(io.LimitReader(in, requestLimit))).Decode(&req); err != nil {
		return nil, fmt.Errorf("karapace-store is started by karapace, with a request on standard input: %w", err)
	}
	switch {
	case req.Unpack != nil:
		return struct{}{}, unpackBundle(ctx)
	case req.Clear != nil:
		return struct{}{}, clearOutput()
	}
	s, err := open(&req)
	if err != nil {
		return nil, failure.New(failure.Store, err, hintOf(err))
	}
	s.Waiting = t.waiting
	w := &worker{store: s, rootless: req.Rootless, user: req.User, tell: t, overlay: req.Overlay}
	if req.Check != nil && req.Check.Repair { // before all locks, which are directories
		if err := w.makeDirectories(); err != nil {
			return nil, failure.New(failure.Store, err, hintOf(err))
		}
	}
	lock, err := w.together(ctx, &req)
	switch {
	case missing(err) && exists(s.Path("version")):
		return nil, failure.New(failure.Store, err, repairs+" makes it again")
	case err != nil:
		return nil, failure.New(failure.Store, err, hintOf(err))
	}
	defer lock.Unlock()
	return w.do(ctx, &req)
}

// open opens the store. One of another version can only be migrated, and one of which the version is lost only checked.
func open(req *wire.Request) (*storage.Store, error) {
	s, err := storage.Open(req.Store)
	var other *storage.VersionError
	if errors.As(err, &other) && (req.Migrate != nil && other.Found > 0 || req.Check != nil && other.Found == 0) {
		return storage.At(req.Store), nil
	}
	return s, err
}

// together keeps what makes layers and what removes them apart.
func (w *worker) together(ctx context.Context, req *wire.Request) (*storage.Lock, error) {
	switch {
	case req.GC != nil || req.Images != nil || req.Migrate != nil || req.Check != nil && req.Check.Repair || req.Sweep != nil && req.Sweep.All:
		return w.store.Alone(ctx)
	case req.Build != nil || req.Verify != nil || req.Export != nil || req.Check != nil || req.Push != nil || req.Pull != nil:
		return w.store.Share(ctx)
	}
	return nil, nil
}

func (w *worker) do(ctx context.Context, req *wire.Request) (any, error) {
	switch {
	case req.Build != nil:
		return w.build(ctx, req.Build)
	case req.Verify != nil:
		return w.verify(ctx, req.Verify)
	case req.GC != nil:
		return w.gc(ctx, req.GC)
	case req.Check != nil:
		return w.verifyStore(ctx, req.Check)
	case req.Migrate != nil:
		return w.migrate(ctx)
	case req.Diff != nil:
		return w.diff(ctx, req.Diff)
	case req.Apps != nil:
		return w.apps(ctx, req.Apps)
	case req.Export != nil:
		return w.export(ctx, req.Export)
	case req.Push != nil:
		return w.push(ctx, req.Push)
	case req.Pull != nil:
		return w.pull(ctx, req.Pull)
	case req.Sweep != nil && req.Sweep.All:
		return struct{}{}, w.sweepAll(ctx, req.Sweep.Force)
	case req.Sweep != nil:
		return struct{}{}, w.sweep()
	case req.Images != nil:
		return struct{}{}, w.removeImages(ctx, req.Images)
	case req.Commit != nil:
		return w.commit(ctx, req.Commit)
	case req.RemoveSnapshot != nil:
		return struct{}{}, w.removeSnapshot(ctx, req.RemoveSnapshot)
	default:
		return nil, errors.New("the request asks for nothing")
	}
}

// worker is one request's view of the store.
type worker struct {
	store    *storage.Store
	rootless bool
	user     wire.User
	tell     *teller
	overlay  string        // see wire.Request
	opened   *layers.Store // nil until a layer is needed
	lost     []problem     // directories that were missing, before a repair made them
}

// layers opens containers/storage, once, when it is first needed.
func (w *worker) layers() (*layers.Store, error) {
	if w.opened == nil {
		l, err := layers.Open(w.store.Root(), w.rootless)
		if err != nil {
			return nil, failure.New(failure.Store, err, "")
		}
		l.Waiting = w.tell.waiting
		w.opened = l
	}
	return w.opened, nil
}

// sweep removes scratch directories whose makers are gone.
func (w *worker) sweep() error {
	left, err := w.store.Abandoned()
	if err != nil {
		return failure.New(failure.Store, err, "")
	}
	for _, s := range left {
		err = errors.Join(err, fstree.RemoveAll(s.Dir))
		s.Release()
	}
	return failure.New(failure.Store, err, "")
}

// sweepAll removes what a store holds, such that it is a whole store until it is none: environments go by one rename each,
// what is derived after what refers to it, and the version last. Its own directory belongs to the user and is left to karapace.
func (w *worker) sweepAll(ctx context.Context, force bool) error {
	if err := w.retireAll(ctx, force); err != nil {
		return failure.New(failure.Store, err, "")
	}
	for _, name := range []string{"names", "fetched", "quick", "built", "layers", "", "storage", "vault", "quarantine", "backup", "tmp"} {
		if name == "" { // what names layers is gone before they go
			if err := syncFS(w.store.Root()); err != nil {
				return failure.New(failure.Store, err, "")
			}
			continue
		}
		if err := removeWithin(w.store.Path(name)); err != nil {
			return failure.New(failure.Store, err, "")
		}
	}
	if err := os.Remove(w.store.Path("version")); err != nil { // from here on it is no store
		return failure.New(failure.Store, err, "")
	}
	return failure.New(failure.Store, removeWithin(w.store.Root()), "")
}

// retireAll makes all environments garbage, or none when something goes on in one, unless that is forced.
func (w *worker) retireAll(ctx context.Context, force bool) error {
	scratch, err := w.store.Scratch("destroy")
	if err != nil {
		return err
	}
	defer scratch.Release()
	entries, err := os.ReadDir(w.store.Path("envs"))
	if err != nil {
		return err
	}
	for _, e := range entries { // in the order of their names, as everybody who locks several
		if force || !storage.IsID(e.Name()) {
			continue
		}
		r, lock, err := w.aloneIn(ctx, manifest.EnvID(e.Name()))
		if err != nil && !exists(w.store.Path("envs", e.Name())) { // it has just been destroyed
			continue
		}
		if err != nil {
			return err
		}
		defer lock.Unlock()
		if err := w.refuseUsed(r); err != nil {
			return err
		}
	}
	for _, e := range entries {
		if gone := os.Rename(w.store.Path("envs", e.Name()), filepath.Join(scratch.Dir, e.Name())); !missing(gone) {
			err = errors.Join(err, gone)
		}
	}
	return errors.Join(err, storage.SyncDir(w.store.Path("envs")))
}

// removeWithin empties a directory that may be missing.
func removeWithin(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		err = errors.Join(err, fstree.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

// teller sends events; it is used by several goroutines.
type teller struct {
	mu   sync.Mutex
	enc  *json.Encoder
	last time.Time
	what string
	n    int
	done int64
	of   int64
}

func (t *teller) send(e wire.Event) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.enc.Encode(e)
}

// Step tells that a step of the work began.
func (t *teller) Step(name string) { t.send(wire.Event{Step: name}) }

// waiting tells for whom the work waits.
func (t *teller) waiting(h storage.Holder) { t.Step("wait for " + h.String()) }

// Note tells the user something.
func (t *teller) Note(text string) { t.send(wire.Event{Note: text}) }

// Start, Add and Done are fetch.Progress.
func (t *teller) Start(what string, files int, bytes int64) {
	t.what, t.n, t.of, t.done, t.last = what, files, bytes, 0, time.Time{}
}

const progressInterval = 100 * time.Millisecond

func (t *teller) Add(bytes int64) {
	t.done += bytes
	if now := time.Now(); now.Sub(t.last) >= progressInterval {
		t.last = now
		t.send(wire.Event{Transfer: &wire.Transfer{What: t.what, Files: t.n, Done: t.done, Total: t.of}})
	}
}

func (t *teller) Done() {
	t.send(wire.Event{Transfer: &wire.Transfer{What: t.what, Files: t.n, Done: t.done, Total: t.of, End: true}})
}

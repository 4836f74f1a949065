// Package layers keeps the read-only layers and images of a store in containers/storage, and is the only importer of it.
//
// # Vocabulary
//
// A layer is a normalised tree, known by its diffID, the sha256 of its canonical archive (package fstree). Its record is
// our own small file STORE/layers/HEX.json. containers/storage has the tree under an id of its own, the chainID of the
// OCI image specification (config.md), in STORE/storage/overlay/ID/diff, and a short link to that in overlay/l.
//
// # Life cycle
//
// A tree is made and normalised in a scratch directory of the store. Adopt renames it into containers/storage, without a
// second copy, flushes the file system, and writes the record; only then the layer exists. Delete removes the record
// first.
//
// A layer is there once, on the layer that it was first made on, though others may give the same one: an image need not have
// below a layer what the layer lies on. Overlays are made of the trees that their makers name, and never follow that.
//
// # Invariants
//
// What containers/storage has without a record of ours is garbage, since at its defaults it loses what it acknowledged
// when the power fails; it is replaced, never used. A layer is not changed once it has a record.
//
// containers/storage must be opened where overlays can be mounted: as root, or inside the user namespace of the store's
// owner. Opened anywhere else even once, it uses fuse-overlayfs for ever after; Open refuses that, and finds it.
package layers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	cstorage "github.com/containers/storage"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/fstree"
)

// Store is the layers and images of one store.
type Store struct {
	root      string                 // the store's directory
	mountable func() (string, error) // names the graph root, see there
	once      func() (cstorage.Store, error)

	// Waiting is told of whoever a method has to wait for; nil tells nobody.
	Waiting storage.Waiting

	gaveUp atomic.Pointer[error] // see survive
}

// Layer is a layer that exists.
type Layer struct {
	DiffID digest.Digest
	Parent digest.Digest // diffID of the layer it was made on; empty for a base
	Size   int64         // bytes of the canonical archive
	Dir    string        // the tree: a lower directory for overlays
	Link   string        // a short symbolic link to Dir, for mounts of many layers
	id     string        // in containers/storage
}

// Open returns the layers of the store at root. rootless tells that the store belongs to somebody else than root; this
// process must then be in a user namespace in which it is root. containers/storage itself is opened when it is first
// needed, and then for as long as the process lives.
func Open(root string, rootless bool) (*Store, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("open layers: %w", err)
	}
	if err := checkPlace(rootless); err != nil {
		return nil, fmt.Errorf("open layers of %s: %w", root, err)
	}
	s := &Store{root: root}
	s.mountable = sync.OnceValues(func() (string, error) { return mountable(s.graphRoot()) })
	if err := s.checkPoison(); err != nil {
		return nil, err
	}
	s.once = sync.OnceValues(func() (c cstorage.Store, err error) {
		defer s.survive(&err)
		c, err = s.openContainers(rootless)
		if err != nil {
			return nil, &storage.Error{Path: root, Msg: fmt.Sprintf("open containers/storage: %v", err), Cause: err}
		}
		return c, s.checkPoison()
	})
	return s, nil
}

// open opens containers/storage, once.
func (s *Store) open() (cstorage.Store, error) {
	if err := s.usable(); err != nil {
		return nil, err
	}
	return s.once()
}

func (s *Store) graphRoot() string { return filepath.Join(s.root, "storage") }

func (s *Store) records() string { return filepath.Join(s.root, "layers") }

// record is the file that makes a layer exist.
type record struct {
	RecordVersion int           `json:"record_version"` // 1
	DiffID        digest.Digest `json:"diff_id"`
	Parent        digest.Digest `json:"parent,omitempty"` // diffID of the layer it was made on
	ID            string        `json:"id"`               // in containers/storage
	Link          string        `json:"link"`             // below overlay/l
	Size          int64         `json:"size"`             // bytes of the canonical archive
	Created       time.Time     `json:"created"`          // when containers/storage says it was
}

const recordLimit = 64 << 10

func (s *Store) recordPath(diffID digest.Digest) string {
	return filepath.Join(s.records(), diffID.Encoded()+".json")
}

// readRecord returns fs.ErrNotExist when there is no record.
func (s *Store) readRecord(diffID digest.Digest) (*record, error) {
	if err := diffID.Validate(); err != nil {
		return nil, err
	}
	b, err := readSmall(s.recordPath(diffID), recordLimit)
	if err != nil {
		return nil, err
	}
	r := &record{}
	if err := storage.Unseal(b, r); err != nil {
		return nil, fmt.Errorf("record of layer %s: %w", diffID, err)
	}
	if err := r.check(diffID); err != nil {
		return nil, err
	}
	return r, nil
}

// check finds out whether a record can be that of a layer.
func (r *record) check(diffID digest.Digest) error {
	if r.RecordVersion != 1 || r.DiffID != diffID || !isID(r.ID) || r.Link == "" || filepath.Base(r.Link) != r.Link || r.Size < 0 {
		return fmt.Errorf("record of layer %s: its content makes no sense", diffID)
	}
	return nil
}

func isID(s string) bool { return digest.NewDigestFromEncoded(digest.SHA256, s).Validate() == nil }

// readSmall reads a regular file without blocking.
func readSmall(path string, limit int64) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fmt.Errorf("%s is no regular file of at most %d bytes", path, limit)
	}
	b := make([]byte, info.Size())
	_, err = f.ReadAt(b, 0)
	return b, err
}

// Lookup returns the layer with a diffID. One whose record or tree is missing or damaged does not exist; what the tree
// holds is not checked, see Verify.
func (s *Store) Lookup(diffID digest.Digest) (Layer, bool) {
	r, err := s.readRecord(diffID)
	if err != nil {
		return Layer{}, false
	}
	overlay := filepath.Join(s.graphRoot(), driverName)
	l := Layer{DiffID: diffID, Parent: r.Parent, Size: r.Size, Dir: filepath.Join(overlay, r.ID, "diff"), Link: filepath.Join(overlay, "l", r.Link), id: r.ID}
	if info, err := os.Lstat(l.Dir); err != nil || !info.IsDir() {
		return Layer{}, false
	}
	if target, err := os.Readlink(l.Link); err != nil || filepath.Join(filepath.Dir(l.Link), target) != l.Dir {
		return Layer{}, false
	}
	return l, true
}

// Below returns the layers that one lies on, the nearest first, as far as records tell.
func (s *Store) Below(diffID digest.Digest) (all []digest.Digest) {
	for {
		r, err := s.readRecord(diffID)
		if err != nil || r.Parent == "" || slices.Contains(all, r.Parent) {
			return all
		}
		diffID = r.Parent
		all = append(all, diffID)
	}
}

// Verify reads a layer's tree and compares it with its diffID.
func (s *Store) Verify(ctx context.Context, l Layer) error {
	got, _, err := fstree.Digest(ctx, l.Dir)
	if err != nil {
		return fmt.Errorf("verify layer %s: %w", l.DiffID, err)
	}
	if got != l.DiffID {
		return &DamageError{DiffID: l.DiffID, Got: got}
	}
	return nil
}

// DamageError is a layer whose tree is not what it was.
type DamageError struct {
	DiffID digest.Digest
	Got    digest.Digest
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("layer %s is damaged: its content is now %s", e.DiffID, e.Got)
}

// List returns the diffIDs of all records, those of damaged layers too, sorted.
func (s *Store) List() ([]digest.Digest, error) {
	entries, err := os.ReadDir(s.records())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list layers: %w", err)
	}
	var ids []digest.Digest
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".json"); ok && isID(name) {
			ids = append(ids, digest.NewDigestFromEncoded(digest.SHA256, name))
		}
	}
	return ids, nil
}

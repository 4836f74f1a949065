package layers

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	cstorage "github.com/containers/storage"
	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/archive"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/fstree"
)

// Adopt makes the normalised tree at dir the layer diffID, whose canonical archive has size bytes, on top of the layer
// parent, "" for none. dir must be on the store's file system; it is gone afterwards, whether it was taken or not. When
// Adopt returns without an error the layer survives a power cut. A layer that exists is returned as it is, whatever it
// lies on, also when another process makes it meanwhile.
func (s *Store) Adopt(ctx context.Context, dir string, parent, diffID digest.Digest, size int64) (Layer, error) {
	return s.take(ctx, dir, parent, diffID, size, false)
}

// Mend is Adopt for a tree whose layer may be damaged: one that exists is read, and replaced where it is if its bytes are
// not those of its name.
func (s *Store) Mend(ctx context.Context, dir string, parent, diffID digest.Digest, size int64) (Layer, error) {
	return s.take(ctx, dir, parent, diffID, size, true)
}

func (s *Store) take(ctx context.Context, dir string, parent, diffID digest.Digest, size int64, doubt bool) (Layer, error) {
	l, err := s.adopt(ctx, dir, parent, diffID, size, doubt)
	if err != nil {
		err = fmt.Errorf("store layer %s: %w", diffID, err)
	}
	return l, errors.Join(err, fstree.RemoveAll(dir))
}

func (s *Store) adopt(ctx context.Context, dir string, parent, diffID digest.Digest, size int64, doubt bool) (l Layer, err error) {
	defer s.survive(&err)
	if err := diffID.Validate(); err != nil {
		return Layer{}, err
	}
	lock, err := storage.WaitLock(ctx, s.records()+"/.", s.Waiting)
	if err != nil {
		return Layer{}, err
	}
	defer lock.Unlock()
	if l, ok := s.Lookup(diffID); ok {
		if damaged, err := s.damaged(ctx, l, doubt); !damaged {
			return l, err
		}
	}
	c, err := s.open()
	if err != nil {
		return Layer{}, err
	}
	parent = s.lies(diffID, parent)
	r := &record{RecordVersion: 1, DiffID: diffID, Parent: parent, ID: diffID.Encoded(), Size: size}
	parentID := ""
	if parent != "" {
		p, ok := s.Lookup(parent)
		if !ok {
			return Layer{}, fmt.Errorf("the layer below, %s, does not exist", parent)
		}
		parentID = p.id
		r.ID = chainID(p.id, diffID)
	}
	if err := s.clear(c, r, parentID); err != nil {
		return Layer{}, err
	}
	if err := place(c, dir, parentID, r); err != nil {
		return Layer{}, err
	}
	if err := s.commit(r); err != nil {
		return Layer{}, err
	}
	made, ok := s.Lookup(diffID)
	if !ok {
		return Layer{}, errors.New("it is not where containers/storage should have it")
	}
	return made, nil
}

// lies is what a layer lies on: where images look for it, or else parent.
func (s *Store) lies(diffID, parent digest.Digest) digest.Digest {
	r, err := s.readRecord(diffID)
	if err != nil {
		return parent
	}
	if _, ok := s.Lookup(r.Parent); !ok && r.Parent != "" {
		return parent
	}
	return r.Parent
}

// damaged reads a layer that is doubted. That it could not be read for want of time or means says nothing about it.
func (s *Store) damaged(ctx context.Context, l Layer, doubt bool) (bool, error) {
	if !doubt {
		return false, nil
	}
	err := s.Verify(ctx, l)
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, cause) || storage.Starved(err) {
		return false, err
	}
	return err != nil, nil
}

// chainID is the id of a layer on the one with the id parent (config.md, "Layer ChainID").
func chainID(parent string, diffID digest.Digest) string {
	return digest.FromString("sha256:" + parent + " " + diffID.String()).Encoded()
}

// clear removes what is left of an earlier attempt at a layer.
func (s *Store) clear(c cstorage.Store, r *record, parentID string) error {
	if err := os.RemoveAll(s.recordPath(r.DiffID)); err != nil {
		return err
	}
	if !c.Exists(r.ID) {
		return nil
	}
	err := c.DeleteLayer(r.ID)
	if errors.Is(err, cstorage.ErrLayerHasChildren) || errors.Is(err, cstorage.ErrLayerUsedByImage) {
		return s.frame(r.ID, parentID) // what is in it will be replaced
	}
	return err
}

// frame makes anew what containers/storage's overlay driver wants around the tree of a layer it knows, where it is lost.
func (s *Store) frame(id, parentID string) error {
	overlay := filepath.Join(s.graphRoot(), driverName)
	dir := filepath.Join(overlay, id)
	if err := os.MkdirAll(filepath.Join(dir, "diff"), 0o700); err != nil {
		return err
	}
	link := s.link(id)
	if link == "" {
		link = strings.ToUpper(rand.Text())
		if err := storage.WriteFile(filepath.Join(dir, "link"), []byte(link), 0o644); err != nil {
			return err
		}
	}
	if err := os.Symlink(filepath.Join("..", id, "diff"), filepath.Join(overlay, "l", link)); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if parentID == "" {
		return nil
	}
	below := "l/" + s.link(parentID)
	if b, err := readSmall(filepath.Join(overlay, parentID, "lower"), lowerLimit); err == nil {
		below += ":" + string(b)
	}
	return storage.WriteFile(filepath.Join(dir, "lower"), []byte(below), 0o644)
}

// lowerLimit bounds the driver's list of the layers below one, which has at most 500 of 29 bytes each.
const lowerLimit = 64 << 10

// link is the name of a layer's short link, "" when it is lost.
func (s *Store) link(id string) string {
	b, err := readSmall(filepath.Join(s.graphRoot(), driverName, id, "link"), 256)
	name := strings.TrimSpace(string(b))
	if err != nil || name != filepath.Base(name) || name == "." {
		return ""
	}
	return name
}

// place gives a tree to containers/storage by renaming it.
func place(c cstorage.Store, dir, parentID string, r *record) error {
	out, err := c.PrepareStagedLayer(&graphdriver.ApplyDiffWithDifferOpts{}, &mover{dir: dir, r: r})
	if err != nil {
		return err
	}
	l, err := c.ApplyStagedLayer(cstorage.ApplyStagedLayerOptions{
		ID: r.ID, ParentLayer: parentID, DiffOutput: out, DiffOptions: &graphdriver.ApplyDiffWithDifferOpts{},
	})
	if err != nil {
		return errors.Join(err, c.CleanupStagedLayer(out))
	}
	r.Created = l.Created
	return nil
}

// mover is the part of containers/storage's "differ" that fills a staging directory.
type mover struct {
	dir string
	r   *record
}

// ApplyDiff puts the tree in the place of the empty directory dest.
func (m *mover) ApplyDiff(dest string, _ *archive.TarOptions, _ *graphdriver.DifferOptions) (graphdriver.DriverWithDifferOutput, error) {
	if err := unix.Rename(m.dir, dest); err != nil {
		return graphdriver.DriverWithDifferOutput{}, &os.LinkError{Op: "rename", Old: m.dir, New: dest, Err: err}
	}
	mode := os.FileMode(0o755)
	return graphdriver.DriverWithDifferOutput{UncompressedDigest: m.r.DiffID, Size: m.r.Size, RootDirMode: &mode}, nil
}

// Close implements graphdriver.Differ.
func (m *mover) Close() error { return nil }

// commit makes a layer exist: first its bytes are safe, then its record.
func (s *Store) commit(r *record) error {
	r.Link = s.link(r.ID)
	if err := s.sync(); err != nil {
		return err
	}
	data, err := storage.Seal(r)
	if err != nil {
		return err
	}
	return storage.WriteFile(s.recordPath(r.DiffID), data, 0o644)
}

// sync flushes the store's file system: containers/storage itself flushes next to nothing.
func (s *Store) sync() error {
	f, err := os.Open(s.graphRoot())
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("flush the file system of %s: %w", s.root, err)
	}
	return nil
}

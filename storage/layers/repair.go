package layers

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	cstorage "github.com/containers/storage"
	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/fstree"
)

// Wanted is a layer that an environment has.
type Wanted struct {
	DiffID, Parent digest.Digest
	Size           int64 // bytes of the canonical archive
}

// Repair makes records and indexes what they should be, as far as they can be derived from each other and from what is
// wanted, parents first; Check tells what is left. What cannot be derived goes where aside puts it. No tree is read or
// changed, except that images that are not whole go. The caller keeps everybody else out, and this Store has not been used
// for anything but Check.
func (s *Store) Repair(ctx context.Context, wanted []Wanted, aside func(path string) error) error {
	lock, err := storage.WaitLock(ctx, s.records()+"/.", nil)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	p := &repair{checker: &checker{Store: s, Checked: &Checked{Good: map[digest.Digest]bool{}}}, aside: aside}
	for _, step := range []func() error{
		func() error { return p.writeRecords(wanted) }, p.dropRecords, p.readRecords, p.reframe, p.writeLayers, p.writeImages,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

type repair struct {
	*checker
	aside func(path string) error
}

// writeRecords writes the records of wanted layers that have none, where their trees are.
func (p *repair) writeRecords(wanted []Wanted) error {
	list, _ := readIndex[cstorage.Layer](p.layerIndexPath())
	listed := map[string]cstorage.Layer{}
	for _, l := range list {
		listed[l.ID] = l
	}
	needed := map[digest.Digest]bool{}
	for _, w := range wanted {
		needed[w.DiffID] = true
		if err := p.writeRecord(w, listed); err != nil {
			return err
		}
	}
	for _, l := range list { // it may lie on what is not wanted
		if !needed[l.UncompressedDigest] || p.recorded(l.UncompressedDigest) {
			continue
		}
		for _, w := range stack(l, listed) {
			if err := p.writeRecord(w, listed); err != nil {
				return err
			}
		}
	}
	return nil
}

// stack is a layer of containers/storage's list after all that it lies on.
func stack(l cstorage.Layer, listed map[string]cstorage.Layer) (all []Wanted) {
	for l.UncompressedDigest.Validate() == nil && len(all) < 500 {
		below := listed[l.Parent]
		all = append(all, Wanted{DiffID: l.UncompressedDigest, Parent: below.UncompressedDigest, Size: l.UncompressedSize})
		l = below
	}
	slices.Reverse(all)
	return all
}

// recorded tells whether a layer has a record that can be true.
func (p *repair) recorded(d digest.Digest) bool {
	r, err := p.readRecord(d)
	return err == nil && p.place(r) == ""
}

func (p *repair) writeRecord(w Wanted, listed map[string]cstorage.Layer) error {
	if p.recorded(w.DiffID) {
		return nil
	}
	r := &record{RecordVersion: 1, DiffID: w.DiffID, Parent: w.Parent, ID: w.DiffID.Encoded(), Size: w.Size, Created: time.Now().UTC()}
	if w.Parent != "" {
		parent, err := p.readRecord(w.Parent)
		if err != nil { // it will be made, and this one after it
			return nil
		}
		r.ID = chainID(parent.ID, w.DiffID)
	}
	if !exists(filepath.Join(p.graphRoot(), driverName, r.ID, "diff")) {
		return nil
	}
	if l, ok := listed[r.ID]; ok {
		r.Created = l.Created
	}
	if r.Link = p.oldLink(r.ID); r.Link == "" {
		r.Link = strings.ToUpper(rand.Text())
	}
	data, err := storage.Seal(r)
	if err != nil {
		return err
	}
	return storage.WriteFile(p.recordPath(w.DiffID), data, 0o644)
}

// oldLink is the short link that leads to a layer, which environments know it by; "" when there is none.
func (p *repair) oldLink(id string) string {
	dir := filepath.Join(p.graphRoot(), driverName, "l")
	if name := p.link(id); name != "" && exists(filepath.Join(dir, name)) {
		return name
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return p.link(id)
	}
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && target == filepath.Join("..", id, "diff") {
			return e.Name()
		}
	}
	return p.link(id)
}

// dropRecords puts records aside that cannot be read, and that nothing can be said about.
func (p *repair) dropRecords() error {
	all, err := p.List()
	if err != nil {
		return err
	}
	for _, d := range all {
		r, err := p.readRecord(d)
		if storage.Starved(err) {
			return err
		}
		if err == nil && p.place(r) == "" {
			continue
		}
		if err := p.aside(p.recordPath(d)); err != nil {
			return err
		}
	}
	return nil
}

// reframe makes anew what the overlay driver has around the trees of layers.
func (p *repair) reframe() error {
	overlay := filepath.Join(p.graphRoot(), driverName)
	for _, r := range p.records {
		dir := filepath.Join(overlay, r.ID)
		if err := os.MkdirAll(filepath.Join(overlay, "l"), 0o700); err != nil {
			return err
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if b, err := readSmall(filepath.Join(dir, "link"), 256); err != nil || string(b) != r.Link {
			if err := storage.WriteFile(filepath.Join(dir, "link"), []byte(r.Link), 0o644); err != nil {
				return err
			}
		}
		link, target := filepath.Join(overlay, "l", r.Link), filepath.Join("..", r.ID, "diff")
		if is, err := os.Readlink(link); err != nil || is != target {
			if err := errors.Join(os.RemoveAll(link), os.Symlink(target, link)); err != nil {
				return err
			}
		}
		if r.Parent == "" {
			continue
		}
		if b, err := readSmall(filepath.Join(dir, "lower"), lowerLimit); err != nil || string(b) != p.below(r) {
			if err := storage.WriteFile(filepath.Join(dir, "lower"), []byte(p.below(r)), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeLayers makes containers/storage's list of layers agree with the records.
func (p *repair) writeLayers() error {
	list, err := readIndex[cstorage.Layer](p.layerIndexPath())
	if storage.Starved(err) {
		return err
	}
	if err != nil {
		list = nil
	}
	p.index = map[string]*cstorage.Layer{}
	for i := range list {
		p.index[list[i].ID] = &list[i]
	}
	changed := err != nil
	kept := []cstorage.Layer{}
	for _, l := range list {
		if r := p.byID[l.ID]; r == nil || p.entry(r) == "" {
			kept = append(kept, l)
		}
	}
	for _, r := range p.records {
		if p.entry(r) != "" {
			changed = true
			kept = append(kept, cstorage.Layer{ID: r.ID, Parent: p.parentID(r), Created: r.Created, UncompressedDigest: r.DiffID, UncompressedSize: r.Size})
		}
	}
	if !changed {
		return nil
	}
	return writeIndex(p.layerIndexPath(), kept)
}

// writeImages leaves the images that are whole.
func (p *repair) writeImages() error {
	list, err := readIndex[cstorage.Image](p.imageIndexPath())
	if storage.Starved(err) {
		return err
	}
	changed := err != nil
	if err != nil {
		list = nil
	}
	kept := []cstorage.Image{}
	for i := range list {
		if _, why := p.image(&list[i]); why == "" {
			kept = append(kept, list[i])
			continue
		}
		changed = true
		if isID(list[i].ID) {
			if err := fstree.RemoveAll(filepath.Join(p.imageDir(), list[i].ID)); err != nil {
				return err
			}
		}
	}
	if !changed {
		return nil
	}
	return writeIndex(p.imageIndexPath(), kept)
}

func writeIndex[T any](path string, list []T) error {
	data, err := json.Marshal(list)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return storage.WriteFile(path, data, 0o600)
}

// Protects returns an error when a layer or an image could be collected by mistake: nothing in the store says what it is.
func (s *Store) Protects(ctx context.Context, layers, images []digest.Digest) error {
	lock, err := storage.WaitLock(ctx, s.records()+"/.", nil)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	listed, err := readIndex[cstorage.Layer](s.layerIndexPath())
	if err != nil {
		return &LostError{fmt.Sprintf("%s: %v", s.layerIndexPath(), bare(err))}
	}
	known := map[string]bool{}
	for _, l := range listed {
		known[l.ID] = true
	}
	for _, d := range layers {
		r, err := s.readRecord(d)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return &LostError{"the record of layer " + string(d) + " is missing"}
		case err != nil:
			return &LostError{err.Error()}
		case !known[r.ID]:
			return &LostError{"containers/storage does not list layer " + string(d)}
		}
	}
	return s.protectsImages(images)
}

func (s *Store) protectsImages(images []digest.Digest) error {
	listed, err := readIndex[cstorage.Image](s.imageIndexPath())
	if err != nil {
		return &LostError{fmt.Sprintf("%s: %v", s.imageIndexPath(), bare(err))}
	}
	known := map[digest.Digest]bool{}
	for _, i := range listed {
		known[i.Digest] = true
	}
	for _, d := range images {
		if !known[d] {
			return &LostError{"containers/storage does not list image " + string(d)}
		}
	}
	return nil
}

// LostError says what is wrong with what protects a layer or an image.
type LostError struct{ What string }

func (e *LostError) Error() string { return e.What }

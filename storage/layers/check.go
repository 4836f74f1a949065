package layers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	cstorage "github.com/containers/storage"
	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/fstree"
)

// Finding is one thing among layers and images that is not as it should be.
type Finding struct {
	Kind  string // KindLayer, KindImage or KindIndex
	ID    string // diffID of a layer, digest of an image; of others, what containers/storage calls it
	Path  string // below the store
	What  string
	Idle  bool // it is no damage: nothing refers to it
	Empty bool // a layer has no files: it is no damage unless an environment has it

	Foreign bool // no command has made it, and none removes it
}

// The kinds of findings.
const (
	KindLayer = "layer"
	KindImage = "image"
	KindIndex = "index" // what containers/storage needs to find layers and images
)

// Checked is what Check found.
type Checked struct {
	Things   int // layers, images and indexes that were looked at
	Good     map[digest.Digest]bool
	Findings []Finding
}

// Check reads every layer and every image, and what finds them, in both directions: what a record or an index names
// exists and has the bytes of its name, and what exists is named. read is told the bytes of trees as they are read. It
// changes nothing. The caller keeps layers from being removed.
func (s *Store) Check(ctx context.Context, read func(int64)) (*Checked, error) {
	c := &checker{Store: s, read: read, Checked: &Checked{Good: map[digest.Digest]bool{}}}
	if err := c.indexes(ctx); err != nil {
		return nil, fmt.Errorf("check layers: %w", err)
	}
	for _, r := range c.records {
		if err := c.layer(ctx, r); err != nil {
			return nil, fmt.Errorf("check layers: %w", err)
		}
	}
	return c.Checked, nil
}

// Bytes is how much Check will read, as far as records tell.
func (s *Store) Bytes() (n int64) {
	all, _ := s.List()
	for _, d := range all {
		if r, err := s.readRecord(d); err == nil {
			n += r.Size
		}
	}
	return n
}

type checker struct {
	*Store
	*Checked
	read    func(int64)
	records []*record
	byID    map[string]*record
	index   map[string]*cstorage.Layer
}

func (c *checker) damage(kind, id, path, what string, args ...any) {
	c.add(Finding{Kind: kind, ID: id, Path: path, What: fmt.Sprintf(what, args...)})
}

func (c *checker) idle(kind, id, path, what string) {
	c.add(Finding{Kind: kind, ID: id, Path: path, What: what, Idle: true})
}

func (c *checker) add(f Finding) {
	if rel, err := filepath.Rel(c.root, f.Path); err == nil {
		f.Path = rel
	}
	c.Findings = append(c.Findings, f)
}

// indexes reads all that is small while nobody changes it.
func (c *checker) indexes(ctx context.Context) error {
	lock, err := storage.WaitLock(ctx, c.Store.records()+"/.", nil)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if err := c.readRecords(); err != nil {
		return err
	}
	if err := c.layerIndex(); err != nil {
		return err
	}
	if err := c.frames(); err != nil {
		return err
	}
	return c.images()
}

func (c *checker) readRecords() error {
	ids, err := c.List()
	if err != nil {
		return err
	}
	c.byID = map[string]*record{}
	for _, d := range ids {
		c.Things++
		r, err := c.readRecord(d)
		if storage.Starved(err) {
			return err
		}
		if err != nil {
			c.damage(KindLayer, string(d), c.recordPath(d), "its record is damaged: %v", bare(err))
			continue
		}
		c.records = append(c.records, r)
		c.byID[r.ID] = r
	}
	return c.strangers()
}

// strangers are files beside the records. Those that are to replace records come and go.
func (c *checker) strangers() error {
	entries, err := os.ReadDir(c.Store.records())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".json"); (!ok || !isID(name)) && !storage.IsTemporary(e.Name()) {
			path := filepath.Join(c.Store.records(), e.Name())
			c.add(Finding{Kind: KindLayer, ID: e.Name(), Path: path, What: "it is no record of a layer", Idle: true, Foreign: true})
		}
	}
	return nil
}

// bare is an error without the path it is about, which is told beside it.
func bare(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// layer checks one layer that has a record.
func (c *checker) layer(ctx context.Context, r *record) error {
	dir := filepath.Join(c.graphRoot(), driverName, r.ID, "diff")
	if why := c.place(r); why != "" {
		c.damage(KindLayer, string(r.DiffID), c.recordPath(r.DiffID), "%s", why)
		return nil
	}
	got, size, err := fstree.WriteTar(ctx, counter(c.read), dir)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case storage.Starved(err):
		return err
	case errors.Is(err, fs.ErrNotExist) && !exists(dir):
		c.add(Finding{Kind: KindLayer, ID: string(r.DiffID), Path: dir, What: "its files are missing", Empty: true})
	case err != nil:
		c.damage(KindLayer, string(r.DiffID), dir, "its files cannot be read: %v", err)
	case got != r.DiffID:
		c.damage(KindLayer, string(r.DiffID), dir, "its content is now %s", got)
	case size != r.Size:
		c.damage(KindLayer, string(r.DiffID), c.recordPath(r.DiffID), "its record says %d bytes, and it has %d", r.Size, size)
	default:
		c.Good[r.DiffID] = true
	}
	return nil
}

// place says what is wrong with where a record has its layer.
func (c *checker) place(r *record) string {
	want := r.DiffID.Encoded()
	if r.Parent != "" {
		p, err := c.readRecord(r.Parent)
		if err != nil {
			return fmt.Sprintf("the layer below, %s, has no record that can be read", r.Parent)
		}
		want = chainID(p.ID, r.DiffID)
	}
	if r.ID != want {
		return fmt.Sprintf("its record has it at %s, where it cannot be", r.ID)
	}
	return ""
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// counter passes on how much is written to it.
type counter func(int64)

func (c counter) Write(b []byte) (int, error) {
	c(int64(len(b)))
	return len(b), nil
}

package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
)

// environments checks each of them.
func (c *checker) environments(ctx context.Context) error {
	entries, err := os.ReadDir(c.store.Path("envs"))
	if err != nil && !missing(err) {
		c.damage("environment", "", c.store.Path("envs"), says(err))
		return nil
	}
	for _, e := range entries {
		if storage.IsTemporary(e.Name()) {
			continue
		}
		if !storage.IsID(e.Name()) {
			c.note("environment", e.Name(), c.store.Path("envs", e.Name()), "it is no environment", "")
			continue
		}
		if err := c.environment(ctx, manifest.EnvID(e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// environment checks one while nobody changes it.
func (c *checker) environment(ctx context.Context, id manifest.EnvID) error {
	lock, err := c.store.SettledIn(ctx, id)
	var gone *storage.NotFoundError
	if errors.As(err, &gone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.Unlock()
	c.Checked++
	r, err := c.store.Record(id)
	if errors.As(err, &gone) && exists(c.store.EnvDir(id)) {
		err = errors.New("its record is missing")
	} else if errors.As(err, &gone) {
		return nil
	}
	c.lock(id, r)
	if err != nil {
		c.damage("environment", id.Short(), c.store.EnvDir(id, "record.json"), says(err))
		return nil
	}
	c.envs = append(c.envs, r)
	c.places(r)
	c.copies(r)
	if err := c.host(ctx, r); err != nil {
		return err
	}
	return c.snapshots(ctx, r)
}

// copies mentions those that are of no use. An earlier one of a record may be, after a crash.
func (c *checker) copies(r *storage.Record) {
	for _, name := range []string{"record.json", lockName} {
		is, err := readBounded(c.store.EnvDir(r.EnvID, name), manifest.MaxLockSize)
		if err != nil {
			continue
		}
		file := c.store.CopyPath(r.EnvID, name)
		if have, err := readBounded(file, manifest.MaxLockSize); err != nil || !bytes.Equal(have, is) {
			c.note("copy", r.EnvID.Short(), file, "it is another than "+name, repairs+" makes it again")
		}
	}
}

// host reads what the host adds.
func (c *checker) host(ctx context.Context, r *storage.Record) error {
	dir := c.store.HostDir(r)
	got, _, err := c.digest(ctx, dir)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && exists(dir):
		c.damage("environment", r.EnvID.Short(), dir, says(err))
	case err == nil && got != r.HostLayer:
		c.damage("environment", r.EnvID.Short(), dir, "what the host adds has changed")
	}
	return nil
}

// lock checks what an environment was built from, and that its record is of it, where that can be read.
func (c *checker) lock(id manifest.EnvID, r *storage.Record) {
	file := c.store.EnvDir(id, "karapace.lock")
	l, err := readLock(file)
	switch {
	case err != nil:
		c.damage("lock", id.Short(), file, says(err))
		return
	case l.ID() != id:
		c.damage("lock", id.Short(), file, "it is the lock of environment "+l.ID().Short())
		return
	case r != nil && l.Output != (manifest.Output{BaseLayer: r.BaseLayer, PackageLayer: r.PackageLayer, ImageDigest: r.ImageDigest}):
		c.damage("lock", id.Short(), file, "it promises other layers than its environment has")
	}
	c.needs(l, "environment "+id.Short())
}

// readLock reads a lock in the store.
func readLock(file string) (*manifest.Lock, error) {
	text, err := readBounded(file, manifest.MaxLockSize)
	if err != nil {
		return nil, err
	}
	l, err := manifest.ParseLock(file, text)
	if err != nil { // whose help is for locks of projects
		return nil, errors.New("it is damaged")
	}
	return l, nil
}

// built checks the references to what is shared.
func (c *checker) built(context.Context) error {
	if c.good == nil {
		return nil
	}
	for _, r := range c.envs {
		c.shared(r)
	}
	return nil
}

func (c *checker) shared(r *storage.Record) {
	file := c.store.EnvDir(r.EnvID, "record.json")
	var lower []string
	for _, d := range []digest.Digest{r.PackageLayer, r.BaseLayer} {
		if d == "" {
			continue
		}
		if record := c.store.Path("layers", d.Encoded()+".json"); !exists(record) {
			c.damage("layer", string(d), record, "its record is missing, and environment "+r.EnvID.Short()+" needs it")
		}
		if !c.good[d] {
			c.damage("environment", r.EnvID.Short(), file, fmt.Sprintf("its layer %s is not whole", d))
		}
		if link, ok := c.link(d); ok {
			lower = append(lower, link)
		}
	}
	if len(lower) > 0 && !slices.Equal(lower, r.Lower) {
		c.damage("environment", r.EnvID.Short(), file, "it has its layers in other places than they are")
	}
	if !c.good[r.ImageDigest] {
		c.damage("environment", r.EnvID.Short(), file, fmt.Sprintf("its image %s is not whole", r.ImageDigest))
	}
}

// link is the short name of a layer below the store.
func (c *checker) link(d digest.Digest) (string, bool) {
	store, err := c.layers()
	if err != nil {
		return "", false
	}
	l, ok := store.Lookup(d)
	if !ok {
		return "", false
	}
	return c.below(l.Link), true
}

// places checks that the directories of an environment are there.
func (c *checker) places(r *storage.Record) {
	for _, name := range []string{r.UpperName(), "work", r.HostName(), "state", "bundle", filepath.Join("bundle", "rootfs")} {
		dir := c.store.EnvDir(r.EnvID, name)
		if info, err := os.Lstat(dir); err != nil || !info.IsDir() {
			c.damage("environment", r.EnvID.Short(), dir, "the directory is missing")
		}
	}
}

// snapshots reads what was committed.
func (c *checker) snapshots(ctx context.Context, r *storage.Record) error {
	for _, snap := range r.Snapshots {
		c.Checked++
		dir := c.store.EnvDir(r.EnvID, snap.Dir)
		got, size, err := c.digest(ctx, dir)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			c.damage("snapshot", snap.Short(), dir, says(err))
		case got != snap.Layer:
			c.damage("snapshot", snap.Short(), dir, fmt.Sprintf("its content is now %s", got))
		case size != snap.Size:
			c.damage("snapshot", snap.Short(), dir, fmt.Sprintf("its record says %d bytes, and it has %d", snap.Size, size))
		}
	}
	return nil
}

// names checks that names lead to the environments that have them, and mentions what is no name. Those that no environment has are garbage.
func (c *checker) names(ctx context.Context) error {
	if !exists(c.store.Path("names")) {
		return nil
	}
	return c.store.ChangeNames(ctx, c.readNames)
}

func (c *checker) readNames() error {
	records, _ := c.store.Records()
	owner := map[string]manifest.EnvID{}
	for _, r := range records {
		if r.Name == "" {
			continue
		}
		c.Checked++
		owner[r.Name] = r.EnvID
		link := c.store.Path("names", r.Name)
		target, err := os.Readlink(link)
		switch other, _ := c.store.Find(r.Name); {
		case err == nil && target == string(r.EnvID):
		case other != nil && other.Name == r.Name: // a rebuild that ended early
			c.note("environment", r.EnvID.Short(), "", fmt.Sprintf("its name %s went over to environment %s", r.Name, other.EnvID.Short()), "karapace destroy "+r.EnvID.Short()+", if nothing in it is needed")
		default:
			c.damage("name", r.Name, link, "it does not lead to its environment "+r.EnvID.Short())
		}
	}
	entries, err := os.ReadDir(c.store.Path("names"))
	if err != nil {
		c.damage("name", "", c.store.Path("names"), says(err))
	}
	for _, e := range entries {
		if _, ok := owner[e.Name()]; !ok && e.Type()&fs.ModeSymlink == 0 {
			c.note("file", e.Name(), c.store.Path("names", e.Name()), "it is no name of an environment", "")
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

package builder

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro"
	"github.com/karapace/karapace/storage"
)

// needs notes the files of the vault that a lock names.
func (c *checker) needs(l *manifest.Lock, who string) {
	if strings.HasPrefix(l.BaseImageLocation, "http") && l.BaseImageDigest != "" {
		c.files[l.BaseImageDigest.Encoded()] = who
	}
	for _, pkgs := range [][]manifest.Package{l.BasePackages, l.Packages} {
		for _, f := range distro.PackageFiles(pkgs) {
			c.files[f.SHA256] = who
		}
	}
}

// ahead checks the locks that were fetched ahead.
func (c *checker) ahead(context.Context) error {
	files, err := storage.Glob(c.store.Path("fetched"), "*.lock")
	if err != nil {
		return err
	}
	for _, file := range files {
		c.Checked++
		id := strings.TrimSuffix(filepath.Base(file), ".lock")
		l, err := readLock(file)
		switch {
		case missing(err):
		case err != nil:
			c.damage("lock", short(id), file, says(err))
		case string(l.ID()) != id:
			c.damage("lock", short(id), file, "it is the lock of environment "+l.ID().Short())
		default:
			c.needs(l, "what was fetched ahead for "+short(id))
		}
	}
	return nil
}

func short(id string) string { return id[:min(len(id), 12)] }

// quick checks manifests and locks of environments without a project.
func (c *checker) quick(context.Context) error {
	entries, err := os.ReadDir(c.store.Path("quick"))
	if err != nil && !missing(err) {
		c.damage("manifest", "", c.store.Path("quick"), says(err))
		return nil
	}
	for _, e := range entries {
		file := c.store.Path("quick", e.Name())
		id, ext := strings.TrimSuffix(e.Name(), filepath.Ext(e.Name())), filepath.Ext(e.Name())
		switch {
		case !storage.IsID(id) || ext != ".toml" && ext != ".lock":
			c.note("file", e.Name(), file, "it is neither manifest nor lock", "")
			continue
		case ext == ".lock":
			if _, err := readLock(file); err != nil && !missing(err) {
				c.damage("lock", short(id), file, says(err))
			}
		default:
			if err := checkQuick(file, id); err != nil && !missing(err) {
				c.damage("manifest", short(id), file, says(err))
			}
		}
		c.Checked++
	}
	return nil
}

func checkQuick(file, id string) error {
	text, err := readBounded(file, manifest.MaxSize)
	if err != nil {
		return err
	}
	m, err := manifest.Parse(file, text)
	if err != nil || string(m.PreliminaryID()) != id {
		return errors.New("it is not the manifest that it was")
	}
	return nil
}

// builds checks what is remembered of builds.
func (c *checker) builds(context.Context) error {
	entries, err := os.ReadDir(c.store.Path("built"))
	if err != nil && !missing(err) {
		c.damage("build", "", c.store.Path("built"), says(err))
		return nil
	}
	for _, e := range entries {
		id, ext := strings.TrimSuffix(e.Name(), filepath.Ext(e.Name())), filepath.Ext(e.Name())
		if ext == ".lock" && storage.IsID(id) {
			continue
		}
		file := c.store.Path("built", e.Name())
		if ext != ".json" || !storage.IsID(id) {
			c.note("file", e.Name(), file, "it is no record of a build", "")
			continue
		}
		c.Checked++
		b, err := c.store.ReadBuilt(e.Name())
		switch {
		case missing(err):
		case err != nil:
			c.damage("build", short(id), file, says(err))
		default:
			if _, ok := c.link(b.Layer); !ok {
				c.note("build", short(id), file, "its layer is gone", "nothing need be done: the layer is made again when it is needed")
			}
		}
	}
	return nil
}

// vault checks the files of the vault by their digests.
func (c *checker) vault(ctx context.Context) error {
	dir := c.store.Path("vault", "sha256")
	entries, err := os.ReadDir(dir)
	if err != nil && !missing(err) {
		return err
	}
	for _, e := range entries {
		file := filepath.Join(dir, e.Name())
		if !storage.IsID(e.Name()) {
			c.note("file", e.Name(), file, "its name is no digest", collects)
			continue
		}
		c.Checked++
		switch got, err := c.sum(ctx, file); {
		case ctx.Err() != nil:
			return ctx.Err()
		case storage.Starved(err):
			return err
		case missing(err):
		case err != nil:
			c.damage("file", e.Name(), file, says(err))
		case got != e.Name():
			c.damage("file", e.Name(), file, "its content is now "+got)
		}
	}
	c.absent(dir)
	return c.documents(ctx)
}

// absent mentions files that locks name and the vault lacks: they are fetched when they are needed.
func (c *checker) absent(dir string) {
	var sums []string
	for sum := range c.files {
		sums = append(sums, sum)
	}
	slices.Sort(sums)
	const remedy = "nothing need be done: a build that needs it fetches it"
	lacking := 0
	for _, sum := range sums {
		file := filepath.Join(dir, sum)
		if exists(file) {
			continue
		}
		if lacking++; lacking <= absentNamed {
			c.note("file", sum, file, c.files[sum]+" names it, and it is missing", remedy)
		}
	}
	if lacking > absentNamed {
		c.note("file", "", dir, fmt.Sprintf("%d more files that locks name are missing", lacking-absentNamed), remedy)
	}
}

// absentNamed is how many files that are missing are named: of an environment that was brought from elsewhere all are.
const absentNamed = 100

// documents checks what is kept of servers' answers.
func (c *checker) documents(ctx context.Context) error {
	dir := c.store.Path("vault", "documents")
	entries, err := os.ReadDir(dir)
	if err != nil && !missing(err) {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		c.Checked++
		file := filepath.Join(dir, e.Name())
		if !keptWhole(file) {
			c.damage("document", e.Name(), file, "its content is not what its first line says")
		}
	}
	return nil
}

func keptWhole(file string) bool {
	data, err := readBounded(file, documentLimit)
	if missing(err) {
		return true
	}
	head, body, _ := bytes.Cut(data, []byte("\n"))
	sum := sha256.Sum256(body)
	return err == nil && bytes.Contains(head, []byte(hex.EncodeToString(sum[:])))
}

// documentLimit bounds a document that is kept, in bytes: more than any that is fetched may have.
const documentLimit = 1 << 30

// sum is the sha256 of a regular file.
func (c *checker) sum(ctx context.Context, file string) (string, error) {
	f, err := openRegular(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	buf := make([]byte, 1<<20)
	for ctx.Err() == nil {
		n, err := f.Read(buf)
		h.Write(buf[:n])
		c.read(int64(n))
		if err == io.EOF {
			return hex.EncodeToString(h.Sum(nil)), nil
		}
		if err != nil {
			return "", err
		}
	}
	return "", ctx.Err()
}

// openRegular opens a regular file, and nothing else, without blocking.
func openRegular(file string) (*os.File, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is not a regular file")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// readBounded reads a regular file of at most limit bytes.
func readBounded(file string, limit int64) ([]byte, error) {
	f, err := openRegular(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = errors.New("it is too large")
	}
	return data, err
}

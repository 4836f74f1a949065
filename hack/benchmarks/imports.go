package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

const (
	tarX       = "tar x"
	tarSync    = "tar x, and sync"
	importTar  = "karapace build, 600 MB tar"
	importZstd = "karapace build, 600 MB tar.zst"
)

// importRows make an environment of a large root file system, in an empty store, against unpacking it.
// Karapace also waits until all of it is on disk, which tar does not; the last rows take that into account.
var importRows = []row{
	{What: importTar, Against: tarX, AtMost: 1.5},
	{What: importZstd, Against: tarX, AtMost: 1.8},
	{What: importTar, AtMost: 100},
	{What: importZstd, AtMost: 100},
	{What: importTar, Against: tarSync},
	{What: importZstd, Against: tarSync},
}

// largeBytes is how large the large root file system is.
const largeBytes = 600e6

func imports(ctx context.Context, l *lab) *group {
	g := &group{name: "importing", rounds: min(l.rounds, importRounds), cold: true}
	large := l.path("large.tar")
	l.progress("writing a large root file system")
	size, err := writeLarge(large, largeBytes)
	l.facts["large root file system"] = size
	if err != nil {
		for _, name := range []string{tarX, tarSync, importTar, importZstd} {
			g.missing(name, err)
		}
		return g
	}
	into := l.path("unpacked")
	emptied := func() error {
		return errors.Join(l.remove(ctx, "unpacked", "imported", "home/large.lock"), os.Mkdir(into, 0o755), l.sync(ctx))
	}
	unpack := l.mapped("tar", "--numeric-owner", "-xf", large, "-C", into)
	g.add(tarX, unpack...).prepare = emptied
	g.add(tarSync, l.mapped("sh", "-c", `"$@" && exec sync --file-system "$0"`, into, "tar", "--numeric-owner", "-xf", large, "-C", into)...).prepare = emptied
	l.addImport(ctx, g, importTar, large, emptied)
	if _, err = l.do(ctx, "zstd", "-q", "-3", "-T0", large, "-o", large+".zst"); err != nil {
		g.missing(importZstd, err)
		return g
	}
	l.addImport(ctx, g, importZstd, large+".zst", emptied)
	return g
}

// addImport adds the building of an environment from the archive, where nothing is there yet, not even a lock.
func (l *lab) addImport(ctx context.Context, g *group, name, archive string, emptied func() error) {
	manifest := l.path("home", "large.toml")
	g.add(name, l.karapace, "--store", l.path("imported"), "build", manifest, "--name", "large").prepare = func() error {
		return errors.Join(emptied(), writeManifest(manifest, archive, "large"))
	}
}

// writeLarge archives about so many bytes of this machine's /usr, the same ones whenever /usr is, and says how much it is.
func writeLarge(file string, wanted float64) (size string, err error) {
	const from = "/usr"
	var total int64
	err = eachFile(from, func(_ string, info fs.FileInfo) error {
		total += info.Size()
		return nil
	})
	if err != nil {
		return "", err
	}
	a, err := newArchive(file)
	if err != nil {
		return "", err
	}
	files, bytes := 0, int64(0)
	made := map[string]bool{"usr": true, "usr/bin": true}
	err = errors.Join(a.tiny(), eachFile(from, func(path string, info fs.FileInfo) error {
		if chance(path)*float64(total) >= wanted {
			return nil
		}
		files++
		bytes += info.Size()
		return a.within(made, path)
	}), a.Close())
	return fmt.Sprintf("%d MB in %d files of %s", bytes/1e6, files, from), err
}

// chance is a number from 0 to 1 that has nothing to do with the path but is always the same for it.
func chance(path string) float64 {
	h := fnv.New64a()
	h.Write([]byte(path))
	return float64(h.Sum64()>>11) / (1 << 53)
}

// within adds a file, and before it the directories that it lies in.
func (a *archiver) within(made map[string]bool, path string) error {
	name := path[1:]
	var missing []string
	for d := filepath.Dir(name); !made[d]; d = filepath.Dir(d) {
		made[d] = true
		missing = append(missing, d)
	}
	for _, d := range slices.Backward(missing) {
		if err := a.dir(d); err != nil {
			return err
		}
	}
	return a.file(name, path)
}

// eachFile calls do for the regular files below dir that everybody may read, but for the very large.
func eachFile(dir string, do func(path string, info fs.FileInfo) error) error {
	const largest = 16e6
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // a directory that the user may not read
		}
		info, err := d.Info()
		if err != nil || info.Size() > largest || info.Mode().Perm()&0o004 == 0 {
			return nil
		}
		return do(path, info)
	})
}

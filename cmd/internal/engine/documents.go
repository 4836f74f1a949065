package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
)

const (
	manifestLimit = 1 << 20
	lockLimit     = 16 << 20
)

// project is a manifest and the lock beside it.
type project struct {
	File     string // as the user wrote it
	Dir      string // absolute
	Text     []byte
	Manifest *manifest.Manifest
	LockFile string
	Lock     *manifest.Lock // nil: there is none
	LockText []byte
	lockWas  []byte // what the file had when it was read; nil: there was none
	lockLost bool   // it cannot be read, and may be replaced
}

// load reads a manifest and its lock. An empty file means karapace.toml in the working directory.
func (e *Engine) load(file string) (*project, error) {
	p, err := e.loadManifest(file)
	if err != nil {
		return nil, err
	}
	p.Lock, p.lockWas, err = readLockText(p.LockFile)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	p.LockText = p.Lock.Encode()
	return p, nil
}

// writeLock writes the lock, unless somebody else has put another one there since it was read. One of the same environment that knows what
// became of it is as good.
func (p *project) writeLock(text []byte) error {
	now, err := readFile(p.LockFile, lockLimit)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !p.lockLost {
		return failure.New(failure.Lock, fmt.Errorf("read lock: %w", err), "")
	}
	if !p.lockLost && !bytes.Equal(now, p.lockWas) {
		theirs, theirErr := manifest.ParseLock(p.LockFile, now)
		ours, ourErr := manifest.ParseLock(p.LockFile, text)
		switch {
		case theirErr != nil || ourErr != nil || theirs.ID() != ours.ID():
			return failure.New(failure.Lock, fmt.Errorf("%s was changed meanwhile; nothing was written", filepath.Base(p.LockFile)), "run the command again")
		case ours.Output.ImageDigest == "":
			return nil
		}
	}
	if err := storage.WriteDocument(p.LockFile, text, 0o644); err != nil {
		return failure.New(failure.Lock, err, "")
	}
	p.lockWas = text
	return nil
}

// loadForUpdate is load for the command that replaces the lock: one that cannot be read counts as none.
func (e *Engine) loadForUpdate(file string) (*project, error) {
	p, err := e.load(file)
	if kind, _ := failure.Of(err); err != nil && kind == failure.Lock {
		if p, err = e.loadManifest(file); err == nil {
			p.lockWas, err = readFile(p.LockFile, lockLimit)
			p.lockLost, err = err != nil, nil
		}
	}
	return p, err
}

func (e *Engine) loadManifest(file string) (*project, error) {
	if file == "" {
		file = manifestName
	}
	path := file
	if !filepath.IsAbs(path) {
		path = filepath.Join(e.Cwd, path)
	}
	text, err := readFile(path, manifestLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, failure.New(failure.Manifest, fmt.Errorf("there is no manifest %s", file), e.otherManifest(path))
	}
	if err != nil {
		hint := ""
		if info, statErr := os.Stat(path); statErr == nil && info.IsDir() {
			hint = "name the file in it: " + filepath.Join(file, manifestName)
		}
		return nil, failure.New(failure.Manifest, fmt.Errorf("read manifest: %w", err), hint)
	}
	m, err := manifest.Parse(file, text)
	if err != nil {
		return nil, failure.New(failure.Manifest, err, "")
	}
	if m.Base.Arch == "" {
		m.Base.Arch = runtime.GOARCH
	}
	return &project{File: file, Dir: filepath.Dir(path), Text: text, Manifest: m, LockFile: lockName(path)}, nil
}

const manifestName = "karapace.toml"

// otherManifest is what to do where a manifest is not: take the nearest one above, or write one.
func (e *Engine) otherManifest(path string) string {
	const write = "write one with: karapace new NAME"
	if filepath.Base(path) != manifestName {
		return write
	}
	for dir := filepath.Dir(path); dir != filepath.Dir(dir); {
		dir = filepath.Dir(dir)
		above := filepath.Join(dir, manifestName)
		if _, err := os.Stat(above); err != nil {
			continue
		}
		if near, err := filepath.Rel(e.Cwd, above); err == nil {
			above = near
		}
		return "there is one above: name it, " + above + ", or " + write
	}
	return write
}

// lockName is the lock beside a manifest: karapace.toml has karapace.lock, dev.toml has dev.lock.
func lockName(path string) string { return strings.TrimSuffix(path, ".toml") + ".lock" }

// readLock reads and checks a lock; a missing one gives fs.ErrNotExist.
func readLock(path string) (*manifest.Lock, error) {
	l, _, err := readLockText(path)
	return l, err
}

func readLockText(path string) (*manifest.Lock, []byte, error) {
	text, err := readFile(path, lockLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	if err != nil {
		return nil, nil, failure.New(failure.Lock, fmt.Errorf("read lock: %w", err), "")
	}
	l, err := manifest.ParseLock(path, text)
	if err != nil {
		return nil, nil, failure.New(failure.Lock, err, "")
	}
	return l, text, nil
}

// stale explains how a lock fails to satisfy its manifest; nil when it does.
func (p *project) stale() error {
	diffs := p.Lock.Check(p.Manifest)
	if len(diffs) == 0 {
		return nil
	}
	lines := make([]string, len(diffs))
	for i, d := range diffs {
		lines[i] = "\n  " + d.String()
	}
	return failure.New(failure.Lock, fmt.Errorf("%s does not satisfy %s:%s", filepath.Base(p.LockFile), p.File, strings.Join(lines, "")),
		"karapace lock --update "+p.File)
}

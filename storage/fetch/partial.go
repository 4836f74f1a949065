package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/storage"
)

// partial is what has arrived of one file. Its lock is held from openPartial to close, so only one process adds to it.
type partial struct {
	file   *os.File
	hash   hash.Hash // of the first n bytes
	n      int64     // bytes that are there; the file's offset
	loaded bool      // hash covers them
	from   string    // path of the note where the bytes came from
}

// openPartial opens and locks the partial file of a digest, or of a URL whose digest nobody knows, waiting for another
// process that works on it. It returns nil when that one brought the file of the digest.
func (c *Client) openPartial(ctx context.Context, key string) (*partial, error) {
	name := filepath.Join(c.opts.Vault, "partial", key)
	for {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open partial file: %w", err)
		}
		if err := storage.WaitFile(ctx, f, c.opts.Waiting); err != nil {
			f.Close()
			return nil, fmt.Errorf("lock partial file: %w", err)
		}
		// Whoever finished it has renamed it: then the name is gone or another file, and the lock means nothing.
		if _, err := os.Lstat(c.Path(key)); err == nil {
			if sameFile(f, name) {
				os.Remove(name)
				os.Remove(name + ".from")
			}
			f.Close()
			return nil, nil
		}
		if !sameFile(f, name) {
			f.Close()
			continue
		}
		return &partial{file: f, hash: sha256.New(), from: name + ".from"}, nil
	}
}

func sameFile(f *os.File, name string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Lstat(name)
	return err == nil && os.SameFile(a, b)
}

// load hashes what an earlier attempt left; more than size bytes are worth nothing.
func (p *partial) load(size int64) error {
	if p.loaded {
		return nil
	}
	p.loaded = true
	n, err := io.Copy(p.hash, io.LimitReader(p.file, size+1))
	if err != nil {
		return fmt.Errorf("read partial file: %w", err)
	}
	p.n = n
	if n > size {
		return p.reset()
	}
	return nil
}

// reset forgets everything that has arrived.
func (p *partial) reset() error {
	if err := p.file.Truncate(0); err != nil {
		return err
	}
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	p.hash.Reset()
	p.n = 0
	if err := os.Remove(p.from); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Write appends to the file; a short write is undone so that the hash and the file agree.
func (p *partial) Write(b []byte) (int, error) {
	n, err := p.file.Write(b)
	p.hash.Write(b[:n])
	p.n += int64(n)
	if err != nil {
		err = &localError{err}
	}
	return n, err
}

func (p *partial) sum() string { return hex.EncodeToString(p.hash.Sum(nil)) }

// note keeps the server's name for the version of the file that is arriving.
func (p *partial) note(url, validator string) {
	if validator == "" {
		os.Remove(p.from)
		return
	}
	// Losing it costs a transfer, nothing else.
	_ = os.WriteFile(p.from, []byte(url+"\n"+validator), 0o600)
}

// validator returns what note kept, when it was for this URL.
func (p *partial) validator(url string) string {
	b, err := os.ReadFile(p.from)
	if err != nil || len(b) > 16<<10 {
		return ""
	}
	from, v, _ := strings.Cut(string(b), "\n")
	if from != url || strings.ContainsAny(v, "\r\n") {
		return ""
	}
	return v
}

// commit makes the file durable, unless it is volatile, and gives it its place in the vault.
func (p *partial) commit(path string, volatile bool) error {
	if err := p.file.Chmod(0o444); err != nil {
		return fmt.Errorf("finish vault file: %w", err)
	}
	if !volatile {
		if err := p.file.Sync(); err != nil {
			return fmt.Errorf("finish vault file: %w", err)
		}
	}
	if err := os.Rename(p.file.Name(), path); err != nil {
		return fmt.Errorf("finish vault file: %w", err)
	}
	os.Remove(p.from)
	return nil
}

// discard removes what has arrived. Whoever waits for the lock sees that the name is gone.
func (p *partial) discard() error {
	os.Remove(p.from)
	if err := os.Remove(p.file.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &localError{err}
	}
	return nil
}

// close gives the lock up. Of a transfer that brought nothing nothing is left.
func (p *partial) close() {
	if p.n == 0 && p.loaded && sameFile(p.file, p.file.Name()) {
		p.discard()
	}
	p.file.Close()
}

// localError is a failure of this machine, a full disk for example: no server is asked again after it.
type localError struct{ err error }

func (e *localError) Error() string { return "write to the vault: " + e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

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
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/manifest/distro"
)

// CorruptError names a file of the vault that had other bytes than its name promises. It wraps distro.ErrCorrupt.
type CorruptError struct {
	SHA256  string
	MovedTo string // where the file lies now, empty when it could not be moved
}

func (e *CorruptError) Error() string {
	text := "vault file " + e.SHA256 + " was changed or damaged"
	if e.MovedTo != "" {
		text += "; it was moved to " + e.MovedTo
	}
	return text
}

func (e *CorruptError) Unwrap() error { return distro.ErrCorrupt }

// Path is where the vault keeps the file with this digest.
func (c *Client) Path(sha256 string) string { return filepath.Join(c.opts.Vault, "sha256", sha256) }

// has reports whether the vault has a file, by size; content is verified when it is read.
func (c *Client) has(f distro.File) (bool, error) {
	info, err := os.Lstat(c.Path(f.SHA256))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look into vault: %w", err)
	}
	if info.Mode().IsRegular() && (info.Size() == f.Size || !sized(f)) {
		return true, nil
	}
	_, err = c.moveAside(f.SHA256)
	return false, err
}

// Open reads a file of the vault, verified on the way: a wrong one is moved aside, and the last Read gives a
// *CorruptError instead of io.EOF.
func (c *Client) Open(sha256Hex string) (io.ReadCloser, error) {
	if !isHex(sha256Hex) {
		return nil, fmt.Errorf("open vault file: %q is not a sha256 digest", sha256Hex)
	}
	f, err := os.OpenFile(c.Path(sha256Hex), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open vault file: %w", err)
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, errors.Join(err, c.corrupt(sha256Hex))
	}
	return &verifier{client: c, file: f, want: sha256Hex, hash: sha256.New()}, nil
}

// Verify reads the files and returns a *CorruptError for the first with other bytes; it is out of the vault then.
func (c *Client) Verify(ctx context.Context, files []distro.File) error {
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		r, err := c.Open(f.SHA256)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, r)
		r.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

type verifier struct {
	client *Client
	file   *os.File
	want   string
	hash   hash.Hash
	end    error
}

func (v *verifier) Read(p []byte) (int, error) {
	if v.end != nil {
		return 0, v.end
	}
	n, err := v.file.Read(p)
	v.hash.Write(p[:n])
	if err == io.EOF && hex.EncodeToString(v.hash.Sum(nil)) != v.want {
		err = v.client.corrupt(v.want)
	}
	v.end = err
	return n, err
}

func (v *verifier) Close() error { return v.file.Close() }

func (c *Client) corrupt(sha256Hex string) error {
	to, err := c.moveAside(sha256Hex)
	if err != nil {
		to = ""
	}
	return &CorruptError{SHA256: sha256Hex, MovedTo: to}
}

// moveAside takes a file out of the vault and keeps it for whoever wants to know what happened.
func (c *Client) moveAside(sha256Hex string) (string, error) {
	dir := filepath.Join(c.opts.Vault, "bad")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("move damaged vault file aside: %w", err)
	}
	for n := 1; ; n++ {
		to := filepath.Join(dir, sha256Hex+"."+strconv.Itoa(n))
		err := unix.Renameat2(unix.AT_FDCWD, c.Path(sha256Hex), unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EEXIST) && n < 100 {
			continue
		}
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EEXIST) { // a file system without NOREPLACE, or enough kept
			err = os.Rename(c.Path(sha256Hex), to)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("move damaged vault file aside: %w", err)
		}
		return to, nil
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

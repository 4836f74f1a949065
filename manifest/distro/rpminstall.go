package distro

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro/pgp"
	"github.com/karapace/karapace/manifest/distro/rpmrepo"
)

// rpmTrust is what a base's configuration says about the signatures of packages.
type rpmTrust struct {
	keys  pgp.KeyRing
	repos []rpmrepo.Repo          // that are enabled
	check func(rpmrepo.Repo) bool // whether packages of a repository have to be signed
}

// wanted reports whether a package from location has to be signed. One from no place that a repository names, of a
// mirror say, has to be when those of any repository have to.
func (t rpmTrust) wanted(location string) bool {
	for _, r := range t.repos {
		for _, base := range r.BaseURLs {
			if strings.HasPrefix(location, strings.TrimRight(base, "/")+"/") {
				return t.check(r)
			}
		}
	}
	return slices.ContainsFunc(t.repos, t.check)
}

// verify checks the signature over a package's header.
func (t rpmTrust) verify(p *rpmrepo.RPM, location string) error {
	if !t.wanted(location) {
		return nil
	}
	if len(p.Signatures) == 0 {
		return errors.New("it is not signed, and the base's configuration wants packages to be (gpgcheck)")
	}
	if t.keys.Empty() {
		return errors.New("the base trusts no key that could have signed it: its configuration wants packages to be signed (gpgcheck)")
	}
	_, err := t.keys.Verify(p.Header.Raw, bytes.NewReader(bytes.Join(p.Signatures, nil)), time.Time{})
	return err
}

// rpmDir is a directory of Sandbox.Shared that a package manager uses instead of the base's own places.
type rpmDir struct{ host, inside string }

func newRPMDir(sb Sandbox, name string) (rpmDir, error) {
	d := rpmDir{path.Join(sb.Shared(), name), path.Join(SharedDir, name)}
	for _, sub := range []string{"cache", "log", "state", "repos", "plugins"} {
		if err := os.MkdirAll(filepath.Join(d.host, sub), 0o755); err != nil {
			return d, fmt.Errorf("prepare for the package manager: %w", err)
		}
	}
	return d, nil
}

func (d rpmDir) write(name, text string) error {
	if err := os.WriteFile(filepath.Join(d.host, name), []byte(text), 0o644); err != nil {
		return fmt.Errorf("prepare for the package manager: %w", err)
	}
	return nil
}

// installRPMs is what Install of every manager over rpm does; run has the manager install the requested packages from
// the repository "lock" in d.
func installRPMs(ctx context.Context, sb Sandbox, f Fetcher, pkgs []manifest.Package, trust rpmTrust, d rpmDir, run func() error) error {
	clock, err := newRPMClock(ctx, sb)
	if err != nil {
		return err
	}
	before, err := readRPMSet(ctx, sb)
	if err != nil {
		return err
	}
	if err := writeRPMLock(ctx, f, pkgs, trust, filepath.Join(d.host, "lock")); err != nil {
		return err
	}
	if err := run(); err != nil {
		return fmt.Errorf("install packages: %w", err)
	}
	after, err := readRPMSet(ctx, sb)
	if err != nil {
		return err
	}
	if err := after.difference(before, pkgs); err != nil {
		return err
	}
	if err := clock.normalise(ctx, sb, d, before); err != nil {
		return err
	}
	if err := checkWAL(sb); err != nil {
		return err
	}
	return refreshFonts(ctx, sb, pkgs)
}

// checkWAL makes sure that nothing of rpm's database is only in the log beside it, which no layer keeps.
func checkWAL(sb Sandbox) error {
	for _, dir := range rpmDirs() {
		f, err := sb.Open(dir + "/rpmdb.sqlite-wal")
		if err != nil {
			continue
		}
		n, _ := io.CopyN(io.Discard, f, 1)
		f.Close()
		if n > 0 {
			return fmt.Errorf("rpm has left part of its database in %s/rpmdb.sqlite-wal; its layer would lack that", dir)
		}
	}
	return nil
}

// writeRPMLock makes a repository of the locked files. The files are copies, verified while they are made: the vault
// itself is out of the reach of what runs in the base.
func writeRPMLock(ctx context.Context, f Fetcher, pkgs []manifest.Package, trust rpmTrust, dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "repodata"), 0o755); err != nil {
		return fmt.Errorf("write lock repository: %w", err)
	}
	entries := make([]rpmrepo.Entry, len(pkgs))
	err := eachLocked(ctx, f, pkgs, func(i int, p manifest.Package) (err error) {
		entries[i], err = copyRPM(f, p, trust, dir)
		return err
	})
	if err != nil {
		return err
	}
	primary := filepath.Join(dir, "repodata", "primary.xml")
	sum := sha256.New()
	err = writeFile(primary, func(w io.Writer) error { return rpmrepo.WritePrimary(io.MultiWriter(w, sum), entries) })
	if err != nil {
		return fmt.Errorf("write lock repository: %w", err)
	}
	info, err := os.Stat(primary)
	if err != nil {
		return fmt.Errorf("write lock repository: %w", err)
	}
	return writeFile(filepath.Join(dir, "repodata", "repomd.xml"), func(w io.Writer) error {
		return rpmrepo.WriteRepomd(w, 1, []rpmrepo.LocalData{{Type: "primary", Location: "repodata/primary.xml", SHA256: hex.EncodeToString(sum.Sum(nil)), Size: info.Size()}})
	})
}

// copyRPM copies a package file out of the vault, verified by the lock's digest, by the signature when the base wants
// one, and by its own idea of what it is.
func copyRPM(f Fetcher, p manifest.Package, trust rpmTrust, dir string) (rpmrepo.Entry, error) {
	e := rpmrepo.Entry{Location: p.SHA256 + ".rpm", SHA256: p.SHA256, Size: p.Size}
	err := writeFile(filepath.Join(dir, e.Location), func(w io.Writer) error {
		return readVerified(f, p.SHA256, func(r io.Reader) (err error) {
			all := io.TeeReader(r, w)
			if e.RPM, err = rpmrepo.ReadRPM(all); err != nil {
				return err
			}
			return checkRPM(e.RPM, all, p, trust)
		})
	})
	return e, err
}

// checkRPM compares a package file's header with the lock, and its payload, which it reads, with the header.
func checkRPM(file *rpmrepo.RPM, payload io.Reader, p manifest.Package, trust rpmTrust) error {
	h := file.Header
	if name, arch := h.String(rpmrepo.TagName), h.String(rpmrepo.TagArch); name != p.Name || h.Version() != p.Version || arch != p.Arch || h.Source() {
		return fmt.Errorf("its file is %s %s (%s), not %s (%s) as the lock says", name, h.Version(), arch, p.Version, p.Arch)
	}
	want, has := h.Payload()
	sum := payloadHash(want.Type)
	if _, err := io.Copy(sum, payload); err != nil {
		return err
	}
	if has && (want.Type == "" || hex.EncodeToString(sum.Sum(nil)) != want.Value) {
		return errors.New("its payload is not the one that its header tells of")
	}
	return trust.verify(file, p.Location)
}

func payloadHash(kind string) hash.Hash {
	if h := longHash(kind); h != nil {
		return h
	}
	return sha256.New()
}

// requestedRPMs gives the packages to ask for, each in exactly one version.
func requestedRPMs(pkgs []manifest.Package, spec func(p manifest.Package) string) []string {
	var out []string
	for _, p := range pkgs {
		if p.Requested {
			out = append(out, spec(p))
		}
	}
	return out
}

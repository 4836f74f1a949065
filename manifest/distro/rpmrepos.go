package distro

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro/aptrepo"
	"github.com/karapace/karapace/manifest/distro/pgp"
	"github.com/karapace/karapace/manifest/distro/rpmrepo"
)

// maxMirrorTries is how many mirrors of a repository are asked.
const maxMirrorTries = 8

// rpmRepo is a repository of a base whose metadata is verified and in the vault.
type rpmRepo struct {
	rpmrepo.Repo
	bases    []string // URLs, the one that answered first
	repomd   *rpmrepo.Repomd
	sha256   string // of repomd.xml
	primary  string // sha256 of the index of packages
	newest   int64  // build time of its newest package, when it was read
	packages map[string][]rpmCandidate
}

// rpmCandidate is one package file of a repository.
type rpmCandidate struct {
	version, arch string
	location      string
	digest        rpmrepo.Digest
	size          int64
}

// rpmLoader fetches and verifies repositories.
type rpmLoader struct {
	fetch  Fetcher
	keys   pgp.KeyRing
	signed func(rpmrepo.Repo) bool     // whether repomd.xml has to be signed
	mirror string                      // of the request
	hold   map[string]manifest.Package // of which no other version counts, by instance
}

// load fetches the metadata of all repositories. Indexes are in the vault afterwards.
func (l *rpmLoader) load(ctx context.Context, list []rpmrepo.Repo) ([]*rpmRepo, error) {
	out := make([]*rpmRepo, len(list))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(6)
	for i, r := range list {
		group.Go(func() (err error) {
			if out[i], err = l.root(gctx, r); err != nil {
				return fmt.Errorf("repository %s (%s): %w", r.ID, r.File, err)
			}
			return nil
		})
	}
	return out, group.Wait()
}

// root gets the repomd.xml of a repository from the first place that has a good one.
func (l *rpmLoader) root(ctx context.Context, r rpmrepo.Repo) (*rpmRepo, error) {
	bases, good, err := l.places(ctx, r)
	if err != nil {
		return nil, err
	}
	var failures []error
	var best *rpmRepo
	bestRank := len(good)
	for i, base := range bases[:min(len(bases), maxMirrorTries)] {
		data, err := l.repomd(ctx, base, l.signed(r), len(good) > 0)
		if err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			failures = append(failures, err)
			continue
		}
		sum := hexSHA256(data)
		rank := slices.Index(good, sum)
		if len(good) > 0 && rank < 0 {
			failures = append(failures, fmt.Errorf("%s: its repomd.xml is not one that the metalink lists", base))
			continue
		}
		if best == nil || rank < bestRank {
			repomd, err := rpmrepo.ParseRepomd(data)
			if err != nil {
				failures = append(failures, fmt.Errorf("%s: %w", base, err))
				continue
			}
			others := slices.Concat(bases[:i], bases[i+1:])
			best, bestRank = &rpmRepo{Repo: r, bases: append([]string{base}, others...), repomd: repomd, sha256: sum}, rank
		}
		if rank <= 0 {
			break
		}
	}
	if best == nil {
		return nil, errors.Join(failures...)
	}
	return best, nil
}

// places gives the base URLs of a repository, and the digests that its repomd.xml may have when a metalink says so.
func (l *rpmLoader) places(ctx context.Context, r rpmrepo.Repo) (bases, good []string, err error) {
	bases = slices.Clone(r.BaseURLs)
	list := r.Metalink
	if len(bases) == 0 && list == "" {
		list = r.Mirrorlist
	}
	if list != "" && len(bases) == 0 {
		if err := l.lockable(list); err != nil {
			return nil, nil, err
		}
		b, err := l.fetch.Get(ctx, Document{URL: list, Limit: rpmrepo.MaxMirrors})
		if err != nil {
			return nil, nil, err
		}
		if r.Metalink == "" && !rpmrepo.IsMetalink(b) {
			bases, err = rpmrepo.ParseMirrorlist(b)
		} else {
			var m *rpmrepo.Metalink
			if m, err = rpmrepo.ParseMetalink(b); err == nil {
				bases, good = m.Bases, m.Good
			}
		}
		if err != nil {
			return nil, nil, err
		}
	}
	for i, b := range bases {
		if err := l.lockable(b); err != nil {
			return nil, nil, err
		}
		if r.Path != "" && r.Path != "/" {
			bases[i] = rpmrepo.Join(b, r.Path)
		}
	}
	if len(bases) == 0 {
		return nil, nil, errors.New("it says neither baseurl nor mirrorlist nor metalink")
	}
	return bases, good, nil
}

// lockable refuses what others could not fetch from: files of the base, media. The manifest's mirror may be files.
func (l *rpmLoader) lockable(u string) error {
	if unknown := rpmrepo.Unknown(u); len(unknown) > 0 {
		return fmt.Errorf("%q has variables that the base does not define: %s", u, strings.Join(unknown, ", "))
	}
	scheme, _, _ := strings.Cut(u, ":")
	ours := scheme == "file" && l.mirror != "" && strings.HasPrefix(u, strings.TrimRight(l.mirror, "/"))
	if scheme != "http" && scheme != "https" && !ours {
		return fmt.Errorf("%q cannot be locked, as others could not fetch from it; only http and https can", u)
	}
	return nil
}

// repomd gets a repomd.xml; signed says that a signature has to vouch for it, listed that the caller knows its digest.
func (l *rpmLoader) repomd(ctx context.Context, base string, signed, listed bool) ([]byte, error) {
	doc := Document{URL: rpmrepo.Join(base, "repodata/repomd.xml"), Limit: rpmrepo.MaxRepomd, Signed: signed || listed}
	data, err := l.fetch.Get(ctx, doc)
	if err != nil || !signed {
		return data, err
	}
	doc.URL = rpmrepo.Join(base, "repodata/repomd.xml.asc")
	sig, err := l.fetch.Get(ctx, doc)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: its metadata is not signed, and the base's configuration wants that", base)
	}
	if err != nil {
		return nil, err
	}
	if l.keys.Empty() {
		return nil, fmt.Errorf("%s: the base trusts no key that could have signed its metadata", base)
	}
	if _, err := l.keys.VerifyDetached(data, sig, time.Time{}); err != nil {
		return nil, fmt.Errorf("%s: repomd.xml: %w", base, err)
	}
	return data, nil
}

func hexSHA256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// rpmIndex is one index of a repository in the vault.
type rpmIndex struct {
	rpmrepo.Data
	file File
}

// indexes brings those of the given kinds into the vault; "primary" has to be there.
func (l *rpmLoader) indexes(ctx context.Context, r *rpmRepo, kinds ...string) ([]rpmIndex, error) {
	var out []rpmIndex
	for _, kind := range kinds {
		d, ok := r.repomd.Find(kind)
		if !ok && kind == "primary" {
			return nil, errors.New("its repomd.xml lists no primary index")
		}
		if !ok {
			continue
		}
		if d.Size > maxIndex || d.OpenSize > maxIndexPlain {
			return nil, fmt.Errorf("index %s has %d bytes, more than the %d allowed", d.Location, d.Size, int64(maxIndex))
		}
		file, err := l.bring(ctx, "package indexes", r.bases, d.Location, d.Digest, d.Size, maxIndex)
		if err != nil {
			return nil, err
		}
		out = append(out, rpmIndex{d, file})
	}
	return out, nil
}

// bring fetches a file by whatever digest its repository has of it, and gives it with its sha256.
func (l *rpmLoader) bring(ctx context.Context, what string, bases []string, location string, d rpmrepo.Digest, size, limit int64) (File, error) {
	file := File{URL: rpmrepo.Join(bases[0], location), Size: size}
	for _, b := range bases[1:min(len(bases), maxMirrorTries)] {
		file.Mirrors = append(file.Mirrors, rpmrepo.Join(b, location))
	}
	var err error
	if file.SHA256, err = d.SHA256(); err == nil {
		return file, l.fetch.Fetch(ctx, what, []File{file})
	}
	h := longHash(d.Type)
	if h == nil {
		return File{}, fmt.Errorf("%s: %w", file.URL, err)
	}
	got, err := l.fetch.Add(ctx, what, Document{URL: file.URL, Limit: limit, Signed: true})
	if err != nil {
		return File{}, err
	}
	err = readVerified(l.fetch, got.SHA256, func(r io.Reader) error { _, err := io.Copy(h, r); return err })
	if err == nil && hex.EncodeToString(h.Sum(nil)) != strings.ToLower(d.Value) {
		err = fmt.Errorf("%s does not have the %s that the repository lists", file.URL, d.Type)
	}
	file.SHA256, file.Size = got.SHA256, got.Size
	return file, err
}

// longHash gives the function of a digest that is at least as good as sha256.
func longHash(kind string) hash.Hash {
	switch strings.ToLower(kind) {
	case "sha384":
		return sha512.New384()
	case "sha512":
		return sha512.New()
	}
	return nil
}

// layOut writes a repository on disk for the base's package manager: the indexes as they are, under a repomd.xml of
// ours. It remembers the package files on the way.
func (l *rpmLoader) layOut(ctx context.Context, r *rpmRepo, dir string, kinds ...string) error {
	list, err := l.indexes(ctx, r, kinds...)
	if err != nil {
		return fmt.Errorf("repository %s: %w", r.ID, err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "repodata"), 0o755); err != nil {
		return fmt.Errorf("lay out repository: %w", err)
	}
	var local []rpmrepo.LocalData
	for _, index := range list {
		data, err := l.copyIndex(r, index, dir)
		if err != nil {
			return fmt.Errorf("repository %s, %s: %w", r.ID, index.Location, err)
		}
		local = append(local, data)
	}
	return writeFile(filepath.Join(dir, "repodata", "repomd.xml"), func(w io.Writer) error {
		return rpmrepo.WriteRepomd(w, r.date(), local)
	})
}

// plainExt gives the endings of an index's name by which tools know its compression.
func plainExt(location string) string {
	switch ext := path.Ext(location); ext {
	case ".gz", ".xz", ".zst", ".bz2":
		return ".xml" + ext
	}
	return ".xml"
}

func writeFile(name string, write func(io.Writer) error) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("lay out repository: %w", err)
	}
	defer file.Close()
	return write(file)
}

// copyIndex copies an index out of the vault, verified; a primary one is read on the way.
func (l *rpmLoader) copyIndex(r *rpmRepo, index rpmIndex, dir string) (rpmrepo.LocalData, error) {
	local := rpmrepo.LocalData{Type: index.Type, Location: "repodata/" + index.Type + plainExt(index.Location), SHA256: index.file.SHA256, Size: index.file.Size}
	if index.Type == "primary" {
		r.primary = index.file.SHA256
		if len(l.hold) > 0 {
			return l.writeFiltered(r, dir)
		}
	}
	return local, writeFile(filepath.Join(dir, local.Location), func(w io.Writer) error {
		return readVerified(l.fetch, index.file.SHA256, func(in io.Reader) error {
			all := io.TeeReader(in, w)
			if index.Type == "primary" {
				if err := r.read(all, nil); err != nil {
					return err
				}
			}
			_, err := io.Copy(io.Discard, all)
			return err
		})
	})
}

// writeFiltered writes an index of packages without those that are held.
func (l *rpmLoader) writeFiltered(r *rpmRepo, dir string) (rpmrepo.LocalData, error) {
	local := rpmrepo.LocalData{Type: "primary", Location: "repodata/primary.xml"}
	name := filepath.Join(dir, local.Location)
	sum := sha256.New()
	err := writeFile(name, func(file io.Writer) error {
		out := bufio.NewWriterSize(io.MultiWriter(file, sum), 256<<10)
		out.WriteString(rpmrepo.PrimaryBegin)
		err := readVerified(l.fetch, r.primary, func(in io.Reader) error {
			return r.read(in, func(p *rpmrepo.Package) (bool, error) {
				if _, held := l.hold[instance(p.Name, p.Arch)]; held {
					return false, nil
				}
				return true, p.Copy(out)
			})
		})
		out.WriteString(rpmrepo.PrimaryEnd)
		return errors.Join(err, out.Flush())
	})
	if err != nil {
		return local, err
	}
	info, err := os.Stat(name)
	if err != nil {
		return local, err
	}
	local.SHA256, local.Size = hex.EncodeToString(sum.Sum(nil)), info.Size()
	return local, nil
}

// read remembers the package files of a primary index, those that keep says yes to; nil is yes to all. What it saw
// counts only when the index was verified to its end.
func (r *rpmRepo) read(in io.Reader, keep func(*rpmrepo.Package) (bool, error)) error {
	plain, err := aptrepo.Decompress(in, maxIndexPlain)
	if err != nil {
		return err
	}
	defer plain.Close()
	r.packages, r.newest = make(map[string][]rpmCandidate), 0
	return rpmrepo.ReadPrimary(plain, func(p *rpmrepo.Package) error {
		r.newest = max(r.newest, p.Build)
		if keep != nil {
			if yes, err := keep(p); !yes || err != nil {
				return err
			}
		}
		location := rpmrepo.Join(r.bases[0], p.Location)
		if p.Base != "" {
			location = rpmrepo.Join(p.Base, p.Location)
		}
		r.packages[p.Name] = append(r.packages[p.Name], rpmCandidate{p.Version, p.Arch, location, p.Digest, p.Size})
		return nil
	})
}

// date is the repository's own time: its revision when that is one, else the build time of its newest package.
func (r *rpmRepo) date() int64 {
	if r.repomd.Revision > 0 {
		return r.repomd.Revision
	}
	return r.newest
}

// Repository is how a lock records it.
func (r *rpmRepo) Repository() manifest.Repository {
	return manifest.Repository{Location: r.bases[0], Suite: r.ID, SHA256: r.sha256, Date: r.date()}
}

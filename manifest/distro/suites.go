package distro

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro/aptrepo"
	"github.com/karapace/karapace/manifest/distro/pgp"
)

// Bounds of a package index, in bytes; Debian's largest has 60 MB plain.
const (
	maxIndex      = 512 << 20
	maxIndexPlain = 2 << 30
)

// Suite is one suite of a Debian archive whose Release file is verified and whose package indexes are in the vault.
type Suite struct {
	Source  aptrepo.Source
	Release *aptrepo.Release
	SHA256  string // of the signed file as fetched
	Indexes []SuiteIndex
}

// SuiteIndex is one package index of a suite.
type SuiteIndex struct {
	Path string // relative to the Release file
	Name string // Path without a compression's ending
	aptrepo.Index
}

// SuiteOptions say how LoadSuites reads sources.
type SuiteOptions struct {
	Archs    []string                                  // the distribution's names, the native one first
	Keys     func(aptrepo.Source) (pgp.KeyRing, error) // who may sign for a source
	Optional func(aptrepo.Source) bool                 // left out when the archive says it does not exist; nil: none
	Now      time.Time
}

// LoadSuites fetches and verifies the Release files of the sources and brings their package indexes into the vault. The
// result is in the order of the sources, without the optional ones that do not exist.
func LoadSuites(ctx context.Context, f Fetcher, sources []aptrepo.Source, o SuiteOptions) ([]*Suite, error) {
	all := make([]*Suite, len(sources))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(6)
	for i, src := range sources {
		group.Go(func() error {
			s, err := loadRelease(gctx, f, src, o)
			if errors.Is(err, fs.ErrNotExist) && o.Optional != nil && o.Optional(src) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("repository %s %s: %w", src.URI, src.Suite, err)
			}
			all[i] = s
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(s *Suite) bool { return s == nil })
	var files []File
	for _, s := range all {
		list, err := s.choose(o.Archs)
		if err != nil {
			return nil, fmt.Errorf("repository %s %s: %w", s.Source.URI, s.Source.Suite, err)
		}
		files = append(files, list...)
	}
	return all, f.Fetch(ctx, "package indexes", files)
}

func loadRelease(ctx context.Context, f Fetcher, src aptrepo.Source, o SuiteOptions) (*Suite, error) {
	keys, err := o.Keys(src)
	if err != nil && !src.Trusted {
		return nil, err
	}
	now := o.Now
	dated := aptrepo.IsDated(src.URI)
	if dated {
		now = time.Time{} // its keys may have expired since
	}
	data, text, err := signedRelease(ctx, f, src, keys, now)
	if err != nil {
		return nil, err
	}
	r, err := aptrepo.ParseRelease(text)
	if err != nil {
		return nil, err
	}
	if !dated && !src.NeverExpires {
		if err := r.Fresh(o.Now); err != nil {
			return nil, err
		}
	}
	if !src.Trusted {
		if err := checkSuite(src, r); err != nil {
			return nil, err
		}
	}
	sum := sha256.Sum256(data)
	return &Suite{Source: src, Release: r, SHA256: hex.EncodeToString(sum[:])}, nil
}

// signedRelease gets the signed index and gives its bytes and the text that is vouched for.
func signedRelease(ctx context.Context, f Fetcher, src aptrepo.Source, keys pgp.KeyRing, now time.Time) (data, text []byte, err error) {
	get := func(name string) ([]byte, error) {
		return f.Get(ctx, Document{URL: aptrepo.Join(src.Dir(), name), Limit: aptrepo.MaxRelease, Signed: true})
	}
	data, err = get("InRelease")
	if err == nil {
		if src.Trusted {
			text, err = aptrepo.SignedText(data)
		} else {
			text, err = aptrepo.VerifyInRelease(keys, data, now)
		}
		return data, text, err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	if data, err = get("Release"); err != nil || src.Trusted {
		return data, data, err
	}
	sig, err := get("Release.gpg")
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = errors.New("it is not signed")
		}
		return nil, nil, err
	}
	return data, data, aptrepo.VerifyRelease(keys, data, sig, now)
}

// checkSuite refuses the signed index of another suite: an archive signs all of them with the same keys, and a mirror
// could pass an old release off as a new one.
func checkSuite(src aptrepo.Source, r *aptrepo.Release) error {
	if src.Flat() || strings.Contains(src.Suite, "/") || (r.Suite == "" && r.Codename == "") {
		return nil
	}
	if src.Suite == r.Suite || src.Suite == r.Codename {
		return nil
	}
	return fmt.Errorf("its signed index is that of %q (%s)", r.Suite, r.Codename)
}

// choose picks the package indexes of the source's components and says where to get them.
func (s *Suite) choose(archs []string) ([]File, error) {
	if len(s.Source.Architectures) > 0 {
		archs = slices.DeleteFunc(slices.Clone(archs), func(a string) bool { return !slices.Contains(s.Source.Architectures, a) })
	}
	if s.Release.AllIsSeparate {
		archs = append(slices.Clone(archs), "all")
	}
	components := s.Source.Components
	if s.Source.Flat() {
		components, archs = []string{""}, []string{""}
	}
	var files []File
	for _, c := range components {
		for _, a := range archs {
			p, index, ok := s.Release.Packages(c, a)
			if !ok {
				continue // as apt does: not every component exists in every suite
			}
			if index.Size > maxIndex {
				return nil, fmt.Errorf("index %s has %d bytes, more than the %d allowed", p, index.Size, int64(maxIndex))
			}
			name := strings.TrimSuffix(p, path.Ext(p))
			if strings.HasSuffix(p, "Packages") {
				name = p
			}
			s.Indexes = append(s.Indexes, SuiteIndex{Path: p, Name: name, Index: index})
			files = append(files, s.file(p, index))
		}
	}
	return files, nil
}

func (s *Suite) file(p string, index aptrepo.Index) File {
	f := File{URL: aptrepo.Join(s.Source.Dir(), p), SHA256: index.SHA256, Size: index.Size}
	if s.Release.AcquireByHash { // stays right when the mirror is updated right now
		f.URL, f.Mirrors = aptrepo.Join(s.Source.Dir(), aptrepo.ByHash(p, index)), []string{f.URL}
	}
	return f
}

// Repository is how a lock records the suite.
func (s *Suite) Repository() manifest.Repository {
	return manifest.Repository{
		Location: s.Source.URI, Suite: s.Source.Suite, Components: strings.Join(s.Source.Components, " "),
		SHA256: s.SHA256, Date: s.Release.Date.Unix(),
	}
}

// Read reads one of the suite's indexes from the vault. What visit saw counts only when Read returns nil: the bytes are
// verified at their end.
func (s *Suite) Read(f Fetcher, index SuiteIndex, visit func(p *aptrepo.Package, raw []byte) error) error {
	err := readVerified(f, index.SHA256, func(r io.Reader) error {
		plain, err := aptrepo.Decompress(r, maxIndexPlain)
		if err != nil {
			return err
		}
		defer plain.Close()
		return aptrepo.ReadPackages(plain, visit)
	})
	if err != nil {
		return fmt.Errorf("repository %s %s, %s: %w", s.Source.URI, s.Source.Suite, index.Path, err)
	}
	return nil
}

// Location is the URL of a package file of the suite.
func (s *Suite) Location(filename string) string { return aptrepo.Join(s.Source.URI, filename) }

// readVerified gives a file of the vault to use and reads it to its end, where its digest is checked. That it is
// damaged is the error then, whatever use made of it.
func readVerified(f Fetcher, sha256Hex string, use func(io.Reader) error) error {
	r, err := f.Open(sha256Hex)
	if err != nil {
		return err
	}
	defer r.Close()
	uerr := use(r)
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	return uerr
}

package distro

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro/pacmanrepo"
)

// officialRepository reports whether Arch Linux itself has a repository of this name.
func officialRepository(name string) bool {
	for _, end := range []string{"-testing", "-staging"} {
		name = strings.TrimSuffix(name, end)
	}
	return slices.Contains([]string{"core", "extra", "community", "multilib", "testing", "kde-unstable", "gnome-unstable"}, name)
}

// pacmanMirrored puts a mirror in the place of the distribution's own servers; repositories that others add stay. A base
// that has none of Arch's is a distribution of its own.
func pacmanMirrored(repos []pacmanrepo.Repo, mirror string) []pacmanrepo.Repo {
	if mirror == "" {
		return repos
	}
	out := slices.Clone(repos)
	official := func(r pacmanrepo.Repo) bool { return officialRepository(r.Name) }
	arch := slices.ContainsFunc(out, official)
	for i, r := range out {
		if official(r) == arch {
			out[i].Servers = []string{strings.TrimRight(mirror, "/") + "/$repo/os/$arch"}
		}
	}
	return out
}

// load fetches the databases and lays them out where pacman would have put them.
func (p *pacmanPlan) load(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(p.dir.host, "db", "sync"), 0o755); err != nil {
		return fmt.Errorf("prepare for pacman: %w", err)
	}
	if err := os.Symlink("/var/lib/pacman/local", filepath.Join(p.dir.host, "db", "local")); err != nil {
		return fmt.Errorf("prepare for pacman: %w", err)
	}
	var sections strings.Builder
	for _, r := range p.repos {
		db, err := p.database(ctx, r)
		if err != nil {
			return err
		}
		if err := p.layOut(r, db, &sections); err != nil {
			return err
		}
	}
	if err := p.holdBack(ctx, &sections); err != nil {
		return err
	}
	return p.dir.configure(p.conf, []string{"IgnorePkg", "IgnoreGroup"}, sections.String(), "DBPath = "+p.dir.inside+"/db/")
}

// layOut writes a repository's database for pacman, as it is unless packages are held, and remembers what it has.
func (p *pacmanPlan) layOut(r *pacmanRepository, db []byte, sections *strings.Builder) error {
	sum := sha256.Sum256(db)
	r.sha256 = hex.EncodeToString(sum[:])
	held := func(name string) bool { _, ok := p.hold[name]; return ok }
	if len(p.hold) > 0 {
		var out bytes.Buffer
		if err := pacmanrepo.FilterDatabase(&out, bytes.NewReader(db), held); err != nil {
			return fmt.Errorf("repository %s at %s: %w", r.Name, r.url, err)
		}
		db = out.Bytes()
	}
	return p.writeDatabase(r, db, sections)
}

func (p *pacmanPlan) writeDatabase(r *pacmanRepository, db []byte, sections *strings.Builder) error {
	err := pacmanrepo.ReadDatabase(bytes.NewReader(db), func(pkg *pacmanrepo.Package) error {
		r.packages[pkg.Name] = pkg
		return nil
	})
	if err != nil {
		return fmt.Errorf("repository %s at %s: %w", r.Name, r.url, err)
	}
	if err := os.WriteFile(filepath.Join(p.dir.host, "db", "sync", r.Name+".db"), db, 0o644); err != nil {
		return fmt.Errorf("prepare for pacman: %w", err)
	}
	fmt.Fprintf(sections, "\n[%s]\nServer = file://%s/none\n", r.Name, p.dir.inside)
	if len(r.Usage) > 0 {
		fmt.Fprintf(sections, "Usage = %s\n", strings.Join(r.Usage, " "))
	}
	return nil
}

// holdBack adds a repository of the packages that are held, whose other versions layOut leaves out.
func (p *pacmanPlan) holdBack(ctx context.Context, sections *strings.Builder) error {
	if len(p.hold) == 0 {
		return nil
	}
	list := slices.SortedFunc(maps.Values(p.hold), func(a, b manifest.Package) int { return strings.Compare(a.Name, b.Name) })
	if err := p.fetch.Fetch(ctx, "packages", PackageFiles(list)); err != nil {
		return err
	}
	var entries []pacmanrepo.Entry
	for _, h := range list {
		e := pacmanrepo.Entry{Filename: h.Name, SHA256: h.SHA256, Size: h.Size}
		err := readVerified(p.fetch, h.SHA256, func(r io.Reader) (err error) {
			e.Info, err = pacmanrepo.ReadInfo(r)
			return err
		})
		if err == nil {
			err = checkInfo(e.Info, h)
		}
		if err != nil {
			return fmt.Errorf("package %s %s: %w", h.Name, h.Version, err)
		}
		entries = append(entries, e)
	}
	var db bytes.Buffer
	if err := pacmanrepo.WriteDatabase(&db, entries); err != nil {
		return err
	}
	r := &pacmanRepository{Repo: pacmanrepo.Repo{Name: heldRepository}, packages: make(map[string]*pacmanrepo.Package)}
	p.repos = append(p.repos, r)
	return p.writeDatabase(r, db.Bytes(), sections)
}

// noteHeld lets the date of a held package count for the repository that it came from.
func (p *pacmanPlan) noteHeld(pkg *pacmanrepo.Package) {
	for _, r := range p.repos {
		if r.url != "" && strings.HasPrefix(p.hold[pkg.Name].Location, r.url+"/") {
			r.newest = max(r.newest, pkg.BuildDate)
		}
	}
}

// database fetches a repository's database from the first server that has it, and checks its signature.
func (p *pacmanPlan) database(ctx context.Context, r *pacmanRepository) ([]byte, error) {
	var failed []error
	for _, server := range r.URLs(p.arch) {
		name := server + "/" + r.Name + ".db"
		db, err := p.fetch.Get(ctx, Document{URL: name, Limit: pacmanrepo.MaxDatabase, Signed: r.Level.Database.Required})
		if err == nil {
			err = p.checkDatabase(ctx, r, name, db)
		}
		if err == nil {
			r.url = server
			return db, nil
		}
		failed = append(failed, err)
		if ctx.Err() != nil {
			break
		}
	}
	if len(failed) == 0 {
		return nil, fmt.Errorf("repository %s of the base has no server: name a mirror in the manifest ([base] mirror)", r.Name)
	}
	return nil, fmt.Errorf("repository %s: %w", r.Name, errors.Join(failed...))
}

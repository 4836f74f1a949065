package pacmanrepo

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/karapace/karapace/manifest/distro/aptrepo"
)

// Bounds of a repository's database.
const (
	MaxDatabase = 128 << 20 // bytes, as fetched; Arch's largest has 8 MiB
	maxPlain    = 1 << 30   // bytes, decompressed
)

// ReadDatabase reads a repository's database, gives each package to use, and ends with use's first error.
func ReadDatabase(r io.Reader, use func(*Package) error) error {
	plain, err := aptrepo.Decompress(r, maxPlain)
	if err != nil {
		return fmt.Errorf("read database: %w", err)
	}
	defer plain.Close()
	tr := tar.NewReader(plain)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			if _, err := io.Copy(io.Discard, plain); err != nil { // the checksum stands at the end of the compression
				return fmt.Errorf("read database: %w", err)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("read database: %w", err)
		}
		dir, file := path.Split(path.Clean(h.Name))
		if file != "desc" || h.Typeflag != tar.TypeReg {
			continue
		}
		desc, err := readDesc(tr)
		if err != nil {
			return fmt.Errorf("read database: %s: %w", h.Name, err)
		}
		p, err := newPackage(desc)
		if err == nil && strings.TrimSuffix(dir, "/") != p.Name+"-"+p.Version {
			err = fmt.Errorf("it is of %s %s", p.Name, p.Version)
		}
		if err != nil {
			return fmt.Errorf("read database: %s: %w", h.Name, err)
		}
		if err := use(p); err != nil {
			return err
		}
	}
}

// FilterDatabase copies a repository's database without the packages that drop names.
func FilterDatabase(w io.Writer, r io.Reader, drop func(name string) bool) error {
	plain, err := aptrepo.Decompress(r, maxPlain)
	if err != nil {
		return fmt.Errorf("read database: %w", err)
	}
	defer plain.Close()
	zw := gzip.NewWriter(w)
	tr, tw := tar.NewReader(plain), tar.NewWriter(zw)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return errors.Join(tw.Close(), zw.Close())
		}
		if err != nil {
			return fmt.Errorf("read database: %w", err)
		}
		dir, _, _ := strings.Cut(path.Clean(h.Name), "/")
		if drop(nameOf(dir)) {
			continue
		}
		if err := tw.WriteHeader(h); err != nil {
			return fmt.Errorf("copy database: %w", err)
		}
		if _, err := io.Copy(tw, tr); err != nil {
			return fmt.Errorf("copy database: %w", err)
		}
	}
}

// nameOf gives the name of the package of an entry NAME-VERSION-RELEASE.
func nameOf(entry string) string {
	for range 2 {
		entry = entry[:max(0, strings.LastIndexByte(entry, '-'))]
	}
	return entry
}

// Entry is what a database that is written says of one package file.
type Entry struct {
	Info     *Info
	Filename string
	SHA256   string
	Size     int64
}

// fields are those of .PKGINFO that a database repeats, in repo-add's order; the ones in between are of the file.
func fields() [][2]string {
	return [][2]string{{"NAME", "pkgname"}, {"BASE", "pkgbase"}, {"VERSION", "pkgver"}, {"DESC", "pkgdesc"}, {"GROUPS", "group"},
		{"ISIZE", "size"}, {"URL", "url"}, {"LICENSE", "license"}, {"ARCH", "arch"}, {"BUILDDATE", "builddate"}, {"PACKAGER", "packager"},
		{"REPLACES", "replaces"}, {"CONFLICTS", "conflict"}, {"PROVIDES", "provides"}, {"DEPENDS", "depend"}, {"OPTDEPENDS", "optdepend"}}
}

// WriteDatabase writes the database of a repository that has these packages.
func WriteDatabase(w io.Writer, entries []Entry) error {
	zw := gzip.NewWriter(w)
	tw := tar.NewWriter(zw)
	for _, e := range entries {
		desc := e.desc()
		h := &tar.Header{Typeflag: tar.TypeReg, Name: e.Info.Name() + "-" + e.Info.Version() + "/desc", Size: int64(len(desc)), Mode: 0o644, ModTime: time.Unix(0, 0)}
		if err := tw.WriteHeader(h); err != nil {
			return fmt.Errorf("write database: %w", err)
		}
		if _, err := tw.Write(desc); err != nil {
			return fmt.Errorf("write database: %w", err)
		}
	}
	return errors.Join(tw.Close(), zw.Close())
}

func (e Entry) desc() []byte {
	var out bytes.Buffer
	write := func(field string, values ...string) {
		if len(values) > 0 {
			fmt.Fprintf(&out, "%%%s%%\n%s\n\n", field, strings.Join(values, "\n"))
		}
	}
	write("FILENAME", e.Filename)
	write("CSIZE", fmt.Sprint(e.Size))
	write("SHA256SUM", e.SHA256)
	for _, f := range fields() {
		write(f[0], e.Info.values[f[1]]...)
	}
	return out.Bytes()
}

// localDir is pacman's record of what is installed.
const localDir = "/var/lib/pacman/local"

// Installed is a package of a system.
type Installed struct{ Name, Version, Arch string }

// ReadLocal reads what pacman has installed, by name.
func ReadLocal(t aptrepo.Tree) (map[string]Installed, error) {
	dirs, err := localEntries(t)
	if err != nil {
		return nil, err
	}
	out := make(map[string]Installed)
	for _, dir := range dirs {
		p, err := readInstalled(t, dir)
		if err == nil && (out[p.Name] != Installed{} || dir != p.Name+"-"+p.Version) {
			err = fmt.Errorf("it is of %s %s", p.Name, p.Version)
		}
		if err != nil {
			return nil, fmt.Errorf("read pacman's database: %s: %w", dir, err)
		}
		out[p.Name] = p
	}
	return out, nil
}

// localEntries lists the directories of what is installed, one a package.
func localEntries(t aptrepo.Tree) ([]string, error) {
	names, err := t.ReadDir(localDir)
	if err != nil {
		return nil, fmt.Errorf("read pacman's database: %w", err)
	}
	var out []string
	for _, n := range names {
		if n != "ALPM_DB_VERSION" {
			out = append(out, n)
		}
	}
	return out, nil
}

// List gives what pacman has installed, and whether each was asked for by name and not only as a dependency.
func List(t aptrepo.Tree, each func(p Installed, explicit bool)) error {
	dirs, err := localEntries(t)
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		p, d, err := readLocal(t, dir)
		if err != nil {
			return fmt.Errorf("read pacman's database: %s: %w", dir, err)
		}
		reason := d.one("REASON")
		each(p, reason == "" || reason == "0")
	}
	return nil
}

func readInstalled(t aptrepo.Tree, dir string) (Installed, error) {
	p, _, err := readLocal(t, dir)
	return p, err
}

func readLocal(t aptrepo.Tree, dir string) (Installed, Desc, error) {
	f, err := t.Open(path.Join(localDir, dir, "desc"))
	if errors.Is(err, fs.ErrNotExist) {
		return Installed{}, nil, errNoDesc
	}
	if err != nil {
		return Installed{}, nil, err
	}
	defer f.Close()
	d, err := readDesc(f)
	if err != nil {
		return Installed{}, nil, err
	}
	p := Installed{Name: d.one("NAME"), Version: d.one("VERSION"), Arch: d.one("ARCH")}
	return p, d, checkNames(p.Name, p.Version, p.Arch)
}

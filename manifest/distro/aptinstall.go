package distro

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro/aptrepo"
)

// Install installs pkgs with the apt of the base, from a repository of exactly these files. The files inside are
// copies, verified while they are made: the vault itself is out of the reach of what runs in the base.
func (Apt) Install(ctx context.Context, sb Sandbox, f Fetcher, pkgs []manifest.Package) error {
	if len(pkgs) == 0 {
		return nil
	}
	before, err := readStatus(sb)
	if err != nil {
		return err
	}
	d := newAptDir(sb.Shared(), "apt-install",
		"Dir::Etc::preferences=/dev/null", "Dir::Etc::preferencesparts=/dev/null", "APT::Default-Release=",
		"DPkg::Options::=--log="+SharedDir+"/apt-install/log/dpkg.log",
		"DPkg::Options::=--force-unsafe-io",
		"DPkg::Options::=--force-confdef", "DPkg::Options::=--force-confold")
	if err := os.Mkdir(d.host, 0o755); err != nil {
		return fmt.Errorf("install with apt: %w", err)
	}
	defer os.RemoveAll(d.host)
	if err := writeLockRepository(ctx, d, f, pkgs); err != nil {
		return err
	}
	if err := d.install(ctx, sb, pkgs); err != nil {
		return err
	}
	after, err := readStatus(sb)
	if err != nil {
		return err
	}
	if err := after.difference(expected(before, pkgs)); err != nil {
		return err
	}
	return refreshFonts(ctx, sb, pkgs)
}

// expected is the base's set with the locked packages over it, by instance.
func expected(before installed, pkgs []manifest.Package) map[string]string {
	want := make(map[string]string)
	for key, p := range before {
		want[key] = p.Version
	}
	for _, p := range pkgs {
		// A package can change between an architecture and "all" from one version to the next.
		if p.Arch == "all" {
			for key, old := range before {
				if old.Name == p.Name && !strings.EqualFold(old.MultiArch, "same") {
					delete(want, key)
				}
			}
		} else {
			delete(want, instance(p.Name, "all"))
		}
		want[instance(p.Name, p.Arch)] = p.Version
	}
	return want
}

func (d aptDir) install(ctx context.Context, sb Sandbox, pkgs []manifest.Package) error {
	if err := d.update(ctx, sb); err != nil {
		return err
	}
	args := []string{"install", "-y", "-qq", "--no-install-recommends", "--no-remove", "--allow-downgrades", "--"}
	for _, p := range pkgs {
		if p.Requested {
			args = append(args, p.Name+"="+p.Version)
		}
	}
	undo, err := DenyServices(ctx, sb)
	if err != nil {
		return err
	}
	if err := d.get(ctx, sb, nil, args...); err != nil {
		return fmt.Errorf("install packages: %w", err)
	}
	return undo()
}

// DenyServices keeps packages from starting services, which older releases try without an init, by the file that
// policy-rc.d(8) of Debian is about. It gives the function that removes it again.
func DenyServices(ctx context.Context, sb Sandbox) (undo func() error, err error) {
	const name = "/usr/sbin/policy-rc.d"
	if f, err := sb.Open(name); err == nil {
		f.Close()
		return func() error { return nil }, nil
	}
	sh := func(script string) error {
		return sb.Run(ctx, Command{Argv: []string{"sh", "-c", script}})
	}
	if err := sh(`printf '#!/bin/sh\nexit 101\n' >` + name + ` && chmod 755 ` + name); err != nil {
		return nil, fmt.Errorf("deny starting services: %w", err)
	}
	return func() error { return sh("rm -f " + name) }, nil
}

// writeLockRepository makes the flat repository of the locked files.
func writeLockRepository(ctx context.Context, d aptDir, f Fetcher, pkgs []manifest.Package) error {
	if err := d.prepare(); err != nil {
		return err
	}
	var list strings.Builder
	if err := writeFlatRepository(ctx, d, "lock", f, pkgs, &list); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(d.host, "sources.list"), []byte(list.String()), 0o644); err != nil {
		return fmt.Errorf("write lock repository: %w", err)
	}
	return nil
}

// writeFlatRepository makes a flat repository of files of the vault, and adds it to a list of sources.
func writeFlatRepository(ctx context.Context, d aptDir, name string, f Fetcher, pkgs []manifest.Package, list *strings.Builder) error {
	repo := filepath.Join(d.host, name)
	if err := os.Mkdir(repo, 0o755); err != nil {
		return fmt.Errorf("write repository of locked packages: %w", err)
	}
	stanzas, err := CopyDebs(ctx, f, pkgs, repo)
	if err != nil {
		return err
	}
	fmt.Fprintf(list, "deb [trusted=yes] file:%s/%s ./\n", d.inside, name)
	return writePackages(filepath.Join(repo, "Packages"), pkgs, stanzas)
}

// CopyDebs copies the packages' files out of the vault to dir, under DebName, verified, and gives the stanzas of their
// control files in the order of pkgs. A damaged file of the vault is fetched again, once.
func CopyDebs(ctx context.Context, f Fetcher, pkgs []manifest.Package, dir string) ([][]byte, error) {
	stanzas := make([][]byte, len(pkgs))
	err := eachLocked(ctx, f, pkgs, func(i int, p manifest.Package) (err error) {
		stanzas[i], err = copyDeb(f, p, filepath.Join(dir, DebName(p.Name, p.Arch)))
		return err
	})
	return stanzas, err
}

// DebName names the copy of a package's file; it has no character that a URL would quote.
func DebName(name, arch string) string { return name + "_" + arch + ".deb" }

func writePackages(name string, pkgs []manifest.Package, stanzas [][]byte) error {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("write lock repository: %w", err)
	}
	defer file.Close()
	out := bufio.NewWriterSize(file, 256<<10)
	for i, p := range pkgs {
		fmt.Fprintf(out, "%s\nFilename: ./%s\nSize: %d\nSHA256: %s\n\n", stanzas[i], DebName(p.Name, p.Arch), p.Size, p.SHA256)
	}
	return out.Flush()
}

// copyDeb copies a package file out of the vault, verified, and returns the stanza of its control file.
func copyDeb(f Fetcher, p manifest.Package, name string) ([]byte, error) {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("copy its file: %w", err)
	}
	defer file.Close()
	var control []byte
	err = readVerified(f, p.SHA256, func(r io.Reader) error {
		all := io.TeeReader(r, file)
		deb, err := aptrepo.ReadDeb(all)
		if err != nil {
			return err
		}
		control = deb.Control
		_, err = io.Copy(io.Discard, all)
		return err
	})
	if err == nil {
		err = checkControl(control, p)
	}
	if err != nil {
		return nil, err
	}
	return fileFieldsOut(control)
}

// checkControl compares a package file's own idea of what it is with the lock's.
func checkControl(control []byte, p manifest.Package) error {
	got, err := aptrepo.ParsePackage(control)
	if err != nil {
		return err
	}
	if got.Name != p.Name || got.Version != p.Version || got.Arch != p.Arch {
		return fmt.Errorf("its file is %s %s (%s), not %s (%s) as the lock says", got.Name, got.Version, got.Arch, p.Version, p.Arch)
	}
	return nil
}

// fileFieldsOut drops the fields that only an index may have.
func fileFieldsOut(control []byte) ([]byte, error) {
	var out strings.Builder
	err := aptrepo.WriteFields(&out, control, func(field string) bool {
		switch strings.ToLower(field) {
		case "filename", "size", "md5sum", "sha1", "sha256", "sha512":
			return true
		}
		return false
	})
	return []byte(strings.TrimRight(out.String(), "\n")), err
}

// refreshFonts writes the caches of fontconfig anew when fonts were installed: with SOURCE_DATE_EPOCH set it discards
// those that the packages' scripts made, because the directories are younger.
func refreshFonts(ctx context.Context, sb Sandbox, pkgs []manifest.Package) error {
	fonts := false
	for _, p := range pkgs {
		fonts = fonts || p.Name == "fontconfig" || strings.HasSuffix(p.Name, "-fonts") || slices.ContainsFunc([]string{"fonts-", "ttf-", "otf-", "xfonts-"},
			func(prefix string) bool { return strings.HasPrefix(p.Name, prefix) })
	}
	if f, err := sb.Open("/usr/bin/fc-cache"); err != nil || !fonts {
		return nil
	} else {
		f.Close()
	}
	const script = `for d in /usr/share/fonts /usr/local/share/fonts /usr/X11R6/lib/X11/fonts; do
	[ ! -d "$d" ] || find "$d" -type d -exec touch -d "@$SOURCE_DATE_EPOCH" {} + || exit
done
exec fc-cache -s`
	if err := sb.Run(ctx, Command{Argv: []string{"sh", "-c", script}}); err != nil {
		return fmt.Errorf("make font caches: %w", err)
	}
	return nil
}

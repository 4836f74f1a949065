package distro

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro/aptrepo"
	"github.com/karapace/karapace/manifest/distro/pacmanrepo"
	"github.com/karapace/karapace/manifest/distro/pgp"
)

// Install installs pkgs with the pacman of the base, from a repository of exactly these files. The files inside are
// copies, verified while they are made: the vault itself is out of the reach of what runs in the base.
func (Pacman) Install(ctx context.Context, sb Sandbox, f Fetcher, pkgs []manifest.Package) error {
	if len(pkgs) == 0 {
		return nil
	}
	conf, err := readPacmanConf(sb)
	if err != nil {
		return err
	}
	before, err := pacmanrepo.ReadLocal(sb)
	if err != nil {
		return err
	}
	check, err := newPacmanCheck(sb, conf, pkgs)
	if err != nil {
		return err
	}
	d, err := newPacmanDir(sb, "pacman-install")
	if err != nil {
		return err
	}
	defer os.RemoveAll(d.host)
	if err := d.writeRepository(ctx, f, check, pkgs); err != nil {
		return err
	}
	// the repository's files are in the cache already, so that pacman copies none
	if err := d.configure(conf, nil, "\n[lock]\nServer = file://"+d.inside+"/cache\n"); err != nil {
		return err
	}
	if err := sb.Run(ctx, d.command(lockTargets(pkgs)...)); err != nil {
		return fmt.Errorf("install packages: %w", err)
	}
	after, err := pacmanrepo.ReadLocal(sb)
	if err != nil {
		return err
	}
	if err := pacmanDifference(after, before, pkgs); err != nil {
		return err
	}
	return refreshFonts(ctx, sb, pkgs)
}

// lockTargets asks for the requested packages, of the lock's repository, so that no group or provider is meant.
func lockTargets(pkgs []manifest.Package) []string {
	args := []string{"-Sy", "--needed", "--"}
	for _, p := range pkgs {
		if p.Requested {
			args = append(args, "lock/"+p.Name)
		}
	}
	return args
}

// pacmanCheck is what the base wants to be signed, as far as a lock can tell: it does not say which of the base's
// repositories a package is of, so that the mildest of their levels decides. Each one's own counted when it was resolved.
type pacmanCheck struct {
	pacmanrepo.Check
	keys *pgp.Web
}

func newPacmanCheck(t aptrepo.Tree, conf *pacmanrepo.Conf, pkgs []manifest.Package) (*pacmanCheck, error) {
	c := &pacmanCheck{Check: pacmanrepo.Check{Required: len(conf.Repos) > 0}}
	for _, r := range conf.Repos {
		c.On = c.On || r.Level.Package.On
		c.Required = c.Required && r.Level.Package.Required
		c.TrustAll = c.TrustAll || r.Level.Package.TrustAll
	}
	if c.Required {
		for _, p := range pkgs {
			if p.Signature == "" {
				return nil, fmt.Errorf("the base's SigLevel requires signed packages, and the lock has no signature of %s: resolve anew with karapace lock --update", p.Name)
			}
		}
	}
	signed := func(p manifest.Package) bool { return p.Signature != "" }
	if !c.On || !slices.ContainsFunc(pkgs, signed) {
		return c, nil
	}
	var err error
	if c.keys, err = pacmanrepo.ReadKeys(t); err != nil {
		return nil, err
	}
	c.keys.All = c.TrustAll
	return c, nil
}

// verify checks the signature of a package's file, if it has one that counts.
func (c *pacmanCheck) verify(f Fetcher, p manifest.Package, file string) error {
	if p.Signature == "" || c.keys == nil {
		return nil
	}
	var sig []byte
	err := readVerified(f, p.Signature, func(r io.Reader) (err error) {
		sig, err = io.ReadAll(io.LimitReader(r, maxSignature+1))
		return err
	})
	if err != nil {
		return fmt.Errorf("read signature: %w", err)
	}
	if len(sig) > maxSignature {
		return fmt.Errorf("its signature has more than %d bytes", maxSignature)
	}
	copied, err := os.Open(file)
	if err != nil {
		return err
	}
	defer copied.Close()
	return c.keys.VerifyDetached(copied, sig)
}

// writeRepository makes the repository of the locked files, in the cache.
func (d pacmanDir) writeRepository(ctx context.Context, f Fetcher, check *pacmanCheck, pkgs []manifest.Package) error {
	entries := make([]pacmanrepo.Entry, len(pkgs))
	err := eachLocked(ctx, f, pkgs, func(i int, p manifest.Package) (err error) {
		entries[i], err = d.copyPackage(f, check, p)
		return err
	})
	if err != nil {
		return err
	}
	db, err := os.OpenFile(filepath.Join(d.host, "cache", "lock.db"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("write lock repository: %w", err)
	}
	defer db.Close()
	return pacmanrepo.WriteDatabase(db, entries)
}

// copyPackage copies a package's file and checks what it is.
func (d pacmanDir) copyPackage(f Fetcher, check *pacmanCheck, p manifest.Package) (e pacmanrepo.Entry, err error) {
	e = pacmanrepo.Entry{Filename: p.Name + "-" + p.Arch + ".pkg.tar", SHA256: p.SHA256}
	file := filepath.Join(d.host, "cache", e.Filename)
	if e.Info, e.Size, err = copyPacmanFile(f, p, file); err != nil {
		return e, err
	}
	return e, check.verify(f, p, file)
}

func copyPacmanFile(f Fetcher, p manifest.Package, name string) (info *pacmanrepo.Info, size int64, err error) {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, 0, err
	}
	defer file.Close()
	err = readVerified(f, p.SHA256, func(r io.Reader) (err error) {
		all := io.TeeReader(r, file)
		if info, err = pacmanrepo.ReadInfo(all); err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, all)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	if err := checkInfo(info, p); err != nil {
		return nil, 0, err
	}
	stat, err := file.Stat()
	if err != nil {
		return nil, 0, err
	}
	return info, stat.Size(), file.Close()
}

// checkInfo compares a package file's own idea of what it is with the lock's.
func checkInfo(info *pacmanrepo.Info, p manifest.Package) error {
	if info.Name() != p.Name || info.Version() != p.Version || info.Arch() != p.Arch {
		return fmt.Errorf("its file is %s %s (%s), not %s (%s) as the lock says", info.Name(), info.Version(), info.Arch(), p.Version, p.Arch)
	}
	return nil
}

// pacmanDifference lists in words what is installed and should not be, and the other way round.
func pacmanDifference(after, before map[string]pacmanrepo.Installed, pkgs []manifest.Package) error {
	want := make(map[string]pacmanrepo.Installed)
	for name, p := range before {
		want[name] = p
	}
	for _, p := range pkgs {
		want[p.Name] = pacmanrepo.Installed{Name: p.Name, Version: p.Version, Arch: p.Arch}
	}
	var text []string
	for name, p := range after {
		switch w, ok := want[name]; {
		case !ok:
			text = append(text, name+" "+p.Version+" was installed and is not in the lock")
		case w != p:
			text = append(text, name+" is "+p.Version+" ("+p.Arch+") and not "+w.Version+" ("+w.Arch+")")
		}
	}
	for name, w := range want {
		if _, ok := after[name]; !ok {
			text = append(text, name+" "+w.Version+" is not installed")
		}
	}
	if len(text) == 0 {
		return nil
	}
	slices.Sort(text)
	return errors.New("the installed packages are not those of the lock:\n  " + strings.Join(text, "\n  "))
}

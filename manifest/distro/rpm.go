package distro

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro/aptrepo"
	"github.com/karapace/karapace/manifest/distro/pgp"
	"github.com/karapace/karapace/manifest/distro/rpmrepo"
)

// hasRPM reports whether a base has a database of rpm, in one of its places and formats.
func hasRPM(sb Sandbox) bool {
	for _, dir := range rpmDirs() {
		for _, name := range []string{"rpmdb.sqlite", "Packages.db", "Packages"} {
			if exists(sb, dir+"/"+name) {
				return true
			}
		}
	}
	return false
}

// rpmDirs are the places of rpm's database; in most systems one is a link to the other.
func rpmDirs() []string { return []string{"/usr/lib/sysimage/rpm", "/var/lib/rpm"} }

func exists(sb Sandbox, name string) bool {
	f, err := sb.Open(name)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// rpmSet is what rpm has installed, as "name version arch".
type rpmSet map[string]rpmPackage

type rpmPackage struct{ name, version, arch string }

func (p rpmPackage) String() string { return p.name + " " + p.version + " " + p.arch }

// maxRPMList bounds what rpm prints, in bytes.
const maxRPMList = 64 << 20

// readRPMSet asks rpm for what is installed.
func readRPMSet(ctx context.Context, sb Sandbox) (rpmSet, error) {
	out := limited{most: maxRPMList}
	err := sb.Run(ctx, Command{Argv: []string{"rpm", "-qa", "--qf", `%{NAME}\t%{EPOCH}\t%{VERSION}\t%{RELEASE}\t%{ARCH}\n`}, Stdout: &out})
	if err == nil && out.over {
		err = errors.New("its answer is too long")
	}
	if err != nil {
		return nil, fmt.Errorf("ask rpm for the installed packages: %w", err)
	}
	return parseRPMSet(out.String())
}

func parseRPMSet(text string) (rpmSet, error) {
	set := make(rpmSet)
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 5 || f[0] == "" {
			return nil, fmt.Errorf("rpm's list of packages has the line %q, which is not understood", line)
		}
		p := rpmPackage{f[0], rpmrepo.EVR(f[1], f[2], f[3]), f[4]}
		set[p.String()] = p
	}
	return set, nil
}

// any finds an installed package by name, of the architecture before one of none.
func (s rpmSet) any(name, arch string) (rpmPackage, bool) {
	for _, a := range []string{arch, "noarch"} {
		var best rpmPackage
		for _, p := range s { // an install-only package may be there in several versions
			if p.name == name && p.arch == a && p.version > best.version {
				best = p
			}
		}
		if best.name != "" {
			return best, true
		}
	}
	return rpmPackage{}, false
}

// difference says how the set is not what was there before with pkgs installed. A package that was there may be gone,
// or still be there beside, when one of its name was installed: rpm decides that by what it is.
func (s rpmSet) difference(before rpmSet, pkgs []manifest.Package) error {
	locked, names := make(map[string]bool), make(map[string]bool)
	var text []string
	for _, p := range pkgs {
		key := rpmPackage{p.Name, p.Version, p.Arch}.String()
		locked[key], names[p.Name] = true, true
		if _, ok := s[key]; !ok {
			text = append(text, key+" is not installed")
		}
	}
	for key, p := range before {
		if _, ok := s[key]; !ok && !names[p.name] {
			text = append(text, key+" was removed")
		}
	}
	for key := range s {
		if _, ok := before[key]; !ok && !locked[key] {
			text = append(text, key+" was installed and is not in the lock")
		}
	}
	if len(text) == 0 {
		return nil
	}
	slices.Sort(text)
	return errors.New("the installed packages are not those of the lock:\n  " + strings.Join(text, "\n  "))
}

// RPMArch is rpm's name for a GOARCH name, and what repositories of it call themselves ($basearch).
func RPMArch(goarch string) (arch, base string) {
	switch goarch {
	case "amd64":
		return "x86_64", "x86_64"
	case "arm64":
		return "aarch64", "aarch64"
	case "386":
		return "i686", "i386"
	case "arm":
		return "armv7hl", "armhfp"
	case "loong64":
		return "loongarch64", "loongarch64"
	}
	return goarch, goarch
}

// rpmKeys are the keys that the base trusts for packages: those its repositories name, those of its distribution, and
// those in rpm's own database. Files that are no keys are passed over, as rpm does.
func rpmKeys(ctx context.Context, sb Sandbox, repos []rpmrepo.Repo) (pgp.KeyRing, error) {
	var ring pgp.KeyRing
	add := func(name string) {
		if keys, err := readKeys(sb, name); err == nil {
			ring = ring.Join(keys)
		}
	}
	for _, r := range repos {
		for _, k := range r.GPGKeys {
			if name, ok := strings.CutPrefix(k, "file://"); ok {
				add(name)
			}
		}
	}
	for _, dir := range []string{"/etc/pki/rpm-gpg", "/usr/lib/rpm/gnupg/keys", "/usr/lib/sysimage/rpm/pubkeys"} {
		names, err := sb.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return ring, fmt.Errorf("read %s: %w", dir, err)
		}
		for _, n := range names {
			add(path.Join(dir, n))
		}
	}
	out := limited{most: maxKeyRing}
	const ask = `rpm -q gpg-pubkey --qf '%{DESCRIPTION}\n' || true` // it fails when there is none
	if err := sb.Run(ctx, Command{Argv: []string{"sh", "-c", ask}, Stdout: &out}); err != nil {
		return ring, fmt.Errorf("ask rpm for its keys: %w", err)
	}
	if keys, err := pgp.ReadKeyRing(out.Bytes()); err == nil && bytes.Contains(out.Bytes(), []byte("BEGIN PGP PUBLIC KEY")) {
		ring = ring.Join(keys)
	}
	return ring, nil
}

// readSections reads a configuration file; a missing one has none.
func readSections(sb Sandbox, name string) ([]rpmrepo.Section, error) {
	b, err := aptrepo.ReadFile(sb, name, rpmrepo.MaxRepoFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s, err := rpmrepo.ParseIni(b)
	if err != nil {
		return nil, fmt.Errorf("%s of the base: %w", name, err)
	}
	return s, nil
}

// readRepos reads the .repo files of directories, by name. A file of a later directory hides one of the same name.
// overrides change keys of sections, by name or pattern.
func readRepos(sb Sandbox, dirs []string, overrides []rpmrepo.Section, expand func(string) string) ([]rpmrepo.Repo, error) {
	where := make(map[string]string)
	for _, dir := range dirs {
		names, err := sb.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read %s: %w", dir, err)
		}
		for _, n := range names {
			if strings.HasSuffix(n, ".repo") {
				where[n] = dir
			}
		}
	}
	var out []rpmrepo.Repo
	for _, n := range slices.Sorted(maps.Keys(where)) {
		name := path.Join(where[n], n)
		sections, err := readSections(sb, name)
		if err != nil {
			return nil, err
		}
		for _, s := range sections {
			for _, o := range overrides {
				if match, _ := path.Match(o.Name, s.Name); match {
					maps.Copy(s.Keys, o.Keys)
				}
			}
		}
		list, err := rpmrepo.Repos(name, sections, expand)
		if err != nil {
			return nil, err
		}
		out = append(out, list...)
	}
	return out, nil
}

// readVars reads a directory of variables: a file each, whose first line is the value.
func readVars(sb Sandbox, dir string, vars map[string]string) error {
	names, err := sb.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read %s: %w", dir, err)
	}
	for _, n := range names {
		b, err := aptrepo.ReadFile(sb, path.Join(dir, n), 64<<10)
		if err != nil {
			return fmt.Errorf("read variable %s: %w", n, err)
		}
		value, _, _ := strings.Cut(string(b), "\n")
		vars[n] = strings.TrimSpace(value)
	}
	return nil
}

package distro

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro/aptrepo"
)

// installed is what dpkg has installed, by "name:architecture". Several versions of one cannot be.
type installed map[string]*aptrepo.Package

func instance(name, arch string) string { return name + ":" + arch }

// readStatus reads dpkg's database. A package that is neither installed nor gone is an error.
func readStatus(t aptrepo.Tree) (installed, error) {
	f, err := t.Open("/var/lib/dpkg/status")
	if err != nil {
		return nil, fmt.Errorf("read dpkg's database: %w", err)
	}
	defer f.Close()
	out := make(installed)
	sc := aptrepo.NewScanner(f, false)
	for {
		raw, err := sc.Next()
		if err == io.EOF {
			return out, nil
		}
		if err == nil {
			err = out.add(raw)
		}
		if err != nil {
			return nil, fmt.Errorf("read dpkg's database, line %d: %w", sc.Line(), err)
		}
	}
}

func (in installed) add(raw []byte) error {
	stanza, err := aptrepo.ParseStanza(raw)
	if err != nil {
		return err
	}
	status := stanza.Words("Status")
	if len(status) != 3 {
		return fmt.Errorf("package %q has no status", stanza.Get("Package"))
	}
	switch status[2] {
	case "not-installed", "config-files":
		return nil
	case "installed", "triggers-awaited", "triggers-pending":
	default:
		return fmt.Errorf("package %s is only %s", stanza.Get("Package"), status[2])
	}
	p, err := aptrepo.ParsePackage(raw)
	if err != nil {
		return err
	}
	in[instance(p.Name, p.Arch)] = p
	return nil
}

// any finds a package by name, of whatever architecture, the native one first.
func (in installed) any(name, arch string) *aptrepo.Package {
	for _, a := range []string{arch, "all"} {
		if p := in[instance(name, a)]; p != nil {
			return p
		}
	}
	return nil
}

// difference lists in words what is in got and not in want, and the other way round.
func (in installed) difference(want map[string]string) error {
	var text []string
	for key, p := range in {
		if v, ok := want[key]; !ok {
			text = append(text, key+" "+p.Version+" was installed and is not in the lock")
		} else if v != p.Version {
			text = append(text, key+" is "+p.Version+" and not "+v)
		}
	}
	for key, v := range want {
		if in[key] == nil {
			text = append(text, key+" "+v+" is not installed")
		}
	}
	if len(text) == 0 {
		return nil
	}
	slices.Sort(text)
	return errors.New("the installed packages are not those of the lock:\n  " + strings.Join(text, "\n  "))
}

// CheckInstalled reports an error unless exactly pkgs are installed in a base of dpkg.
func CheckInstalled(t aptrepo.Tree, pkgs []manifest.Package) error {
	have, err := readStatus(t)
	if err != nil {
		return err
	}
	return have.difference(expected(nil, pkgs))
}

// architectures gives dpkg's architectures, the native one first.
func architectures(t aptrepo.Tree, in installed) ([]string, error) {
	var archs []string
	for _, p := range in {
		if p.Name == "dpkg" {
			archs = []string{p.Arch}
		}
	}
	if archs == nil {
		return nil, errors.New("dpkg's database does not list dpkg itself")
	}
	b, err := aptrepo.ReadFile(t, "/var/lib/dpkg/arch", 64<<10)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for a := range bytes.FieldsSeq(b) {
		if !slices.Contains(archs, string(a)) {
			archs = append(archs, string(a))
		}
	}
	return archs, nil
}

// DebianArch is Debian's name for a GOARCH name.
func DebianArch(goarch string) string {
	switch goarch {
	case "386":
		return "i386"
	case "arm":
		return "armhf"
	case "ppc64le":
		return "ppc64el"
	case "mips64le":
		return "mips64el"
	}
	return goarch
}

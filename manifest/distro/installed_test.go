package distro

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/karapace/karapace/manifest/distro/aptrepo"
)

// answering is a base of files in which programs answer what is given for their command line.
type answering struct {
	aptrepo.Tree
	answers map[string]string
}

func (answering) Shared() string { return "" }

func (a answering) Run(_ context.Context, c Command) error {
	for beginning, answer := range a.answers {
		if strings.HasPrefix(strings.Join(c.Argv, " "), beginning) {
			_, err := io.WriteString(c.Stdout, answer)
			return err
		}
	}
	return fmt.Errorf("nothing answers %q", c.Argv)
}

func newAnswering(files, answers map[string]string) answering {
	m := fstest.MapFS{}
	for name, text := range files {
		m[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return answering{aptrepo.FS(fs.FS(m)), answers}
}

// Every manager tells what is installed, and what was asked for by name.
func TestInstalled(t *testing.T) {
	native, _ := RPMArch(runtime.GOARCH)
	here := func(s string) string { return strings.ReplaceAll(s, "NATIVE", native) }
	const dpkg = "Package: dpkg\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n"
	set := map[string]string{
		"rpm -qa --qf %{NAME}":                   "base\t(none)\t1\t1\tNATIVE\ntool\t(none)\t2\t1\tnoarch\nlib\t3\t1\t1\tNATIVE\nold\t(none)\t1\t1\tother\ngpg-pubkey\t(none)\taa\tbb\t(none)\n",
		"rpm -qa --qf [%{=NAME}\\t%{REQUIRENAME": "tool\tlib.so\nbase\tbase\n",
		"rpm -qa --qf [%{=NAME}\\t%{PROVIDENAME": "lib\tlib.so\nbase\tbase\ntool\ttool\n",
		"dnf -q -C":                              "base\tNATIVE\tunknown\n\ntool\tnoarch\tuser\n\nold\tother\tweak-dependency\n",
		"dnf5 -q -C":                             "base\tNATIVE\tExternal User\ntool\tnoarch\tUser\nlib\tNATIVE\tDependency\nold\tother\tGroup\n",
	}
	for k, v := range set {
		set[k] = here(v)
	}
	for name, c := range map[string]struct {
		manager Lister
		sb      answering
		want    string
	}{
		"apt": {Apt{}, newAnswering(map[string]string{
			"var/lib/dpkg/status": dpkg + "Package: a\nStatus: install ok installed\nArchitecture: all\nVersion: 1:2-3\n\nPackage: b\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n\n" +
				"Package: c\nStatus: install ok installed\nArchitecture: i386\nVersion: 1\n\nPackage: d\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n",
			"var/lib/apt/extended_states": "Package: a\nArchitecture: amd64\nAuto-Installed: 1\n\nPackage: d\nArchitecture: i386\nAuto-Installed: 1\n\nPackage: c\nArchitecture: i386\nAuto-Installed: 0\n",
		}, nil), "a 1:2-3 all, c 1 i386 explicit foreign, d 1 amd64 explicit, dpkg 1 amd64 explicit"},
		"apt without states": {Apt{}, newAnswering(map[string]string{"var/lib/dpkg/status": dpkg}, nil), "dpkg 1 amd64 explicit"},
		"pacman": {Pacman{}, newAnswering(map[string]string{
			"var/lib/pacman/local/a-1-1/desc": "%NAME%\na\n\n%VERSION%\n1-1\n\n%ARCH%\nany\n\n%REASON%\n1\n",
			"var/lib/pacman/local/b-2-1/desc": "%NAME%\nb\n\n%VERSION%\n2-1\n\n%ARCH%\nx86_64\n",
			"var/lib/pacman/local/c-2-1/desc": "%NAME%\nc\n\n%VERSION%\n2-1\n\n%ARCH%\nx86_64\n\n%REASON%\n0\n",
		}, nil), "a 1-1 any, b 2-1 x86_64 explicit, c 2-1 x86_64 explicit"},
		"dnf 4": {Dnf{}, newAnswering(map[string]string{"usr/bin/dnf": "#!/usr/bin/python3\n"}, set),
			"base 1-1 NATIVE explicit guessed, lib 3:1-1 NATIVE guessed, old 1-1 other foreign, tool 2-1 noarch explicit"},
		"dnf 5": {Dnf{}, newAnswering(map[string]string{"usr/bin/dnf5": "\x7fELF"}, set),
			"base 1-1 NATIVE explicit, lib 3:1-1 NATIVE, old 1-1 other foreign, tool 2-1 noarch explicit"},
		"zypper": {Zypper{}, newAnswering(map[string]string{"var/lib/zypp/AutoInstalled": "# of today\n#\nlib\nold\n"}, set),
			"base 1-1 NATIVE explicit, lib 3:1-1 NATIVE, old 1-1 other foreign, tool 2-1 noarch explicit"},
	} {
		list, err := c.manager.Installed(t.Context(), c.sb)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		for _, p := range list {
			s := p.Name + " " + p.Version + " " + p.Arch
			if p.Explicit {
				s += " explicit"
			}
			if p.Guessed {
				s += " guessed"
			}
			if p.Foreign {
				s += " foreign"
			}
			got = append(got, s)
		}
		slices.Sort(got)
		if strings.Join(got, ", ") != here(c.want) {
			t.Errorf("%s: %s, want %s", name, strings.Join(got, ", "), here(c.want))
		}
	}
}

// A database that cannot be understood is an error, not a system without packages.
func TestInstalledOfDamaged(t *testing.T) {
	for name, c := range map[string]struct {
		manager Lister
		sb      answering
	}{
		"no dpkg":        {Apt{}, newAnswering(map[string]string{"var/lib/dpkg/status": ""}, nil)},
		"half installed": {Apt{}, newAnswering(map[string]string{"var/lib/dpkg/status": "Package: dpkg\nStatus: install ok half-installed\nArchitecture: amd64\nVersion: 1\n"}, nil)},
		"no version":     {Pacman{}, newAnswering(map[string]string{"var/lib/pacman/local/a-1-1/desc": "%NAME%\na\n\n%ARCH%\nany\n"}, nil)},
		"no rpm":         {Zypper{}, newAnswering(nil, nil)},
		"rpm's answer":   {Dnf{}, newAnswering(nil, map[string]string{"rpm -qa": "nonsense\n"})},
	} {
		if list, err := c.manager.Installed(t.Context(), c.sb); err == nil {
			t.Errorf("%s: %v", name, list)
		}
	}
}

package images

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/karapace/karapace/manifest/distro/aptrepo"
	"github.com/karapace/karapace/manifest/distro/aptrepo/aptrepotest"
)

func hostFS(files ...string) fstest.MapFS {
	m := fstest.MapFS{}
	for i := 0; i < len(files); i += 2 {
		m[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	return m
}

func TestBootstrapSources(t *testing.T) {
	const bookworm = `Types: deb
URIs: http://near.example/debian/
Suites: bookworm bookworm-updates bookworm-backports
Components: main contrib
Trusted: yes

Types: deb
URIs: http://near.example/debian-security
Suites: bookworm-security
Components: main

Types: deb
URIs: https://other.example/node
Suites: nodistro
Components: main

Types: deb
URIs: https://download.docker.com/linux/debian
Suites: bookworm
Components: stable
`
	host := aptrepo.FS(hostFS("etc/apt/sources.list.d/debian.sources", bookworm))
	partial := aptrepo.FS(hostFS("etc/apt/sources.list", "deb http://near.example/debian bookworm-updates main\n"))
	now := time.Date(2026, 3, 4, 15, 16, 17, 0, time.UTC)
	tests := []struct {
		name string
		b    Bootstrap
		want string
	}{
		{"the manifest's mirror", Bootstrap{Distro: "debian", Release: "bookworm", Mirrors: []string{"https://m.example/debian/", "https://c.example"}, Host: host},
			"https://m.example/debian bookworm main;https://m.example/debian bookworm-updates main;https://m.example/debian-security bookworm-security main"},
		{"the configured one", Bootstrap{Distro: "debian", Release: "trixie", Mirrors: []string{"", "https://c.example/debian"}, Host: host},
			"https://c.example/debian trixie main;https://c.example/debian trixie-updates main;https://c.example/debian-security trixie-security main"},
		{"the host's", Bootstrap{Distro: "debian", Release: "bookworm", Mirrors: []string{"", ""}, Host: host},
			"http://near.example/debian bookworm main contrib;http://near.example/debian bookworm-updates main contrib;http://near.example/debian-security bookworm-security main"},
		{"the host is of another release", Bootstrap{Distro: "debian", Release: "trixie", Host: host},
			"https://snapshot.debian.org/archive/debian/20260304T000000Z trixie main;https://snapshot.debian.org/archive/debian/20260304T000000Z trixie-updates main;" +
				"https://snapshot.debian.org/archive/debian-security/20260304T000000Z trixie-security main"},
		{"the host has only a part", Bootstrap{Distro: "debian", Release: "bookworm", Host: partial},
			"https://snapshot.debian.org/archive/debian/20260304T000000Z bookworm main;https://snapshot.debian.org/archive/debian/20260304T000000Z bookworm-updates main;" +
				"https://snapshot.debian.org/archive/debian-security/20260304T000000Z bookworm-security main"},
		{"a development release", Bootstrap{Distro: "debian", Release: "sid"}, "https://snapshot.debian.org/archive/debian/20260304T000000Z sid main"},
		{"ubuntu", Bootstrap{Distro: "ubuntu", Release: "noble", Host: host},
			"https://snapshot.ubuntu.com/ubuntu/20260304T000000Z noble main universe;https://snapshot.ubuntu.com/ubuntu/20260304T000000Z noble-updates main universe;" +
				"https://snapshot.ubuntu.com/ubuntu/20260304T000000Z noble-security main universe"},
	}
	for _, tt := range tests {
		tt.b.Now, tt.b.Arch = now, "amd64"
		got, err := tt.b.sources()
		var text []string
		for _, s := range got {
			if s.Trusted {
				t.Errorf("%s: %s is used without a signature", tt.name, s.URI)
			}
			text = append(text, s.URI+" "+s.Suite+" "+strings.Join(s.Components, " "))
		}
		if err != nil || strings.Join(text, ";") != tt.want {
			t.Errorf("%s: %v\n got %s\nwant %s", tt.name, err, strings.Join(text, ";"), tt.want)
		}
	}
	if got, err := (&Bootstrap{Distro: "fedora", Release: "40"}).sources(); err == nil {
		t.Errorf("fedora: %v", got)
	}
	if got, err := (&Bootstrap{Distro: "debian", Release: "bookworm", Host: aptrepo.FS(hostFS("etc/apt/sources.list", "nonsense\n"))}).sources(); err == nil {
		t.Errorf("broken sources: %v", got)
	}
}

func TestBootstrapKeys(t *testing.T) {
	mine, hosts := aptrepotest.NewKey(t), aptrepotest.NewKey(t)
	file := filepath.Join(t.TempDir(), "ring.asc")
	os.WriteFile(file, mine.Public(), 0o600)
	host := aptrepo.FS(hostFS("usr/share/keyrings/h.gpg", string(hosts.Public())))
	named := aptrepo.Source{SignedBy: []string{"/usr/share/keyrings/h.gpg"}}
	tests := []struct {
		name      string
		b         Bootstrap
		s         aptrepo.Source
		good, bad *aptrepotest.Key
	}{
		{"configured", Bootstrap{Distro: "debian", Keyring: file, Host: host}, named, mine, hosts},
		{"the host's entry", Bootstrap{Distro: "debian", Host: host}, named, hosts, mine},
		{"what comes with the program", Bootstrap{Distro: "debian", Host: host}, aptrepo.Source{}, nil, hosts},
		{"what comes with the program", Bootstrap{Distro: "ubuntu"}, aptrepo.Source{}, nil, mine},
	}
	for _, tt := range tests {
		ring, err := tt.b.keys(tt.s)
		if err != nil || ring.Empty() {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if tt.good != nil {
			if _, err := aptrepo.VerifyInRelease(ring, tt.good.Sign([]byte("x\n")), time.Now()); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
		if _, err := aptrepo.VerifyInRelease(ring, tt.bad.Sign([]byte("x\n")), time.Now()); err == nil {
			t.Errorf("%s: another key signs too", tt.name)
		}
	}
	for _, b := range []Bootstrap{{Distro: "debian", Keyring: file + ".none"}, {Distro: "plan9"}} {
		if _, err := b.keys(aptrepo.Source{}); err == nil {
			t.Errorf("%+v has keys", b)
		}
	}
}

func TestMerger(t *testing.T) {
	write := func(name string, files map[string]string) string {
		p := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(p, aptrepotest.Deb("Package: x\nVersion: 1\nArchitecture: all\n", files), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	newer := write("new.deb", map[string]string{"./bin": "-> usr/bin", "./lib": "-> usr/lib", "./lib64": "-> usr/lib64", "./usr/": "", "./etc/": ""})
	older := write("old.deb", map[string]string{"./bin/": "", "./etc/": ""})
	for deb, want := range map[string]string{newer: "[bin lib lib64]", older: "[bin sbin lib lib32 lib64 libx32]"} {
		if got, err := mergedDirs(deb, "amd64"); err != nil || fmt.Sprint(got) != want {
			t.Errorf("got %v, %v, want %s", got, err, want)
		}
	}
	var out bytes.Buffer
	m := newMerger(&out, []string{"bin", "lib"})
	if err := m.begin([]string{"bin", "lib"}); err != nil {
		t.Fatal(err)
	}
	app := write("app.deb", map[string]string{"./bin/": "", "./bin/sh": "shell", "./usr/bin/": "", "./usr/bin/x": "y", "./bin.d/": "", "./lib/": "", "./lib/a/": "", "./lib/a/b": "c", "./etc/f": "g"})
	for _, deb := range []string{newer, app, app} {
		if err := readData(deb, func(h *tar.Header, r io.Reader) error { return m.add(h, r) }); err != nil {
			t.Fatal(err)
		}
	}
	m.out.Close()
	var got []string
	tr := tar.NewReader(&out)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		name := h.Name
		if h.Linkname != "" {
			name += "->" + h.Linkname
		}
		got = append(got, name)
	}
	want := "usr/ usr/bin/ bin->usr/bin usr/lib/ lib->usr/lib etc/ lib64->usr/lib64 bin.d/ usr/bin/sh etc/f usr/lib/a/ usr/lib/a/b usr/bin/x usr/bin/sh etc/f usr/lib/a/b usr/bin/x"
	if strings.Join(got, " ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, " "), want)
	}
}

func TestDependencyOrder(t *testing.T) {
	pkgs := []*aptrepo.Package{
		{Name: "a", Depends: "b, v"}, {Name: "b", PreDepends: "c (>= 1) | x"}, {Name: "c", Depends: "a"}, {Name: "d", Provides: "v (= 1)"}, {Name: "e"},
	}
	var got []string
	for _, p := range dependencyOrder(pkgs) {
		got = append(got, p.Name)
	}
	if strings.Join(got, " ") != "c b d a e" {
		t.Errorf("got %v", got)
	}
}

package distro

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro/aptrepo"
	"github.com/karapace/karapace/manifest/distro/aptrepo/aptrepotest"
)

func tree(files ...string) aptrepo.Tree {
	m := fstest.MapFS{}
	for i := 0; i < len(files); i += 2 {
		m[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	return aptrepo.FS(m)
}

func TestParseSimulation(t *testing.T) {
	steps, err := parseSimulation([]byte(`NOTE: This is only a simulation!
Inst libc6 [2.36-9] (2.36-9+deb12u9 Debian:12.9/stable, Debian-Security:12/stable-security [amd64]) []
Inst git (1:2.39.5-0+deb12u2 Debian:12.9/stable [amd64])
Inst libx:i386 (1.0 mini [i386])
Inst ca-certificates (20230311 Debian:12.9/stable [all])
Conf libc6 (2.36-9+deb12u9 Debian:12.9/stable [amd64])
`), "amd64")
	want := "[{libc6 2.36-9+deb12u9 amd64} {git 1:2.39.5-0+deb12u2 amd64} {libx 1.0 i386} {ca-certificates 20230311 all}]"
	if err != nil || fmt.Sprint(steps) != want {
		t.Errorf("got %v, %v", steps, err)
	}
	_, err = parseSimulation([]byte("Remv sysvinit [3]\nPurg dash [1]\nInst systemd (1 x [amd64])\n"), "amd64")
	if err == nil || !strings.Contains(err.Error(), "dash, sysvinit") {
		t.Errorf("got %v", err)
	}
	for _, odd := range []string{"Inst x", "Inst x (1", "Inst x (1 y)", "Inst x 1 [amd64]"} {
		if s, err := parseSimulation([]byte(odd), "amd64"); err == nil {
			t.Errorf("%q: %v", odd, s)
		}
	}
}

func TestReadStatus(t *testing.T) {
	const ok = "Package: dpkg\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\n\n" +
		"Package: gone\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: amd64\n\n" +
		"Package: held\nStatus: hold ok installed\nVersion: 2\nArchitecture: all\nConffiles:\n /etc/x abc\n"
	in, err := readStatus(tree("var/lib/dpkg/status", ok))
	if err != nil || len(in) != 2 || in["dpkg:amd64"] == nil || in["held:all"].Version != "2" {
		t.Errorf("got %v, %v", in, err)
	}
	archs, err := architectures(tree("var/lib/dpkg/arch", "amd64\ni386\n"), in)
	if err != nil || fmt.Sprint(archs) != "[amd64 i386]" {
		t.Errorf("got %v, %v", archs, err)
	}
	for _, bad := range []string{"Package: x\nStatus: install ok half-configured\nVersion: 1\nArchitecture: all\n", "Package: x\nVersion: 1\n",
		"Package: -x\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n", "nonsense\n"} {
		if in, err := readStatus(tree("var/lib/dpkg/status", ok+"\n"+bad)); err == nil {
			t.Errorf("%q: %v", bad, in)
		}
	}
	if _, err := readStatus(tree()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestInstalledDifference(t *testing.T) {
	base := installed{"a:amd64": {Name: "a", Version: "1", Arch: "amd64"}, "b:all": {Name: "b", Version: "1", Arch: "all"}, "c:amd64": {Name: "c", Version: "1", Arch: "amd64"}}
	pkgs := []manifest.Package{{Name: "b", Version: "2", Arch: "amd64"}, {Name: "c", Version: "2", Arch: "all"}, {Name: "d", Version: "1", Arch: "all"}}
	want := expected(base, pkgs)
	if fmt.Sprint(want) != "map[a:amd64:1 b:amd64:2 c:all:2 d:all:1]" {
		t.Errorf("expected %v", want)
	}
	after := installed{"a:amd64": {Version: "1"}, "b:amd64": {Version: "2"}, "c:all": {Version: "2"}, "d:all": {Version: "1"}}
	if err := after.difference(want); err != nil {
		t.Error(err)
	}
	after["e:all"], after["d:all"] = &aptrepo.Package{Version: "1"}, &aptrepo.Package{Version: "2"}
	delete(after, "a:amd64")
	err := after.difference(want)
	if err == nil {
		t.Fatal("no difference")
	}
	for _, part := range []string{"a:amd64 1 is not installed", "d:all is 2 and not 1", "e:all 1 was installed and is not in the lock"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in %v", part, err)
		}
	}
}

func TestAptSources(t *testing.T) {
	const list = `deb http://deb.example.org/debian bookworm main
deb http://deb.example.org/debian bookworm-updates main
deb [signed-by=/x.gpg] http://security.example.org/debian-security bookworm-security main
deb cdrom:[Debian] bookworm main
deb https://download.docker.com/linux/debian bookworm stable
deb https://ppa.launchpadcontent.net/a/b/ubuntu bookworm main
`
	const release = "ID=debian\nVERSION_CODENAME=\"bookworm\"\n"
	base := tree("etc/apt/sources.list", strings.Replace(list, "deb cdrom:[Debian] bookworm main\n", "", 1), "etc/os-release", release)
	tests := []struct{ mirror, want string }{
		{"", "http://deb.example.org/debian http://deb.example.org/debian http://security.example.org/debian-security https://download.docker.com/linux/debian https://ppa.launchpadcontent.net/a/b/ubuntu"},
		{"https://m.example/debian", "https://m.example/debian https://m.example/debian https://m.example/debian-security https://download.docker.com/linux/debian https://ppa.launchpadcontent.net/a/b/ubuntu"},
		{"https://s.example/archive/debian/20240501T000000Z", "https://s.example/archive/debian/20240501T000000Z https://s.example/archive/debian/20240501T000000Z " +
			"https://s.example/archive/debian-security/20240501T000000Z https://download.docker.com/linux/debian https://ppa.launchpadcontent.net/a/b/ubuntu"},
		{"file:///srv/mirror", "file:///srv/mirror file:///srv/mirror file:///srv/mirror https://download.docker.com/linux/debian https://ppa.launchpadcontent.net/a/b/ubuntu"},
	}
	for _, tt := range tests {
		got, err := aptSources(base, "amd64", tt.mirror)
		var uris []string
		for _, s := range got {
			uris = append(uris, s.URI)
		}
		if err != nil || strings.Join(uris, " ") != tt.want {
			t.Errorf("mirror %q: %v\n got %v\nwant %v", tt.mirror, err, uris, tt.want)
		}
	}
	got, err := aptSources(tree("etc/os-release", release), "amd64", "https://m.example/debian")
	if err != nil || len(got) != 1 || got[0].Suite != "bookworm" {
		t.Errorf("no sources, mirror: %+v, %v", got, err)
	}
	for _, bad := range []aptrepo.Tree{
		tree("etc/os-release", release),
		tree("etc/apt/sources.list", "deb file:/etc ./\n", "etc/os-release", release),
		tree("etc/apt/sources.list", "deb copy:/etc ./\n", "etc/os-release", release),
		tree("etc/apt/sources.list", "deb ssh://x/ ./\n", "etc/os-release", release),
	} {
		if got, err := aptSources(bad, "amd64", ""); err == nil {
			t.Errorf("got %+v", got)
		}
	}
}

func TestAptKeys(t *testing.T) {
	a, b := aptrepotest.NewKey(t), aptrepotest.NewKey(t)
	text := []byte("Date: x\n")
	base := tree("usr/share/keyrings/a.gpg", string(a.Public()), "etc/apt/trusted.gpg.d/b.asc", string(b.Public()), "etc/apt/trusted.gpg.d/junk.gpg", "junk")
	tests := []struct {
		name string
		src  aptrepo.Source
		good *aptrepotest.Key
		bad  *aptrepotest.Key
	}{
		{"named file", aptrepo.Source{SignedBy: []string{"/usr/share/keyrings/a.gpg"}}, a, b},
		{"every trusted key", aptrepo.Source{}, b, a},
		{"in the source", aptrepo.Source{Key: a.Public()}, a, b},
	}
	for _, tt := range tests {
		ring, err := AptKeys(base)(tt.src)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if _, err := aptrepo.VerifyInRelease(ring, tt.good.Sign(text), time.Now()); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if _, err := aptrepo.VerifyInRelease(ring, tt.bad.Sign(text), time.Now()); err == nil {
			t.Errorf("%s: the other key signs too", tt.name)
		}
	}
	if _, err := AptKeys(base)(aptrepo.Source{SignedBy: []string{"/none.gpg"}}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing key ring: %v", err)
	}
	if _, err := AptKeys(tree())(aptrepo.Source{}); err == nil {
		t.Error("a base without keys trusts something")
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"git", "git", 0}, {"gti", "git", 1}, {"git", "gitk", 1}, {"curl", "crul", 1}, {"pythn3", "python3", 1}, {"abc", "xyz", 3}, {"", "ab", 2}, {"a", "abcdefgh", 4}} {
		if got := distance(tt.a, tt.b, 3); got != tt.want {
			t.Errorf("%s %s: %d, want %d", tt.a, tt.b, got, tt.want)
		}
		if got := distance(tt.b, tt.a, 3); got != tt.want {
			t.Errorf("%s %s: %d, want %d", tt.b, tt.a, got, tt.want)
		}
	}
}

func TestCheckControl(t *testing.T) {
	deb := aptrepotest.Deb("Package: x\nVersion: 1\nArchitecture: all\nFilename: /evil\nsize: 1\nDescription: d\n", nil)
	d, err := aptrepo.ReadDeb(bytes.NewReader(deb))
	if err != nil {
		t.Fatal(err)
	}
	if err := checkControl(d.Control, manifest.Package{Name: "x", Version: "1", Arch: "all"}); err != nil {
		t.Error(err)
	}
	for _, p := range []manifest.Package{{Name: "y", Version: "1", Arch: "all"}, {Name: "x", Version: "2", Arch: "all"}, {Name: "x", Version: "1", Arch: "amd64"}} {
		if err := checkControl(d.Control, p); err == nil {
			t.Errorf("it passes for %+v", p)
		}
	}
	got, err := fileFieldsOut(d.Control)
	if err != nil || strings.Contains(strings.ToLower(string(got)), "filename") || strings.Contains(strings.ToLower(string(got)), "size") {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestBuildEnv(t *testing.T) {
	env, err := BuildEnv(1, 42)
	if err != nil {
		t.Fatal(err)
	}
	const want = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 TZ=UTC TERM=dumb DEBIAN_FRONTEND=noninteractive " +
		"DEBCONF_NONINTERACTIVE_SEEN=true SOURCE_DATE_EPOCH=42 PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0 PERL_HASH_SEED=0 FORCE_SOURCE_DATE=1"
	if got := strings.Join(env, " "); got != want {
		t.Errorf("version 1 has changed: every lock that names it would build other bytes\n got %s\nwant %s", got, want)
	}
	for _, v := range []int64{0, 2, -1} {
		if _, err := BuildEnv(v, 42); err == nil {
			t.Errorf("version %d is known", v)
		}
	}
}

func TestPlanRefusesOptions(t *testing.T) {
	for _, name := range []string{"-o=x", "--force", "../x", "a b", "x=1", "x/sid", "x:i386", "task^", "", "Ü"} {
		if _, err := newAptPlan(nopSandbox{}, nil, Request{Names: []string{name}}); err == nil || !strings.Contains(err.Error(), "not a package name") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

type nopSandbox struct{ Sandbox }

func (nopSandbox) Shared() string { return os.DevNull }

package distro

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro/pgp"
	"github.com/karapace/karapace/manifest/distro/rpmrepo"
	"github.com/karapace/karapace/manifest/distro/rpmrepo/rpmrepotest"
)

func TestParsePlan5(t *testing.T) {
	const table = `Package                                              Arch   Version                                  Repository       Size
Upgrading:
 libmini                                             noarch 0:2.0-1                                  r0          12.0   B
   replacing libmini                                 noarch 0:1.0-1                                  r0          12.0   B
Installing:
 a-package-with-a-really-long-name-that-goes-on-and-on x86_64 3:1.0.0.0.0.0.20240101gitdeadbeef-1.fc41 r1           0.0   B
Installing dependencies:
 lib                                                 i686   0:1-1                                    r0           2.5 MiB

Transaction Summary:
 Installing:         2 packages
 Removing:           9 packages
`
	steps, err := parsePlan5(table)
	want := "[{libmini 2.0-1 noarch r0} {a-package-with-a-really-long-name-that-goes-on-and-on 3:1.0.0.0.0.0.20240101gitdeadbeef-1.fc41 x86_64 r1} {lib 1-1 i686 r0}]"
	var got []string
	for _, s := range steps {
		got = append(got, "{"+s.rpmPackage.name+" "+s.version+" "+s.arch+" "+s.repo+"}")
	}
	if err != nil || "["+strings.Join(got, " ")+"]" != want {
		t.Errorf("got %v, %v", got, err)
	}
	for text, want := range map[string]string{
		"Removing dependent packages:\n bash noarch 0:1-1 r0 1 B\n":                               "would remove packages of the base: bash",
		"Installing:\n curl x86_64 0:1-1 r0 1 B\n   replacing curl-minimal x86_64 0:1-1 r0 1 B\n": "would remove packages of the base: curl-minimal",
		"Frobnicating:\n curl x86_64 0:1-1 r0 1 B\n":                                              "not understood",
		"Installing:\n curl x86_64 0:1-1\n r0 1 B\n":                                              "not understood",
		"Installing:\n a b c d e f g h\n":                                                         "not understood",
	} {
		if s, err := parsePlan5(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v", text, s, err)
		}
	}
	if s, err := parsePlan5("Nothing to do.\n"); err != nil || len(s) != 0 {
		t.Errorf("%v, %v", s, err)
	}
}

func TestParsePlan4(t *testing.T) {
	steps, err := parsePlan4("install\ta\t1\t2.0\t1\tnoarch\tr0\nremove\ta\t0\t1.0\t1\tnoarch\t@System\nend\n")
	if err != nil || len(steps) != 1 || steps[0].version != "1:2.0-1" || steps[0].repo != "r0" {
		t.Errorf("%v, %v", steps, err)
	}
	for text, want := range map[string]string{
		"install\ta\t1\t2.0\t1\tnoarch\tr0\n":          "incomplete",
		"install\ta\t1\t2.0\n end\n":                   "not understood",
		"remove\tb\t0\t1.0\t1\tnoarch\t@System\nend\n": "would remove packages of the base: b",
		"frob\ta\t1\t2.0\t1\tnoarch\tr0\nend\n":        "not understood",
	} {
		if s, err := parsePlan4(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v", text, s, err)
		}
	}
}

func TestParseZyppPlan(t *testing.T) {
	const text = `<?xml version='1.0'?>
<stream>
<message type="info">Loading repository data...</message>
<install-summary download-size="1" packages-to-change="2">
<to-upgrade>
<solvable type="package" name="libmini" edition="2.0-1" arch="noarch" edition-old="1.0-1"><description>x</description></solvable>
</to-upgrade>
<to-install>
<solvable type="package" name="minihello" edition="0:2.0-1" arch="noarch" summary="m"/>
<solvable type="product" name="openSUSE" edition="1" arch="noarch"/>
</to-install>
</install-summary>
<prompt id="0"><text>Continue?</text></prompt>
</stream>
`
	steps, err := parseZyppPlan(text)
	if err != nil || len(steps) != 2 || steps[0].String() != "libmini 2.0-1 noarch" || steps[1].String() != "minihello 2.0-1 noarch" {
		t.Errorf("%v, %v", steps, err)
	}
	for text, want := range map[string]string{
		strings.ReplaceAll(text, "to-upgrade", "to-remove"): "would remove packages of the base: libmini",
		strings.ReplaceAll(text, "to-upgrade", "to-frob"):   "not understood",
		strings.Replace(text, "minihello", "-x", 1):         "not understood",
		text[:300]: "read zypper's plan",
	} {
		if s, err := parseZyppPlan(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v", want, s, err)
		}
	}
}

func TestRPMSet(t *testing.T) {
	before, err := parseRPMSet("bash\t(none)\t5\t1\tx86_64\nlib\t1\t5\t1\tx86_64\nkey\t(none)\ta\tb\t(none)\n")
	if err != nil || before["lib 1:5-1 x86_64"].name != "lib" {
		t.Fatal(before, err)
	}
	pkgs := []manifest.Package{{Name: "lib", Version: "1:6-1", Arch: "x86_64"}, {Name: "new", Version: "1-1", Arch: "noarch"}}
	after, err := parseRPMSet("bash\t0\t5\t1\tx86_64\nlib\t1\t6\t1\tx86_64\nkey\t(none)\ta\tb\t(none)\nnew\t(none)\t1\t1\tnoarch\n")
	if err != nil {
		t.Fatal(err)
	}
	if err := after.difference(before, pkgs); err != nil {
		t.Error(err)
	}
	delete(after, "bash 5-1 x86_64")
	delete(after, "new 1-1 noarch")
	after["odd 1-1 noarch"] = rpmPackage{"odd", "1-1", "noarch"}
	err = after.difference(before, pkgs)
	for _, want := range []string{"bash 5-1 x86_64 was removed", "new 1-1 noarch is not installed", "odd 1-1 noarch was installed and is not in the lock"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	if _, err := parseRPMSet("warning: x\n"); err == nil {
		t.Error("a warning is a package")
	}
}

func TestReleaseVersion(t *testing.T) {
	for text, want := range map[string]string{
		"of system-release(releasever) 2023.4\nis other 1\nis system-release(releasever) 2023\n": "2023",
		"of system-release 41\nis system-release 41-1\n":                                         "41",
		"": "",
	} {
		if got := parseRelease(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

func TestOldRPM(t *testing.T) {
	for line, want := range map[string]bool{"RPM version 4.14.3": true, "RPM version 4.16.1.3": true, "RPM version 4.18.0": false, "RPM version 4.20.1": false, "RPM version 6.1.0": false} {
		if old, err := oldRPM(line); err != nil || old != want {
			t.Errorf("%s: %v, %v", line, old, err)
		}
	}
	if _, err := oldRPM("rpm 5"); err == nil {
		t.Error("not understood, but accepted")
	}
}

// Only packages that were not there before get another time.
func TestRetime(t *testing.T) {
	header := func(name, arch string, time uint32) []byte {
		values := []rpmrepotest.Value{{Tag: 1000, Value: name}, {Tag: 1001, Value: "1"}, {Tag: 1002, Value: "1"}, {Tag: 1008, Value: []uint32{time}}, {Tag: 1128, Value: []uint32{time}}}
		if arch != "" {
			values = append(values, rpmrepotest.Value{Tag: 1022, Value: arch})
		}
		return rpmrepotest.Header(values...)
	}
	before, _ := parseRPMSet("old\t(none)\t1\t1\tnoarch\ngpg-pubkey\t(none)\t1\t1\t(none)\n")
	in := bytes.Join([][]byte{header("gpg-pubkey", "", 5), header("new", "noarch", 7), header("old", "noarch", 6)}, nil)
	var out bytes.Buffer
	if err := retime(bytes.NewReader(in), &out, before, 99); err != nil {
		t.Fatal(err)
	}
	want := bytes.Join([][]byte{header("gpg-pubkey", "", 5), header("new", "noarch", 99), header("old", "noarch", 6)}, nil)
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("got %q, want %q", out.Bytes(), want)
	}
	if err := retime(bytes.NewReader(in[:len(in)-1]), io.Discard, before, 99); err == nil {
		t.Error("half a database is one")
	}
	if err := retime(bytes.NewReader(rpmrepotest.Header(rpmrepotest.Value{Tag: 1000, Value: "x"})), io.Discard, before, 99); err == nil {
		t.Error("a package without a time has one")
	}
}

func TestOwners(t *testing.T) {
	o := newOwners([]string{"/etc/a", "/lib/x/cache", "/usr/share/shared/new", "/var/lib/svc/state/1", "/nobody", "/etc/twice"})
	for _, l := range [][2]string{{"etc-a", "/etc/a"}, {"etc-a", "/etc"}, {"libx", "/usr/lib/x"}, {"a", "/usr/share/shared"}, {"b", "/usr/share/shared"},
		{"svc", "/var/lib/svc"}, {"svc", "/var/lib/svc"}, {"b", "/etc/twice"}, {"a", "/etc/twice"}} {
		o.add(l[0], l[1])
	}
	if got := fmt.Sprint(o.result()); got != "map[/etc/a:etc-a /etc/twice:a /lib/x/cache:libx /var/lib/svc/state/1:svc]" {
		t.Error(got)
	}
}

func TestRPMMirror(t *testing.T) {
	for _, tt := range [][3]string{
		{"https://m.example/fedora/linux", "http://download.example/pub/fedora/linux/releases/41/Everything/x86_64/os/", "https://m.example/fedora/linux/releases/41/Everything/x86_64/os"},
		{"https://m.example/opensuse/", "http://download.example/tumbleweed/repo/oss/", "https://m.example/opensuse/tumbleweed/repo/oss"},
		{"https://m.example/x", "", ""},
	} {
		if got, _ := RPMMirrorFor(tt[0], tt[1]); got != tt[2] {
			t.Errorf("%s: %s", tt[1], got)
		}
	}
	for id, want := range map[string]bool{"fedora": true, "updates-modular": true, "repo-oss": true, "openSUSE:repo-oss": true, "ubi-9-baseos": true, "docker-ce": false, "google-chrome": false} {
		if got := OwnRepository(rpmrepo.Repo{ID: id, BaseURLs: []string{"https://h/x"}}); got != want {
			t.Errorf("%s: %v", id, got)
		}
	}
}

// fakeFetcher serves documents and files by URL and keeps what was fetched.
type fakeFetcher struct{ web, vault map[string][]byte }

func (f fakeFetcher) Get(_ context.Context, d Document) ([]byte, error) {
	if b, ok := f.web[d.URL]; ok {
		return b, nil
	}
	return nil, fmt.Errorf("get %s: %w", d.URL, fs.ErrNotExist)
}

func (f fakeFetcher) Fetch(_ context.Context, _ string, files []File) error {
	for _, file := range files {
		b, ok := f.web[file.URL]
		if !ok || hexSHA256(b) != file.SHA256 {
			return fmt.Errorf("fetch %s: it is not there", file.URL)
		}
		f.vault[file.SHA256] = b
	}
	return nil
}

func (f fakeFetcher) Add(ctx context.Context, _ string, d Document) (File, error) {
	b, err := f.Get(ctx, d)
	f.vault[hexSHA256(b)] = b
	return File{URL: d.URL, SHA256: hexSHA256(b), Size: int64(len(b))}, err
}

func (f fakeFetcher) Open(sum string) (io.ReadCloser, error) {
	b, ok := f.vault[sum]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func (f fakeFetcher) Path(string) string { return "" }

// web is a repository at base, with one package.
func web(base string, kind string, pkg []byte) map[string][]byte {
	sum := func(b []byte) string {
		if kind == "sha512" {
			s := sha512.Sum512(b)
			return hex.EncodeToString(s[:])
		}
		s := sha256.Sum256(b)
		return hex.EncodeToString(s[:])
	}
	primary := []byte(rpmrepo.PrimaryBegin + `<package type="rpm"><name>hello</name><arch>noarch</arch><version epoch="0" ver="1" rel="1"/><checksum type="` + kind + `" pkgid="YES">` +
		sum(pkg) + `</checksum><time build="1700000000"/><size package="` + fmt.Sprint(len(pkg)) + `"/><location href="hello.rpm"/><format/></package>` + rpmrepo.PrimaryEnd)
	repomd := `<repomd><revision>x</revision><data type="primary"><checksum type="` + kind + `">` + sum(primary) + `</checksum><location href="repodata/p.xml"/></data></repomd>`
	return map[string][]byte{base + "/repodata/repomd.xml": []byte(repomd), base + "/repodata/p.xml": primary, base + "/hello.rpm": pkg}
}

// A repository is read by whatever good digest it has; the lock gets sha256 all the same.
func TestLoadRepository(t *testing.T) {
	pkg := rpmrepotest.Package("hello", "1", "1", "noarch", nil)
	for _, kind := range []string{"sha256", "sha512", "sha1"} {
		f := fakeFetcher{web("https://a.example", kind, pkg), map[string][]byte{}}
		p := &rpmPlan{arch: "x86_64", loader: &rpmLoader{fetch: f, signed: func(rpmrepo.Repo) bool { return false }}}
		var err error
		p.repos, err = p.loader.load(t.Context(), []rpmrepo.Repo{{ID: "a", BaseURLs: []string{"https://gone.example", "https://a.example"}}})
		if err != nil {
			t.Fatal(kind, err)
		}
		err = p.loader.layOut(t.Context(), p.repos[0], filepath.Join(t.TempDir(), "r0"), "primary", "modules")
		if kind == "sha1" {
			if err == nil || !strings.Contains(err.Error(), "only sha256 can be locked") {
				t.Error(kind, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(kind, err)
		}
		plan, err := p.answer(t.Context(), []string{"hello"}, []rpmStep{{rpmPackage{"hello", "1-1", "noarch"}, "r0"}})
		if err != nil || len(plan.Packages) != 1 || plan.Packages[0].SHA256 != hexSHA256(pkg) || plan.Packages[0].Location != "https://a.example/hello.rpm" || !plan.Packages[0].Requested {
			t.Errorf("%s: %+v, %v", kind, plan, err)
		}
		if r := plan.Repositories[0]; r.Date != 1700000000 || r.Location != "https://a.example" || r.SHA256 != hexSHA256(f.web["https://a.example/repodata/repomd.xml"]) {
			t.Errorf("%s: %+v", kind, r)
		}
		var unknown *UnknownError
		if err := p.checkNames([]string{"helo"}); !errors.As(err, &unknown) || fmt.Sprint(unknown.Names[0].Near) != "[hello]" {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// A metalink's digests decide which mirror is believed.
func TestMetalinkDecides(t *testing.T) {
	good, stale := web("https://good.example", "sha256", []byte("x")), web("https://stale.example", "sha256", []byte("old"))
	sum := hexSHA256(good["https://good.example/repodata/repomd.xml"])
	link := `<metalink><files><file name="repomd.xml"><verification><hash type="sha256">` + sum + `</hash></verification><resources>
<url preference="100">https://stale.example/repodata/repomd.xml</url><url preference="1">https://good.example/repodata/repomd.xml</url></resources></file></files></metalink>`
	f := fakeFetcher{good, map[string][]byte{}}
	for u, b := range stale {
		f.web[u] = b
	}
	f.web["https://l.example/m"] = []byte(link)
	l := &rpmLoader{fetch: f, signed: func(rpmrepo.Repo) bool { return false }}
	r, err := l.load(t.Context(), []rpmrepo.Repo{{ID: "a", Metalink: "https://l.example/m"}})
	if err != nil || r[0].bases[0] != "https://good.example" || r[0].sha256 != sum {
		t.Errorf("%+v, %v", r[0], err)
	}
	f.web["https://l.example/m"] = []byte(strings.ReplaceAll(link, sum, hexSHA256(nil)))
	if _, err := l.load(t.Context(), []rpmrepo.Repo{{ID: "a", Metalink: "https://l.example/m"}}); err == nil || !strings.Contains(err.Error(), "not one that the metalink lists") {
		t.Error(err)
	}
	for _, u := range []string{"ftp://h/x", "cd:///", "file:///srv/repo", "dir:///repo", "https://h/$nope/x"} {
		if _, err := l.load(t.Context(), []rpmrepo.Repo{{ID: "a", BaseURLs: []string{u}}}); err == nil {
			t.Errorf("%s is locked", u)
		}
	}
}

// What a package file says of itself has to be the lock's word, signed where the base wants that.
func TestCopyRPM(t *testing.T) {
	key, err := openpgp.NewEntity("Packages", "", "p@example.org", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA})
	if err != nil {
		t.Fatal(err)
	}
	var public bytes.Buffer
	if err := key.Serialize(&public); err != nil {
		t.Fatal(err)
	}
	ring, err := pgp.ReadKeyRing(public.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	sign := func(header []byte) []byte {
		var sig bytes.Buffer
		if err := openpgp.DetachSign(&sig, key, bytes.NewReader(header), nil); err != nil {
			t.Fatal(err)
		}
		return sig.Bytes()
	}
	trust := rpmTrust{keys: ring, repos: []rpmrepo.Repo{{BaseURLs: []string{"https://a.example"}, GPGCheck: rpmrepo.On}, {BaseURLs: []string{"https://plain.example/"}}},
		check: func(r rpmrepo.Repo) bool { return r.GPGCheck == rpmrepo.On }}
	signed, plain := rpmrepotest.Package("hello", "1", "1", "noarch", sign), rpmrepotest.Package("hello", "1", "1", "noarch", nil)
	other := bytes.Clone(signed)
	other[len(other)-1] ^= 1
	for name, tt := range map[string]struct {
		file                    []byte
		location, version, want string
		trust                   rpmTrust
	}{
		"signed":              {signed, "https://a.example/h.rpm", "1-1", "", trust},
		"of no check":         {plain, "https://plain.example/h.rpm", "1-1", "", trust},
		"not signed":          {plain, "https://a.example/h.rpm", "1-1", "it is not signed", trust},
		"of a mirror":         {plain, "https://mirror.example/h.rpm", "1-1", "it is not signed", trust},
		"another's":           {rpmrepotest.Package("hello", "1", "1", "noarch", func([]byte) []byte { return sign([]byte("x")) }), "https://a.example/h.rpm", "1-1", "no signature is good", trust},
		"nobody is trusted":   {signed, "https://a.example/h.rpm", "1-1", "trusts no key", rpmTrust{repos: trust.repos, check: trust.check}},
		"other version":       {signed, "https://a.example/h.rpm", "1-2", "not 1-2 (noarch) as the lock says", trust},
		"other payload":       {other, "https://a.example/h.rpm", "1-1", "its payload is not", trust},
		"no package":          {[]byte("x"), "https://a.example/h.rpm", "1-1", "not an rpm package", trust},
		"not even in a vault": {nil, "https://a.example/h.rpm", "1-1", "not exist", trust},
	} {
		sum := hexSHA256(tt.file)
		f := fakeFetcher{nil, map[string][]byte{sum: tt.file}}
		if tt.file == nil {
			f.vault = nil
		}
		dir := t.TempDir()
		_, err := copyRPM(f, manifest.Package{Name: "hello", Version: tt.version, Arch: "noarch", SHA256: sum, Location: tt.location}, tt.trust, dir)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v", name, err)
		}
		if b, _ := os.ReadFile(filepath.Join(dir, sum+".rpm")); tt.want == "" && !bytes.Equal(b, tt.file) {
			t.Errorf("%s: the copy differs", name)
		}
	}
}

package distro

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro/aptrepo"
	"github.com/karapace/karapace/manifest/distro/pacmanrepo"
)

func TestParsePacmanPlan(t *testing.T) {
	steps, err := parsePacmanPlan([]byte(":: There are 2 providers available for sh:\nkarapace-plan core bash 5.2.026-2\nkarapace-plan extra git 2:1-1\n there is nothing to do\n"))
	if err != nil || fmt.Sprint(steps) != "[{core bash 5.2.026-2} {extra git 2:1-1}]" {
		t.Errorf("got %v, %v", steps, err)
	}
	for _, odd := range []string{"karapace-plan core bash", "karapace-plan core bash 1 2", "karapace-plan  bash 1", "karapace-plancore bash 1"} {
		if s, err := parsePacmanPlan([]byte(odd)); err == nil {
			t.Errorf("%q: %v", odd, s)
		}
	}
}

func TestPacmanMirror(t *testing.T) {
	repos := []pacmanrepo.Repo{{Name: "core", Servers: []string{"a"}}, {Name: "extra-testing", Servers: []string{"a"}}, {Name: "third", Servers: []string{"b"}}}
	got := pacmanMirrored(repos, "https://archive.example/2024/05/01/")
	want := "https://archive.example/2024/05/01/$repo/os/$arch"
	if got[0].Servers[0] != want || got[1].Servers[0] != want || got[2].Servers[0] != "b" || repos[0].Servers[0] != "a" {
		t.Errorf("got %v of %v", got, repos)
	}
	if got := pacmanMirrored(repos[2:], "https://m.example"); got[0].Servers[0] != "https://m.example/$repo/os/$arch" {
		t.Errorf("a distribution of its own: %v", got)
	}
	if got := pacmanMirrored(repos, ""); got[0].Servers[0] != "a" {
		t.Errorf("no mirror: %v", got)
	}
}

func TestPacmanOwners(t *testing.T) {
	local := func(name, files string) []string {
		dir := "var/lib/pacman/local/" + name + "-1-1/"
		return []string{dir + "desc", "%NAME%\n" + name + "\n\n%VERSION%\n1-1\n\n%ARCH%\nany\n", dir + "files", "%FILES%\n" + files}
	}
	base := tree(append(local("a", "usr/\nusr/bin/\nusr/bin/a\nusr/share/a/\n"), local("b", "usr/\nusr/bin/\nusr/bin/b\n")...)...)
	got, err := pacmanOwners(t.Context(), base, []string{"/usr/bin/a", "/usr/bin/new", "/usr/share/a/cache/x", "/var/none", "/usr/bin/b", "/bin/b", "/usr"})
	if err != nil || fmt.Sprint(got) != "map[/bin/b:b /usr:a /usr/bin/a:a /usr/bin/b:b /usr/share/a/cache/x:a]" {
		t.Errorf("owners %v, %v", got, err)
	}
}

func pacmanConf(t *testing.T, options string) *pacmanrepo.Conf {
	t.Helper()
	c, err := readPacmanConf(tree("etc/pacman.conf", "[options]\n"+options+"\n[mini]\nServer = x\n"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPacmanConf(t *testing.T) {
	for options, want := range map[string]string{"": "x86_64", "Architecture = auto": "x86_64", "Architecture = x86_64_v3 x86_64": "x86_64_v3"} {
		if got, err := architectureOf(pacmanConf(t, options), "amd64"); err != nil || got != want {
			t.Errorf("%q: %s, %v", options, got, err)
		}
	}
	if got, err := architectureOf(pacmanConf(t, "Architecture = aarch64"), "amd64"); err == nil {
		t.Errorf("another architecture: %s", got)
	}
	pacmanConf(t, "DBPath = /var/lib/pacman/\nRootDir = /")
	if _, err := readPacmanConf(tree("etc/pacman.conf", "[options]\nDBPath = /usr/lib/pacman\n")); err == nil {
		t.Error("a database elsewhere")
	}
	d := pacmanDir{host: t.TempDir(), inside: "/run/karapace/x"}
	if err := d.configure(pacmanConf(t, "NoExtract = usr/share/man/*\nXferCommand = /bin/evil\nCacheDir = /var/cache"), nil, "[lock]\n"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(d.host, "pacman.conf"))
	if err != nil || !strings.Contains(string(text), "NoExtract = usr/share/man/*\n") || strings.Contains(string(text), "evil") || strings.Contains(string(text), "/var/cache") {
		t.Errorf("got %s, %v", text, err)
	}
}

func TestPacmanDifference(t *testing.T) {
	in := func(name, version string) pacmanrepo.Installed {
		return pacmanrepo.Installed{Name: name, Version: version, Arch: "any"}
	}
	before := map[string]pacmanrepo.Installed{"a": in("a", "1-1"), "b": in("b", "1-1")}
	pkgs := []manifest.Package{{Name: "b", Version: "2-1", Arch: "any"}, {Name: "c", Version: "1-1", Arch: "any"}}
	after := map[string]pacmanrepo.Installed{"a": in("a", "1-1"), "b": in("b", "2-1"), "c": in("c", "1-1")}
	if err := pacmanDifference(after, before, pkgs); err != nil {
		t.Error(err)
	}
	delete(after, "a")
	after["c"], after["d"] = in("c", "3-1"), in("d", "1-1")
	err := pacmanDifference(after, before, pkgs)
	for _, want := range []string{"a 1-1 is not installed", "c is 3-1 (any) and not 1-1 (any)", "d 1-1 was installed and is not in the lock"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}

// files is a vault of some files.
type files map[string][]byte

func (f files) Get(context.Context, Document) ([]byte, error)       { return nil, fs.ErrNotExist }
func (f files) Fetch(context.Context, string, []File) error         { return nil }
func (f files) Path(string) string                                  { return "" }
func (f files) Add(context.Context, string, Document) (File, error) { return File{}, fs.ErrNotExist }
func (f files) Open(sum string) (io.ReadCloser, error) {
	if f[sum] == nil {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(f[sum])), nil
}

func (f files) add(b []byte) string {
	sum := sha256.Sum256(b)
	f[hex.EncodeToString(sum[:])] = b
	return hex.EncodeToString(sum[:])
}

// What is installed is checked against the base's keys, whatever the lock says, as far as the base wants it.
func TestPacmanSignaturesAtInstall(t *testing.T) {
	config := &packet.Config{Time: func() time.Time { return time.Unix(1700000000, 0) }, Algorithm: packet.PubKeyAlgoEdDSA, DefaultHash: crypto.SHA512}
	key := func() *openpgp.Entity {
		e, err := openpgp.NewEntity("Packager", "", "p@example.org", config)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	trusted, stranger := key(), key()
	var ring bytes.Buffer
	for _, e := range []*openpgp.Entity{trusted, stranger} {
		if err := e.Serialize(&ring); err != nil {
			t.Fatal(err)
		}
	}
	base := func(level string) aptrepo.Tree {
		return tree("etc/pacman.conf", "[options]\nSigLevel = "+level+"\n[mini]\nServer = x\n", "usr/share/pacman/keyrings/mini.gpg", ring.String(),
			"usr/share/pacman/keyrings/mini-trusted", fmt.Sprintf("%X:4:\n", trusted.PrimaryKey.Fingerprint))
	}
	content := []byte("a package")
	file := filepath.Join(t.TempDir(), "x.pkg.tar")
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
	vault := files{}
	signed := func(e *openpgp.Entity, text string) string {
		var b bytes.Buffer
		if err := openpgp.DetachSign(&b, e, strings.NewReader(text), config); err != nil {
			t.Fatal(err)
		}
		return vault.add(b.Bytes())
	}
	for _, tt := range []struct{ level, signature, want string }{
		{"Required", signed(trusted, "a package"), ""},
		{"Required", signed(stranger, "a package"), "not certified"},
		{"Required", signed(trusted, "another"), "signature"},
		{"Required TrustAll", signed(stranger, "a package"), ""},
		{"Required", "", "has no signature of x"},
		{"Required", vault.add(make([]byte, maxSignature+1)), "more than"},
		{"Required", strings.Repeat("0", 64), "read signature"},
		{"Optional", "", ""},
		{"Optional", signed(stranger, "a package"), "not certified"},
		{"Never", signed(stranger, "a package"), ""},
	} {
		p := manifest.Package{Name: "x", Signature: tt.signature}
		sb := base(tt.level)
		conf, err := readPacmanConf(sb)
		if err != nil {
			t.Fatal(err)
		}
		check, err := newPacmanCheck(sb, conf, []manifest.Package{p})
		if err == nil {
			err = check.verify(vault, p, file)
		}
		if (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("SigLevel %s: %v, want %q", tt.level, err, tt.want)
		}
	}
}

func FuzzPacmanPlan(f *testing.F) {
	f.Add([]byte("karapace-plan core bash 5.2.026-2\n"))
	f.Fuzz(func(t *testing.T, out []byte) {
		steps, err := parsePacmanPlan(out)
		for _, s := range steps {
			if err != nil || s.repo == "" || s.name == "" || s.version == "" {
				t.Errorf("%q: %v, %v", out, s, err)
			}
		}
	})
}

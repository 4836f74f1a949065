package aptrepo

import (
	"errors"
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
)

func TestParseList(t *testing.T) {
	got, err := ParseList("f", []byte(`# a comment
deb http://deb.example/debian bookworm main contrib # more
deb-src http://deb.example/debian bookworm main

	deb [ arch=amd64,arm64 signed-by=/usr/share/keyrings/x.gpg trusted=yes check-valid-until=no ] https://x.example/$(ARCH) ./
deb [signed-by=ABCDEF] https://y.example stable/updates main
`))
	if err != nil {
		t.Fatal(err)
	}
	want := []Source{
		{URI: "http://deb.example/debian", Suite: "bookworm", Components: []string{"main", "contrib"}, File: "f", Line: 2},
		{URI: "https://x.example/$(ARCH)", Suite: "./", Components: []string{}, Architectures: []string{"amd64", "arm64"},
			SignedBy: []string{"/usr/share/keyrings/x.gpg"}, Trusted: true, NeverExpires: true, File: "f", Line: 5},
		{URI: "https://y.example", Suite: "stable/updates", Components: []string{"main"}, SignedBy: []string{"ABCDEF"}, File: "f", Line: 6},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if s := got[1].For("amd64"); s.URI != "https://x.example/amd64" || s.Dir() != "https://x.example/amd64" || !s.Flat() {
		t.Errorf("%+v %s", s, s.Dir())
	}
	if d := got[2].Dir(); d != "https://y.example/dists/stable/updates" {
		t.Error(d)
	}
	for _, bad := range []string{"deb", "deb http://x", "deb http://x bookworm", "deb [x http://x b main", "deb [x] http://x b main",
		"rpm http://x b main", "deb x b main", "deb http://x ../../etc main", "deb http://x b ../main", "deb http://x /abs/ ", "deb http://x ./ main"} {
		if got, err := ParseList("f", []byte("\n"+bad+"\n")); err == nil || !strings.HasPrefix(err.Error(), "f:2: ") {
			t.Errorf("%q: %+v, %v", bad, got, err)
		}
	}
}

func TestParseSources(t *testing.T) {
	got, err := ParseSources("f", []byte(`# first
Types: deb deb-src
URIs: http://a.example/debian http://b.example/debian
Suites: trixie
# in between
 trixie-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
Check-Valid-Until: no

Types: deb-src
URIs: http://c.example
Suites: x
Components: main

Enabled: no
Types: deb
URIs: http://d.example
Suites: x
Components: main


types: deb
uris: https://e.example/
suites: flat/
trusted: yes
architectures: amd64
signed-by:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----
`))
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for _, s := range got {
		text = append(text, s.Dir())
	}
	want := "http://a.example/debian/dists/trixie http://a.example/debian/dists/trixie-updates " +
		"http://b.example/debian/dists/trixie http://b.example/debian/dists/trixie-updates https://e.example/flat"
	if strings.Join(text, " ") != want {
		t.Errorf("got %q", text)
	}
	if s := got[0]; !s.NeverExpires || s.Line != 2 || s.SignedBy[0] != "/usr/share/keyrings/debian-archive-keyring.gpg" {
		t.Errorf("got %+v", s)
	}
	if s := got[4]; !s.Trusted || string(s.Key) != "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc\n-----END PGP PUBLIC KEY BLOCK-----\n" {
		t.Errorf("got %+v", s)
	}
	for _, bad := range []string{"Types: deb\nURIs: http://x\n", "Types: deb\nURIs: http://x\nSuites: b\n", "nonsense\n",
		"Types: deb\nTypes: deb\nURIs: http://x\nSuites: ./\n", "Types: deb\nURIs: http://x\nSuites: ../x/\n"} {
		if got, err := ParseSources("f", []byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}

func TestReadSources(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	tree := fstest.MapFS{
		"etc/apt/sources.list":               file("deb http://one x main\n"),
		"etc/apt/sources.list.d/b.list":      file("deb http://three x main\n"),
		"etc/apt/sources.list.d/a.sources":   file("Types: deb\nURIs: http://two\nSuites: x\nComponents: main\n"),
		"etc/apt/sources.list.d/c.list.save": file("nonsense"),
	}
	got, err := ReadSources(FS(tree))
	if err != nil || len(got) != 3 || got[0].URI != "http://one" || got[1].URI != "http://two" || got[2].URI != "http://three" {
		t.Fatalf("got %+v, %v", got, err)
	}
	if got, err := ReadSources(FS(fstest.MapFS{})); err != nil || len(got) != 0 {
		t.Errorf("nothing there: %+v, %v", got, err)
	}
	tree["etc/apt/sources.list"] = file(strings.Repeat("#", maxSources+1))
	if _, err := ReadSources(FS(tree)); err == nil {
		t.Error("an endless file was read")
	}
	if _, err := ReadFile(FS(tree), "/none", 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestJoin(t *testing.T) {
	for _, tt := range [][3]string{
		{"http://x/debian/", "./pool//g++_1:2~3.deb", "http://x/debian/pool/g%2b%2b_1:2~3.deb"},
		{"http://x", "a b#c?d%e", "http://x/a%20b%23c%3fd%25e"},
		{"http://x/", "/", "http://x"},
	} {
		if got := Join(tt[0], tt[1]); got != tt[2] {
			t.Errorf("%s + %s = %s, want %s", tt[0], tt[1], got, tt[2])
		}
	}
}

func FuzzSources(f *testing.F) {
	f.Add([]byte("deb [arch=amd64] http://x y main\n"))
	f.Add([]byte("Types: deb\nURIs: http://x\nSuites: y z/\nComponents: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, _ := ParseList("f", data)
		more, _ := ParseSources("f", data)
		for _, s := range append(list, more...) {
			if strings.Contains("/"+s.Suite+"/", "/../") || s.URI == "" || s.Suite == "" {
				t.Fatalf("read %+v", s)
			}
		}
	})
}

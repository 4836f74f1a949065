package manifest_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/manifest"
)

func hexDigest(c string) string { return strings.Repeat(c, 64) }

// fullLock sets every field, in the order a resolver might find things.
func fullLock() *manifest.Lock {
	pkg := func(name, version, digit string, requested bool) manifest.Package {
		return manifest.Package{Name: name, Version: version, Arch: "amd64",
			Location: "https://mirror.example.org/debian/pool/" + name + ".deb", SHA256: hexDigest(digit), Size: 1234, Requested: requested}
	}
	return &manifest.Lock{
		Arch:              "amd64",
		SourceDateEpoch:   1767225600,
		BaseImage:         "bootstrap:debian/bookworm",
		BaseImageLocation: "https://mirror.example.org/debian",
		BaseImageDigest:   digest.Digest("sha256:" + hexDigest("a")),
		BuildEnvironment:  1,
		BasePackages:      []manifest.Package{pkg("libc6", "2.36-9+deb12u14", "1", false), pkg("base-files", "12.4+deb12u12", "2", false)},
		Requested:         []string{"git", "awk"},
		Packages:          []manifest.Package{pkg("git", "1:2.39.5-0+deb12u3", "3", true), pkg("libcurl3-gnutls", "7.88.1~rc1^git-10", "4", false)},
		Apps:              []string{"geany"},
		Repositories: []manifest.Repository{
			{Location: "https://mirror.example.org/debian", Suite: "bookworm", Components: "main contrib", SHA256: hexDigest("5"), Date: 1767220000},
			{Location: "file:///srv/local", SHA256: hexDigest("6")},
		},
		Volatile:         []manifest.VolatilePath{{Path: "/var/lib/x/random", Package: "x"}, {Path: "/etc/made"}},
		Backend:          "crun",
		Hardware:         manifest.Hardware{GPU: true},
		NetworkIsolation: true,
		CPUShares:        512,
		MemoryLimitMB:    4096,
		Mounts:           []manifest.Mount{{Label: "work", Host: "./", Container: "/work"}, {Label: "models", Host: "/srv/modèles", Container: "/models", ReadOnly: true}},
		Env:              []manifest.EnvVar{{Name: "Z", Value: "tab\tnew\nline \"quoted\" \\ \u202e \U000e0041 é"}, {Name: "EMPTY"}},
		Integration:      []manifest.Setting{{Name: "profile", Value: "project"}, {Name: "pass_env", Value: "EDITOR,PAGER"}, {Name: "wayland", Value: "true"}},
		Output: manifest.Output{BaseLayer: digest.Digest("sha256:" + hexDigest("b")), PackageLayer: digest.Digest("sha256:" + hexDigest("c")),
			ImageDigest: digest.Digest("sha256:" + hexDigest("d"))},
	}
}

// smallLock has nothing that can be left out.
func smallLock() *manifest.Lock {
	return &manifest.Lock{Arch: "arm64", BaseImage: "debian", BaseImageLocation: "https://images.example.org/rootfs.tar.xz",
		BaseImageDigest: digest.Digest("sha256:" + hexDigest("0")), BuildEnvironment: 1, Backend: "namespace"}
}

// signedLock has packages with signatures, one of them requested.
func signedLock() *manifest.Lock {
	l := smallLock()
	pkg := func(name, digits string, requested bool) manifest.Package {
		return manifest.Package{Name: name, Version: "2.0-1", Arch: "any", Location: "https://mirror.example.org/mini/os/aarch64/" + name + "-2.0-1-any.pkg.tar.zst",
			SHA256: hexDigest(digits[:1]), Size: 512, Requested: requested, Signature: hexDigest(digits[1:])}
	}
	l.Requested, l.Packages = []string{"minihello"}, []manifest.Package{pkg("libmini", "12", false), pkg("minihello", "34", true)}
	return l
}

func TestLockGolden(t *testing.T) {
	for name, l := range map[string]*manifest.Lock{"full": fullLock(), "small": smallLock(), "signed": signedLock()} {
		file := filepath.Join("testdata", name+".lock")
		if err := l.Validate(); err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(file, l.Encode(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(l.Encode(), want) {
			t.Errorf("%s: the text changed:\n%s", file, l.Encode())
		}
		back, err := manifest.ParseLock(file, want)
		if err != nil {
			t.Fatal(err)
		}
		if back.ID() != l.ID() || !bytes.Equal(back.Encode(), want) {
			t.Errorf("%s is another lock when it is read back", file)
		}
	}
}

// TestLockOrder checks that identity and text do not depend on the order a resolver found things in, except where order counts.
func TestLockOrder(t *testing.T) {
	want, l := fullLock(), fullLock()
	slices.Reverse(l.BasePackages)
	slices.Reverse(l.Packages)
	slices.Reverse(l.Requested)
	slices.Reverse(l.Volatile)
	slices.Reverse(l.Mounts)
	slices.Reverse(l.Env)
	slices.Reverse(l.Integration)
	given := l.Packages[0]
	if l.ID() != want.ID() || !bytes.Equal(l.Encode(), want.Encode()) {
		t.Error("the order of packages changes the lock")
	}
	if l.Packages[0] != given {
		t.Error("Encode sorted the caller's lists")
	}
	slices.Reverse(l.Repositories)
	if l.ID() == want.ID() {
		t.Error("the order of repositories does not count")
	}
}

// TestLockIdentity changes every field: all but the output are part of the identity.
func TestLockIdentity(t *testing.T) {
	id := fullLock().ID()
	l := fullLock()
	v := reflect.ValueOf(l).Elem()
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		eachLeaf(v.Field(i), name, func(leaf reflect.Value, path string) {
			before := reflect.New(leaf.Type()).Elem()
			before.Set(leaf)
			change(leaf)
			if same := l.ID() == id; same != (name == "Output") {
				t.Errorf("%s changed, the id stayed: %v", path, same)
			}
			leaf.Set(before)
		})
	}
	if l.ID() != id {
		t.Fatal("the test did not restore the lock")
	}
}

func eachLeaf(v reflect.Value, path string, do func(leaf reflect.Value, path string)) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			eachLeaf(v.Field(i), path+"."+v.Type().Field(i).Name, do)
		}
	case reflect.Slice:
		for i := range v.Len() {
			eachLeaf(v.Index(i), path+"[]", do)
		}
		do(v, path)
	default:
		do(v, path)
	}
}

func change(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Slice:
		v.Set(v.Slice(0, v.Len()-1))
	}
}

// TestTamperedLock edits the text of a lock in every way a person, a merge or an attacker might.
func TestTamperedLock(t *testing.T) {
	text := string(fullLock().Encode())
	for _, edit := range [][2]string{
		{"deb12u3", "deb12u4"},                    // another version
		{`sha256 = "3`, `sha256 = "4`},            // another file
		{`sha256 = "3`, `sha256 = "`},             // a short digest
		{`sha256 = "3`, `sha256 = "A`},            // another spelling of a digest
		{`requested = true`, `requested = false`}, // asked for by nobody
		{`gpu = true`, `gpu = false`},             // hardware
		{`"/srv/mod`, `"/etc/mod`},                // a mount
		{`name = "git"`, `name = "--force"`},      // an option
		{`name = "git"`, `name = "../git"`},       // a path
		{"https://mirror.example.org/debian/pool/git", "ftp://mirror.example.org/debian/pool/git"},
		{`size = 1234`, `size = -1`},
		{`size = 1234`, `size = 68719476736`},
		{`size = 1234`, `size = "1234"`},
		{`size = 1234`, `size = 1234, md5 = ""`},
		{`, size = 1234`, ``},
		{`short_id = "`, `short_id = "0`},
		{`env_id = "`, `env_id = "0`},
		{`arch = "amd64"`, `arch = "x86"`},
		{`build_environment = 1`, `build_environment = 0`},
		{"build_environment = 1\n", ""},
		{"source_date_epoch = 1767225600", "source_date_epoch = -1"},
		{"source_date_epoch = 1767225600", "source_date_epoch = 1_767_225_600"},
		{"cpu_shares = 512", "cpu_shares = 0"},
		{"cpu_shares = 512\n", ""},
		{`  "awk",` + "\n" + `  "git",`, `  "git",` + "\n" + `  "awk",`},
		{`path = "/etc/made"`, `path = "/etc/../made"`},
		{`"main contrib"`, `"main  contrib"`},
		{"# karapace.lock", "# my lock"},
		{"lock_version", "# a remark\nlock_version"},
		{"lock_version = 2\n", "lock_version = 2\n\n"},
		{"lock_version = 2", "lock_version=2"},
		{`arch = "amd64"`, `arch = 'amd64'`},
		{`modèles`, `mod\u00e8les`},
		{"\n", "\r\n"},
		{"[output]\n", "[output]\ncomment = \"\"\n"},
		{`base_layer = "sha256:`, `base_layer = "`},
		{`{ label = "work", host = "./", container = "/work" }`, `{ label = "work", host = "./", container = "/proc" }`},
		{`name = "EMPTY"`, `name = "A B"`},
		{"resolved_apps = [", "extra = 1\nresolved_apps = ["},
	} {
		changed := strings.ReplaceAll(text, edit[0], edit[1])
		if changed == text {
			t.Fatalf("%q is not in the lock", edit[0])
		}
		_, err := manifest.ParseLock("karapace.lock", []byte(changed))
		if !errors.Is(err, manifest.ErrTampered) {
			t.Errorf("%q for %q: %v", edit[1], edit[0], err)
			continue
		}
		var e *manifest.Error
		if !errors.As(err, &e) || e.Line == 0 || !strings.Contains(e.Remedy, "karapace lock --update") {
			t.Errorf("%q for %q: no place or remedy: %v", edit[1], edit[0], err)
		}
	}
	for _, added := range []string{text + "\n", "\ufeff" + text, strings.TrimSuffix(text, "\n")} {
		if _, err := manifest.ParseLock("karapace.lock", []byte(added)); !errors.Is(err, manifest.ErrTampered) {
			t.Errorf("another ending or beginning: %v", err)
		}
	}
}

// TestOutputIsNotIdentity: a lock without output is the same lock, and still canonical.
func TestOutputIsNotIdentity(t *testing.T) {
	l := fullLock()
	l.Output = manifest.Output{}
	back, err := manifest.ParseLock("karapace.lock", l.Encode())
	if err != nil || back.ID() != fullLock().ID() {
		t.Errorf("without output: %v", err)
	}
}

// TestNoLock has texts that are no lock of this version: syntax, other versions, other files.
func TestNoLock(t *testing.T) {
	old := "lock_version = 2\nenv_id = \"x\"\nshort_id = \"x\"\nbase_image = \"rolling\"\n[[resolved_packages]]\nname = \"git\"\nversion = \"2\"\n"
	for text, want := range map[string]string{
		"":                                   "lock_version is missing",
		base:                                 "lock_version is missing",
		"lock_version = 3\n":                 "newer karapace",
		"lock_version = 1\n":                 "earlier karapace",
		old:                                  "earlier karapace",
		string(fullLock().Encode()[:900]):    "karapace lock --update",
		"lock_version = 2\nlock_version = 2": "defined twice",
		"<<<<<<< HEAD\nlock_version = 2\n":   "conflict marker",
		strings.Repeat("#", 16<<20+1):        "at most 16777216",
		"lock_version = 2 \xff":              "not text",
	} {
		_, err := manifest.ParseLock("karapace.lock", []byte(text))
		if err == nil || errors.Is(err, manifest.ErrTampered) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "karapace") {
			t.Errorf("%.60q: %v", text, err)
		}
	}
}

func TestPeekLock(t *testing.T) {
	text := fullLock().Encode()
	if id, ok := manifest.PeekLock(text); !ok || id != fullLock().ID() {
		t.Errorf("the lock claims %s, %v", id, ok)
	}
	for n := range bytes.Index(text, []byte("short_id")) - 1 {
		if id, ok := manifest.PeekLock(text[:n]); ok {
			t.Errorf("%d bytes of a lock claim %s", n, id)
		}
	}
	if id, ok := manifest.PeekLock(bytes.Replace(text, []byte(fullLock().ID().Short()), []byte("../../../../"), 1)); ok {
		t.Errorf("a lock claims %s", id)
	}
}

func TestTamperedLockMessage(t *testing.T) {
	text := bytes.Replace(fullLock().Encode(), []byte("deb12u3"), []byte("deb12u4"), 1)
	_, err := manifest.ParseLock("karapace.lock", text)
	want := `karapace.lock:3:10: env_id does not belong to the rest of the lock: one of them was edited
    env_id = "` + string(fullLock().ID()) + `"
             ^
help: restore it from version control, or resolve anew with "karapace lock --update"`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestValidateNamesTheField(t *testing.T) {
	for field, spoil := range map[string]func(*manifest.Lock){
		"arch":                           func(l *manifest.Lock) { l.Arch = "" },
		"base_image_digest":              func(l *manifest.Lock) { l.BaseImageDigest = "" },
		"base_image_location":            func(l *manifest.Lock) { l.BaseImageLocation = "a\nb" },
		"resolved_packages[1].sha256":    func(l *manifest.Lock) { l.Packages[1].SHA256 = "" },
		"resolved_packages[1]":           func(l *manifest.Lock) { l.Packages[1] = l.Packages[0] },
		"resolved_packages[0].version":   func(l *manifest.Lock) { l.Packages[0].Version = "unresolved version" },
		"resolved_packages[0].arch":      func(l *manifest.Lock) { l.Packages[0].Arch = "../x" },
		"resolved_packages[0].signature": func(l *manifest.Lock) { l.Packages[0].Signature = "x" },
		"base_packages[0].location":      func(l *manifest.Lock) { l.BasePackages[1].Location = "pool/x.deb" },
		"requested_packages[0]":          func(l *manifest.Lock) { l.Requested[0] = "--x" },
		"repositories[1].components":     func(l *manifest.Lock) { l.Repositories[1].Components = " main" },
		"repositories[1]":                func(l *manifest.Lock) { l.Repositories[1] = l.Repositories[0] },
		"env[1]":                         func(l *manifest.Lock) { l.Env[0].Value = "\xff" },
		"mounts[0]":                      func(l *manifest.Lock) { l.Mounts[1].Host = "\xff" },
		"volatile[1].path":               func(l *manifest.Lock) { l.Volatile[1].Path = "etc/made" },
		"output.image_digest":            func(l *manifest.Lock) { l.Output.ImageDigest = "sha256:" },
		"memory_limit_mb":                func(l *manifest.Lock) { l.MemoryLimitMB = -1 },
	} {
		l := fullLock()
		spoil(l)
		var e *manifest.Error
		if err := l.Validate(); !errors.As(err, &e) || e.Key != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func BenchmarkParseLock(b *testing.B) {
	l := fullLock()
	one := l.Packages[0]
	l.Packages = nil
	for i := range 1000 {
		one.Name = "package" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676))
		l.Packages = append(l.Packages, one)
	}
	l.Packages = slices.CompactFunc(l.Packages, func(x, y manifest.Package) bool { return x.Name == y.Name })
	text := l.Encode()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := manifest.ParseLock("karapace.lock", text); err != nil {
			b.Fatal(err)
		}
	}
}

package manifest_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/karapace/karapace/manifest"
)

const checked = `
manifest_version = 1
[base]
image = "bootstrap:debian/bookworm"
arch = "amd64"
mirror = "https://mirror.example.org/debian/"
[system]
packages = ["git", "awk"]
[gui]
apps = ["geany"]
[hardware]
gpu = true
[mounts]
work = "./:/work"
models = "/srv/modèles:/models:ro"
[env]
Z = "tab\tnew\nline \"quoted\" \\ \u202e \U000e0041 é"
EMPTY = ""
[runtime]
backend = "crun"
network_isolation = true
[runtime.resource_limits]
cpu_shares = 512
memory_limit_mb = 4096
[integration]
profile = "Project"
wayland = true
pass_env = ["PAGER", "EDITOR", "PAGER"]
`

func TestCheck(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{"", "", ""},
		{"\"git\", \"awk\"", "\"awk\", \"git\", \"awk\"", ""},
		{"arch = \"amd64\"\n", "", ""},
		{"mirror = \"https://mirror.example.org/debian/\"\n", "", ""},
		{"https://mirror.example.org/debian/", "https://mirror.example.org", ""},
		{"debian/bookworm", "debian/trixie", "base.image: the manifest says bootstrap:debian/trixie, the lock bootstrap:debian/bookworm"},
		{`arch = "amd64"`, `arch = "arm64"`, "base.arch: the manifest says arm64, the lock amd64"},
		{"example.org/debian/", "example.org/deb", "base.mirror: the manifest says https://mirror.example.org/deb, the lock https://mirror.example.org/debian"},
		{`"awk"`, `"curl"`, "packages: the lock has awk, the manifest does not ask for it\npackages: the manifest asks for curl, the lock does not have it"},
		{`"geany"`, ``, "apps: the lock has geany, the manifest does not ask for it"},
		{"gpu = true", "audio = true", "hardware.gpu: the manifest says false, the lock true\nhardware.audio: the manifest says true, the lock false"},
		{`work = "./:/work"`, `work = "./:/work:ro"`, "mounts.work: the manifest says ./:/work:ro, the lock ./:/work"},
		{`work = "./:/work"`, `w = "./:/work"`, "mounts.w: the manifest asks for ./:/work, the lock does not have it\nmounts.work: the lock has ./:/work, the manifest does not ask for it"},
		{`EMPTY = ""`, `EMPTY = "x"`, `env.EMPTY: the manifest says "x", the lock ""`},
		{`EMPTY = ""`, ``, `env.EMPTY: the lock has "", the manifest does not ask for it`},
		{`"crun"`, `"youki"`, "runtime.backend: the manifest says youki, the lock crun"},
		{"wayland = true", "x11 = false", "integration.wayland: the lock has true, the manifest does not ask for it\nintegration.x11: the manifest asks for false, the lock does not have it"},
		{"network_isolation = true", "", "runtime.network_isolation: the manifest says false, the lock true"},
		{"cpu_shares = 512", "", "runtime.resource_limits.cpu_shares: the manifest says no limit, the lock 512"},
		{"memory_limit_mb = 4096", "memory_limit_mb = 1", "runtime.resource_limits.memory_limit_mb: the manifest says 1, the lock 4096"},
	} {
		text := strings.Replace(checked, c.old, c.new, 1)
		if c.old != "" && text == checked {
			t.Fatalf("%q is not in the manifest", c.old)
		}
		var got []string
		for _, d := range fullLock().Check(parse(t, text)) {
			got = append(got, d.String())
		}
		if strings.Join(got, "\n") != c.want {
			t.Errorf("%s for %s:\ngot  %s\nwant %s", c.new, c.old, strings.Join(got, "\n"), c.want)
		}
	}
}

// TestCheckWithoutRepositories: where nothing was resolved, a mirror cannot be compared.
func TestCheckWithoutRepositories(t *testing.T) {
	m := parse(t, "manifest_version = 1\n[base]\nimage = \"debian\"\nmirror = \"https://mirror.example.org\"\n")
	if got := smallLock().Check(m); got != nil {
		t.Errorf("differences: %v", got)
	}
}

func TestDiffLocks(t *testing.T) {
	before, after := fullLock(), fullLock()
	if got := manifest.DiffLocks(before, after); len(got) != 0 {
		t.Errorf("a lock differs from itself: %v", got)
	}
	if got := manifest.DiffLocks(nil, after); len(got) != 4 || got[0].Old != "" || got[0].New == "" {
		t.Errorf("against no lock: %v", got)
	}
	kernel := func(version, digit string) manifest.Package {
		p := before.Packages[0]
		p.Name, p.Version, p.SHA256 = "kernel", version, hexDigest(digit)
		return p
	}
	before.Packages = append(before.Packages, kernel("6.1", "7"), kernel("6.2", "8"))
	after.Packages = append(after.Packages, kernel("6.2", "8"), kernel("6.3", "9"))
	after.Packages[0].Version, after.Packages[0].SHA256 = "1:2.47.0-1", hexDigest("e") // git
	after.Packages[0].Requested = false
	after.Packages[1].Location += "?moved"        // the same file
	after.BasePackages[0].SHA256 = hexDigest("f") // libc6, rebuilt
	after.BasePackages[1].Arch = "all"            // base-files
	got := manifest.DiffLocks(before, after)
	want := []manifest.PackageChange{
		{Name: "base-files", Arch: "all", New: "12.4+deb12u12", Base: true},
		{Name: "base-files", Arch: "amd64", Old: "12.4+deb12u12", Base: true},
		{Name: "libc6", Arch: "amd64", Old: "2.36-9+deb12u14", New: "2.36-9+deb12u14", Base: true},
		{Name: "git", Arch: "amd64", Old: "1:2.39.5-0+deb12u3", New: "1:2.47.0-1"},
		{Name: "kernel", Arch: "amd64", Old: "6.1", New: "6.3"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if !got[2].Rebuilt() || got[3].Rebuilt() {
		t.Error("only libc6 was rebuilt")
	}
}

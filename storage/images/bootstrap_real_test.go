package images_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro"
	"github.com/karapace/karapace/manifest/distro/aptrepo"
	"github.com/karapace/karapace/storage/fetch"
	"github.com/karapace/karapace/storage/images"
)

// cacheDir keeps downloads from one run of the tests to the next.
func cacheDir() string {
	if d := os.Getenv("KARAPACE_TEST_CACHE"); d != "" {
		return d
	}
	return "/var/cache/karapace-test"
}

func newFetcher(t *testing.T) *fetch.Client {
	t.Helper()
	f, err := fetch.New(fetch.Options{Vault: filepath.Join(cacheDir(), "vault")})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// hostRelease gives the release of this machine, whose apt mirrors are the only ones that tests may use.
func hostRelease(t *testing.T) images.Bootstrap {
	t.Helper()
	host := aptrepo.FS(os.DirFS("/"))
	b := images.Bootstrap{Arch: "amd64", Host: host, Now: time.Now()}
	text, err := aptrepo.ReadFile(host, "/etc/os-release", 1<<20)
	if err != nil {
		t.Skip("this machine does not say which release it is: ", err)
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		name, value, _ := strings.Cut(line, "=")
		switch name {
		case "ID":
			b.Distro = strings.Trim(value, `"`)
		case "VERSION_CODENAME":
			b.Release = strings.Trim(value, `"`)
		}
	}
	if b.Distro != "debian" && b.Distro != "ubuntu" {
		t.Skipf("this machine is %q and has no apt mirrors to use", b.Distro)
	}
	return b
}

func TestBootstrapForReal(t *testing.T) {
	b := hostRelease(t)
	f := newFetcher(t)
	start := time.Now()
	plan, err := images.ResolveBootstrap(t.Context(), f, b)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("resolved %d packages in %v", len(plan.Packages), time.Since(start))
	start = time.Now()
	root := t.TempDir()
	os.Chmod(root, 0o755)
	var sde int64
	for _, r := range plan.Repositories {
		sde = max(sde, r.Date)
	}
	sb := newTestSandbox(t, root, sde)
	if err := images.AssembleBootstrap(t.Context(), root, plan, f, sb); err != nil {
		t.Fatal(err)
	}
	t.Logf("assembled in %v", time.Since(start))
	testApt(t, f, root, sde)
}

// testApt plans and installs on a base as the engine does.
func testApt(t *testing.T, f *fetch.Client, base string, sde int64) {
	apt := distro.Apt{}
	root, _ := overlay(t, base)
	sb := newTestSandbox(t, root, sde)
	if !apt.Detect(sb) {
		t.Fatal("the base has no apt")
	}
	start := time.Now()
	plan, err := apt.Plan(t.Context(), sb, f, distro.Request{Names: []string{"bash", "curl", "git"}, Arch: "amd64"})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("planned %d packages in %v", len(plan.Packages), time.Since(start))
	var requested []string
	for _, p := range plan.Packages {
		if p.Requested {
			requested = append(requested, p.Name)
		}
	}
	if !slices.Equal(requested, []string{"bash", "curl", "git"}) {
		t.Errorf("requested: %v", requested)
	}
	if _, err := apt.Plan(t.Context(), sb, f, distro.Request{Names: []string{"gti", "mail-transport-agent", "no-such-thing-at-all"}}); err == nil {
		t.Error("unknown names were planned")
	} else {
		t.Log(err)
	}
	start = time.Now()
	if err := f.Fetch(t.Context(), "packages", files(plan.Packages)); err != nil {
		t.Fatal(err)
	}
	t.Logf("fetched in %v", time.Since(start))
	root, _ = overlay(t, base)
	sb = newTestSandbox(t, root, sde)
	start = time.Now()
	if err := apt.Install(t.Context(), sb, f, plan.Packages); err != nil {
		t.Fatal(err)
	}
	t.Logf("installed in %v", time.Since(start))
}

func files(pkgs []manifest.Package) []distro.File {
	var out []distro.File
	for _, p := range pkgs {
		out = append(out, distro.File{URL: p.Location, SHA256: p.SHA256, Size: p.Size})
	}
	return out
}

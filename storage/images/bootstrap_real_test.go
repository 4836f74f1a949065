package images_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
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
	b := images.Bootstrap{Arch: runtime.GOARCH, Host: host, Now: time.Now()}
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

// TestBootstrapForReal assembles this machine's own release from its mirror, plans packages on it and installs them.
func TestBootstrapForReal(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long under the race detector, and has run without it")
	}
	b := hostRelease(t)
	f := newFetcher(t)
	plan, err := images.ResolveBootstrap(t.Context(), f, b)
	if err != nil {
		t.Fatal(err)
	}
	var sde int64
	for _, r := range plan.Repositories {
		sde = max(sde, r.Date)
	}
	base := filepath.Join(t.TempDir(), "base")
	if err := os.Mkdir(base, 0o755); err != nil {
		t.Fatal(err)
	}
	sb := newTestSandbox(t, base, sde)
	start := time.Now()
	if err := images.AssembleBootstrap(t.Context(), base, plan, f, sb); err != nil {
		t.Fatal(err)
	}
	t.Logf("assembled %d packages in %v", len(plan.Packages), time.Since(start))
	checkBase(t, base, plan)
	t.Run("plan", func(t *testing.T) { testPlan(t, f, base, sde) })
	t.Run("install", func(t *testing.T) { testInstall(t, f, base, sde) })
}

func checkBase(t *testing.T, base string, plan *images.BootstrapPlan) {
	for _, gone := range []string{"etc/resolv.conf", "etc/hostname", "usr/sbin/policy-rc.d", "var/log/dpkg.log"} {
		if _, err := os.Lstat(filepath.Join(base, gone)); err == nil {
			t.Errorf("the base has a %s", gone)
		}
	}
	for _, dir := range []string{"dev", "proc", "run", "tmp"} {
		if list, err := os.ReadDir(filepath.Join(base, dir)); err != nil || len(list) > 0 {
			t.Errorf("/%s holds %v, %v", dir, list, err)
		}
	}
	list, err := os.ReadFile(filepath.Join(base, "etc/apt/sources.list"))
	if err != nil || strings.Count(string(list), "\n") != len(plan.Repositories) || !strings.Contains(string(list), "signed-by=/usr/share/keyrings/") {
		t.Errorf("sources.list is %q, %v", list, err)
	}
	if id, err := os.ReadFile(filepath.Join(base, "etc/machine-id")); err != nil || len(id) > 0 {
		t.Errorf("machine-id is %q, %v", id, err)
	}
}

func testPlan(t *testing.T, f *fetch.Client, base string, sde int64) {
	apt := distro.Apt{}
	root, _ := overlay(t, base)
	sb := newTestSandbox(t, root, sde)
	if !apt.Detect(sb) {
		t.Fatal("the base has no apt")
	}
	start := time.Now()
	plan, err := apt.Plan(t.Context(), sb, f, distro.Request{Names: []string{"bash", "curl", "git"}, Arch: runtime.GOARCH, AllowExpired: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("planned %d packages in %v", len(plan.Packages), time.Since(start))
	var requested []string
	for _, p := range plan.Packages {
		if p.Requested {
			requested = append(requested, p.Name)
		}
		if p.SHA256 == "" || p.Size <= 0 || !strings.HasPrefix(p.Location, "http") {
			t.Errorf("not pinned: %+v", p)
		}
	}
	if !slices.Equal(requested, []string{"bash", "curl", "git"}) { // bash is in the base already
		t.Errorf("requested: %v", requested)
	}
	if len(plan.Repositories) == 0 || len(plan.Packages) < 10 {
		t.Errorf("%d repositories, %d packages", len(plan.Repositories), len(plan.Packages))
	}
	for _, bad := range []struct {
		names []string
		want  []string
	}{
		{[]string{"gti", "git", "mail-transport-agent", "no-such-thing-at-all"}, []string{`"gti"`, "or git", "postfix", `"no-such-thing-at-all"`}},
		{[]string{"libelogind0"}, []string{"would remove packages of the base: libsystemd0"}},
	} {
		_, err := apt.Plan(t.Context(), sb, f, distro.Request{Names: bad.names, AllowExpired: true})
		for _, want := range bad.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v: %v does not say %q", bad.names, err, want)
			}
		}
	}
}

func testInstall(t *testing.T, f *fetch.Client, base string, sde int64) {
	apt := distro.Apt{}
	root, _ := overlay(t, base)
	plan, err := apt.Plan(t.Context(), newTestSandbox(t, root, sde), f, distro.Request{Names: []string{"bash", "fontconfig"}, AllowExpired: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Fetch(t.Context(), "packages", files(plan.Packages)); err != nil {
		t.Fatal(err)
	}
	install := func(f distro.Fetcher, pkgs []manifest.Package) (string, error) {
		root, upper := overlay(t, base)
		return upper, apt.Install(t.Context(), newTestSandbox(t, root, sde), f, pkgs)
	}
	var uppers []string
	for i := range 2 {
		if i == 1 { // with a damaged file in the vault, which is noticed and fetched again
			damage(t, f.Path(plan.Packages[0].SHA256))
		}
		start := time.Now()
		upper, err := install(f, plan.Packages)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("installed %d packages in %v", len(plan.Packages), time.Since(start))
		uppers = append(uppers, upper)
	}
	compareTrees(t, uppers[0], uppers[1])

	offline, err := fetch.New(fetch.Options{Vault: filepath.Join(cacheDir(), "vault"), Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	damage(t, f.Path(plan.Packages[0].SHA256))
	var missing *fetch.MissingError
	if _, err := install(offline, plan.Packages); !errors.As(err, &missing) || len(missing.Files) != 1 {
		t.Errorf("offline, with a damaged file: %v", err)
	}
	if err := f.Fetch(t.Context(), "packages", files(plan.Packages)); err != nil {
		t.Fatal(err)
	}
	less := slices.DeleteFunc(slices.Clone(plan.Packages), func(p manifest.Package) bool { return p.Name == "libfontconfig1" })
	if _, err := install(f, less); err == nil {
		t.Error("a lock without a dependency was installed")
	}
	wrong := slices.Clone(plan.Packages)
	wrong[0].Version += "+other"
	if _, err := install(f, wrong); err == nil || !strings.Contains(err.Error(), "as the lock says") {
		t.Errorf("a lock with another version than its file: %v", err)
	}
}

// compareTrees compares what two installations wrote, but for what capturing leaves out.
func compareTrees(t *testing.T, a, b string) {
	left, right := listTree(t, a), listTree(t, b)
	for name := range left {
		if left[name] != right[name] {
			t.Errorf("%s differs: %s and %s", name, left[name], right[name])
		}
		delete(right, name)
	}
	for name := range right {
		t.Errorf("%s is only in the second", name)
	}
	if len(left) < 100 {
		t.Errorf("only %d files were written", len(left))
	}
}

func listTree(t *testing.T, dir string) map[string]string {
	out := make(map[string]string)
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, p)
		for _, drop := range []string{"var/log/", "var/cache/ldconfig/", "var/cache/apt/", "var/lib/dpkg/lock", "var/lib/dpkg/triggers/Lock", "-old"} {
			if strings.HasPrefix(name, drop) || strings.HasSuffix(name, drop) {
				return nil
			}
		}
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() {
			link, _ := os.Readlink(p)
			out[name] = info.Mode().String() + " " + link
			return err
		}
		data, err := os.ReadFile(p)
		out[name] = fmt.Sprintf("%s %x", info.Mode(), sha256.Sum256(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func files(pkgs []manifest.Package) []distro.File {
	var out []distro.File
	for _, p := range pkgs {
		out = append(out, distro.File{URL: p.Location, SHA256: p.SHA256, Size: p.Size})
	}
	return out
}

// TestResolveOtherReleases resolves releases that are not this machine's, from the mirror it uses.
func TestResolveOtherReleases(t *testing.T) {
	b := hostRelease(t)
	if b.Distro != "debian" {
		t.Skip("the releases tried are Debian's")
	}
	sources, err := aptrepo.ReadSources(b.Host)
	if err != nil {
		t.Fatal(err)
	}
	mirror := ""
	for _, s := range sources {
		if s.Suite == b.Release && distro.OwnArchive(s, b.Release) {
			mirror = s.URI
		}
	}
	if mirror == "" {
		t.Skip("this machine has no mirror of its own release")
	}
	f := newFetcher(t)
	for _, release := range []string{"trixie", "sid"} {
		if _, err := f.Get(t.Context(), distro.Document{URL: mirror + "/dists/" + release + "/InRelease", Limit: aptrepo.MaxRelease, Signed: true}); err != nil {
			t.Logf("the mirror does not serve %s: %v", release, err)
			continue
		}
		b := images.Bootstrap{Distro: "debian", Release: release, Arch: runtime.GOARCH, Mirrors: []string{mirror}, Now: time.Now()}
		plan, err := images.ResolveBootstrap(t.Context(), f, b)
		if errors.Is(err, aptrepo.ErrExpired) {
			t.Logf("the mirror's %s is too old: %v", release, err)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", release, err)
			continue
		}
		var names []string
		for _, p := range plan.Packages {
			names = append(names, p.Name)
		}
		t.Logf("%s: %d packages of %d repositories", release, len(names), len(plan.Repositories))
		for _, want := range []string{"apt", "base-files", "dpkg", "libc6", "debian-archive-keyring"} {
			if !slices.Contains(names, want) {
				t.Errorf("%s has no %s: %v", release, want, names)
			}
		}
	}
}

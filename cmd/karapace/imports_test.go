package main

import (
	"debug/buildinfo"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const modulePath = "github.com/karapace/karapace/"

// mayImport is who may import whom inside the project; a test may import more, a package may not. Directions point down.
var mayImport = map[string][]string{
	"manifest":                     {},
	"manifest/distro":              {"manifest", "manifest/distro/aptrepo", "manifest/distro/pacmanrepo", "manifest/distro/pgp", "manifest/distro/rpmrepo"},
	"manifest/distro/aptrepo":      {"manifest", "manifest/distro/pgp"},
	"manifest/distro/pacmanrepo":   {"manifest", "manifest/distro/aptrepo", "manifest/distro/pgp"},
	"manifest/distro/pgp":          {},
	"manifest/distro/rpmrepo":      {},
	"manifest/sbom":                {"manifest"},
	"ocispec":                      {},
	"bundle":                       {},
	"integration":                  {"integration/cdiyaml"},
	"integration/cdiyaml":          {},
	"integration/desktop":          {},
	"integration/icons":            {},
	"storage":                      {"manifest"},
	"storage/rootview":             {},
	"storage/fstree":               {},
	"storage/fetch":                {"manifest/distro", "storage"},
	"storage/layers":               {"storage", "storage/fstree"},
	"storage/ociimage":             {},
	"storage/images":               {"manifest", "manifest/distro", "manifest/distro/aptrepo", "manifest/distro/pgp", "storage/fstree", "storage/images/squashfs"},
	"storage/cosign":               {},
	"storage/registry":             {},
	"storage/images/simplestreams": {"manifest/distro", "manifest/distro/aptrepo", "manifest/distro/pgp"},
	"storage/images/squashfs":      {},
	"backends":                     {"backends/userns", "backends/internal/..."},
	"backends/internal":            {"backends", "backends/userns", "backends/internal/..."},
	"backends/userns":              {"backends/internal/..."},
	"backends/namespace":           {"backends", "backends/userns", "backends/internal/..."},
	"backends/lifecycle":           {"backends", "backends/userns", "backends/internal/..."},
	"backends/oci":                 {"backends", "backends/userns", "backends/internal/..."},
	"backends/backendtest":         {"backends", "backends/userns", "backends/internal/..."},
	"backends/mock":                {"backends", "backends/internal/..."},
	"cmd/internal/failure":         {},
	"cmd/internal/doctor":          {},
	"cmd/internal/distrobox":       {"manifest"},
	"cmd/internal/probe":           {},
	"cmd/internal/credentials":     {},
	"cmd/internal/wire":            {"cmd/internal/credentials", "cmd/internal/failure", "manifest", "storage"},
	"cmd/internal/engine": {"cmd/internal/credentials", "cmd/internal/doctor", "cmd/internal/failure", "cmd/internal/probe", "cmd/internal/wire", "manifest", "manifest/sbom", "ocispec", "bundle", "integration", "integration/desktop", "storage", "storage/rootview",
		"backends", "backends/userns", "backends/namespace", "backends/oci"},
	"cmd/internal/builder": {"cmd/internal/failure", "cmd/internal/wire", "manifest", "manifest/distro", "manifest/distro/aptrepo", "manifest/distro/pgp", "ocispec", "bundle", "integration/desktop", "integration/icons", "storage", "storage/rootview",
		"storage/fetch", "storage/fstree", "storage/layers", "storage/ociimage", "storage/registry", "storage/cosign", "storage/images", "storage/images/simplestreams", "backends", "backends/namespace", "backends/oci"},
	"cmd/internal/surroundings": {"backends/userns", "cmd/internal/engine", "cmd/internal/failure"},
	"cmd/karapace-runtime":      {"backends", "backends/lifecycle"},
	"cmd/internal/testground":   {},
	"cmd/karapace-dbus":         {"cmd/internal/engine", "cmd/internal/failure", "cmd/internal/surroundings", "manifest", "storage"},
	"cmd/karapace-tui":          {"cmd/internal/engine", "cmd/internal/failure", "cmd/internal/surroundings"},
	"cmd/karapace":              {"backends/userns", "cmd/internal/surroundings", "cmd/internal/distrobox", "cmd/internal/doctor", "cmd/internal/failure", "cmd/internal/engine", "cmd/internal/probe", "manifest", "bundle", "storage", "backends"},
	"cmd/karapace-store":        {"cmd/internal/builder", "cmd/internal/failure", "cmd/internal/wire"},
}

// confined is where third parties may be imported; one that is not here may be imported nowhere.
var confined = map[string][]string{
	"github.com/pelletier/go-toml/v2":                  {"manifest"},
	"github.com/containers/storage":                    {"storage/layers"},
	"github.com/urfave/cli/v2":                         {"cmd/karapace"},
	"github.com/opencontainers/runtime-spec/specs-go":  {"ocispec", "bundle", "backends", "cmd/internal/engine", "cmd/internal/builder", "cmd/karapace-runtime"},
	"github.com/opencontainers/image-spec/specs-go":    {"storage/layers", "storage/ociimage", "storage/images", "storage/registry", "cmd/internal/builder"},
	"github.com/opencontainers/image-spec/specs-go/v1": {"storage/layers", "storage/ociimage", "storage/images", "storage/registry", "cmd/internal/builder"},
	"oras.land/oras-go/v2":                             {"storage/registry"},
	"github.com/opencontainers/go-digest":              {"manifest", "storage", "cmd/internal"},
	"github.com/ProtonMail/go-crypto":                  {"manifest/distro/aptrepo", "manifest/distro/pgp"},
	"github.com/klauspost/compress":                    {"storage/fstree", "storage/images/squashfs", "storage/ociimage", "manifest/distro/aptrepo"},
	"github.com/klauspost/pgzip":                       {"storage/ociimage"},
	"github.com/therootcompany/xz":                     {"storage/fstree", "storage/images/squashfs", "manifest/distro/aptrepo"},
	"golang.org/x/sys/unix":                            {"storage", "backends", "cmd/internal", "cmd/karapace", "cmd/karapace-runtime", "cmd/karapace-store", "cmd/karapace-tui", "cmd/karapace-dbus"},
	"github.com/godbus/dbus/v5":                        {"cmd/karapace-dbus"},
	"github.com/charmbracelet/bubbletea":               {"cmd/karapace-tui"},
	"github.com/charmbracelet/lipgloss":                {"cmd/karapace-tui"},
	"github.com/charmbracelet/x/ansi":                  {"cmd/karapace-tui"},
	"golang.org/x/sync":                                {"storage", "manifest/distro", "cmd/internal/builder"},
}

// linked are the only modules that the karapace binary may hold: each one is paid for at every start.
var linked = []string{
	"github.com/opencontainers/go-digest", "github.com/opencontainers/runtime-spec", "github.com/pelletier/go-toml/v2", "github.com/urfave/cli/v2", "github.com/xrash/smetrics", "golang.org/x/sys",
}

// linkedByRuntime are the only modules that karapace-runtime may hold, for the same reason.
var linkedByRuntime = []string{"github.com/opencontainers/runtime-spec", "golang.org/x/sys"}

// Imports point in the directions of the architecture, and third parties stay where they are wrapped.
func TestImports(t *testing.T) {
	root := filepath.Join("..", "..")
	seen := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != root || d.Name() == "testdata" || d.Name() == "hack") {
			return filepath.SkipDir
		}
		if _, err := os.Stat(filepath.Join(path, "go.mod")); d.IsDir() && path != root && err == nil {
			return filepath.SkipDir // another module, which keeps its heavy dependencies to itself
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		seen[rel] = true
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if complaint := judge(filepath.ToSlash(rel), name); complaint != "" {
				t.Errorf("%s: %s", path, complaint)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(seen) < 10 {
		t.Fatalf("only %d packages found", len(seen))
	}
}

func judge(pkg, imported string) string {
	if own, ok := strings.CutPrefix(imported, modulePath); ok {
		allowed, known := rule(pkg)
		switch {
		case !known:
			return "the package is not in the table of the architecture"
		case within(own, allowed), strings.HasPrefix(own, pkg+"/internal"), strings.HasPrefix(pkg, own+"/internal"):
			return ""
		}
		return "may not import " + own
	}
	if !strings.Contains(strings.SplitN(imported, "/", 2)[0], ".") {
		return ""
	}
	for module, places := range confined {
		if imported == module || strings.HasPrefix(imported, module+"/") {
			if under(pkg, places) {
				return ""
			}
			return "may not import " + imported
		}
	}
	return imported + " is not in the table of third parties"
}

// rule finds the entry of a package, or of the nearest one above it for packages below internal.
func rule(pkg string) ([]string, bool) {
	for p := pkg; p != "."; p = filepath.Dir(p) {
		if allowed, ok := mayImport[p]; ok {
			return allowed, true
		}
	}
	return nil, false
}

func within(own string, allowed []string) bool {
	for _, a := range allowed {
		if prefix, all := strings.CutSuffix(a, "..."); own == a || all && strings.HasPrefix(own, prefix) {
			return true
		}
	}
	return false
}

func under(pkg string, places []string) bool {
	for _, p := range places {
		if pkg == p || strings.HasPrefix(pkg, p+"/") {
			return true
		}
	}
	return false
}

// The binaries that are started often link nothing heavy.
func TestLinked(t *testing.T) {
	for name, allowed := range map[string][]string{"karapace": linked, "karapace-runtime": linkedByRuntime} {
		info, err := buildinfo.ReadFile(filepath.Join(binaries, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range info.Deps {
			if !slices.Contains(allowed, m.Path) {
				t.Errorf("%s links %s, which every start pays for", name, m.Path)
			}
		}
	}
}

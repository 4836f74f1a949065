package manifest_test

import (
	"strings"
	"testing"

	"github.com/karapace/karapace/manifest"
)

const sha = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestParseBaseRef(t *testing.T) {
	alias := func(distro, release string) manifest.BaseRef {
		return manifest.BaseRef{Kind: manifest.BaseAlias, Distro: distro, Release: release}
	}
	bootstrap := func(distro, release string) manifest.BaseRef {
		return manifest.BaseRef{Kind: manifest.BaseBootstrap, Distro: distro, Release: release}
	}
	archive := func(url string) manifest.BaseRef { return manifest.BaseRef{Kind: manifest.BaseArchive, URL: url} }
	file := func(path string) manifest.BaseRef { return manifest.BaseRef{Kind: manifest.BasePath, Path: path} }
	image := func(registry, repository, tag string) manifest.BaseRef {
		return manifest.BaseRef{Kind: manifest.BaseRegistry, Registry: registry, Repository: repository, Tag: tag}
	}
	for text, want := range map[string]manifest.BaseRef{
		"rolling":                   alias("opensuse", "tumbleweed"),
		"opensuse":                  alias("opensuse", "tumbleweed"),
		"opensuse/tumbleweed":       alias("opensuse", "tumbleweed"),
		"tumbleweed":                alias("opensuse", "tumbleweed"),
		"opensuse/leap":             alias("opensuse", "leap"),
		"leap":                      alias("opensuse", "leap"),
		"opensuse/15.6":             alias("opensuse", "15.6"),
		"ubuntu":                    alias("ubuntu", "noble"),
		"Ubuntu/24.04":              alias("ubuntu", "noble"),
		"ubuntu/noble":              alias("ubuntu", "noble"),
		"ubuntu/22.04":              alias("ubuntu", "jammy"),
		"ubuntu/focal":              alias("ubuntu", "focal"),
		"ubuntu/24.10":              alias("ubuntu", "oracular"),
		"ubuntu/30.04":              alias("ubuntu", "30.04"), // not released yet
		"debian":                    alias("debian", "bookworm"),
		" debian/bookworm ":         alias("debian", "bookworm"),
		"debian/12":                 alias("debian", "bookworm"),
		"debian/13":                 alias("debian", "trixie"),
		"debian/sid":                alias("debian", "sid"),
		"fedora":                    alias("fedora", ""),
		"fedora/42":                 alias("fedora", "42"),
		"arch":                      alias("archlinux", "current"),
		"archlinux":                 alias("archlinux", "current"),
		"bootstrap:debian/bookworm": bootstrap("debian", "bookworm"),
		"bootstrap:debian/13":       bootstrap("debian", "trixie"),
		"bootstrap:ubuntu/noble":    bootstrap("ubuntu", "noble"),
		"bootstrap:ubuntu/24.04":    bootstrap("ubuntu", "noble"),

		"https://Example.org/A/rootfs.tar.XZ?x=1": archive("https://Example.org/A/rootfs.tar.XZ?x=1"),
		"http://127.0.0.1:8080/r.tar":             archive("http://127.0.0.1:8080/r.tar"),

		"./Rootfs.tar.zst":    file("./Rootfs.tar.zst"),
		"../layout":           file("../layout"),
		"/srv/layout":         file("/srv/layout"),
		"file:rootfs.tar":     file("./rootfs.tar"),
		"file:.rootfs.tar":    file("./.rootfs.tar"),
		"file:./rootfs.tar":   file("./rootfs.tar"),
		"file:/srv/r.tar":     file("/srv/r.tar"),
		"file:///srv/100%.gz": file("/srv/100%.gz"),

		"docker://debian":                             image("docker.io", "library/debian", ""),
		"docker://debian:bookworm-slim":               image("docker.io", "library/debian", "bookworm-slim"),
		"docker://team/tool:V1.0_x":                   image("docker.io", "team/tool", "V1.0_x"),
		"docker://quay.io/a/b/c__d":                   image("quay.io", "a/b/c__d", ""),
		"oci://localhost/a:1":                         image("localhost", "a", "1"),
		"oci://registry.example.org:5000/team/base:2": image("registry.example.org:5000", "team/base", "2"),
	} {
		got, err := manifest.ParseBaseRef(text)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", text, got, err, want)
			continue
		}
		if got.Pinned() {
			t.Errorf("%s counts as pinned", text)
		}
		if again, err := manifest.ParseBaseRef(got.String()); err != nil || again != want {
			t.Errorf("%s: %s gives %+v, %v", text, got, again, err)
		}
		checkPinned(t, strings.TrimSpace(text), want)
	}
}

// checkPinned adds a digest, which every form but an alias takes.
func checkPinned(t *testing.T, text string, want manifest.BaseRef) {
	t.Helper()
	want.Digest = "sha256:" + sha
	got, err := manifest.ParseBaseRef(text + "@sha256:" + sha)
	if want.Kind == manifest.BaseAlias {
		if err == nil || !strings.Contains(err.Error(), "karapace pin") {
			t.Errorf("%s with a digest: %v", text, err)
		}
		return
	}
	if err != nil || got != want || !got.Pinned() {
		t.Errorf("%s with a digest: %+v, %v", text, got, err)
	}
	if again, err := manifest.ParseBaseRef(got.String()); err != nil || again != want {
		t.Errorf("%s: %s gives %+v, %v", text, got, again, err)
	}
}

func TestParseBaseRefRefuses(t *testing.T) {
	for text, remedy := range map[string]string{
		"":                         "bootstrap:debian/bookworm",
		"debain":                   `"debian"`,
		"ubunut/24.04":             `"ubuntu/24.04"`,
		"debian/":                  `"debian"`,
		"debian/stable":            "debian",
		"fedora/rawhide":           "fedora",
		"bootstrap:":               "bootstrap:debian/bookworm",
		"bootstrap:debian/28":      "bookworm, trixie",
		"bootstrap:ubuntu/30.04":   "noble, jammy",
		"bootstrap:debain/sid":     `"bootstrap:debian/sid"`,
		"registry.example.org/a/b": "docker://registry.example.org/a/b",
		"https://":                 "host",
		"https://exa mple/":        "copy and paste",
		"https://example.org/%zz":  "%",
		"https://example.org/r.tar.xz#sha256=" + sha: "@sha256:",
		"file:":                                "path",
		"file://host/r.tar":                    "file:///",
		"docker://":                            "lower case",
		"docker://debian:":                     "tag",
		"docker://a..b/c":                      "HOST",
		"docker://x.org:port/a":                "HOST",
		"docker://x.org/a//b":                  "lower case",
		"docker://x.org/../../a":               "lower case",
		"docker://debian@sha256:" + sha + "0":  "64",
		"docker://debian@sha256:" + sha[1:]:    "64",
		"docker://debian@sha512:" + sha:        "lower case",
		"https://x.org/a@sha256:ABCDEF":        "64",
		"./a\x1b[2J":                           "copy and paste",
		"./" + strings.Repeat("a", 5000):       "copy and paste",
		"oci:layout":                           "docker://oci:layout",
		"-x":                                   "debian, ubuntu",
		strings.Repeat("debian/bookworm", 100): "debian, ubuntu",
	} {
		got, err := manifest.ParseBaseRef(text)
		if err == nil {
			t.Errorf("%.80q is %+v", text, got)
			continue
		}
		if e := err.(*manifest.Error); !strings.Contains(e.Remedy, remedy) {
			t.Errorf("%.80q: %v, want a remedy with %q", text, err, remedy)
		}
	}
}

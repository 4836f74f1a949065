// Package sbom writes what an environment is made of in the forms that others read: a bill of materials as SPDX 2.3 or CycloneDX
// 1.6, and where it comes from as an in-toto statement with SLSA provenance 1.0. All is taken from the lock, which names every
// file by digest, so that the same lock gives the same bytes.
package sbom

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/manifest"
)

// Subject is what a document is about.
type Subject struct {
	Lock    *manifest.Lock
	Name    string // of the environment; empty is its short id
	Program string // version of the program that writes it
}

func (s *Subject) name() string {
	if s.Name != "" {
		return s.Name
	}
	return s.Lock.ID().Short()
}

// created is the time of the lock's inputs: a document of the same lock is the same document.
func (s *Subject) created() string {
	return time.Unix(s.Lock.SourceDateEpoch, 0).UTC().Format(time.RFC3339)
}

// packages are those of a bootstrapped base, then those on top of it.
func (s *Subject) packages() []manifest.Package {
	return append(append([]manifest.Package{}, s.Lock.BasePackages...), s.Lock.Packages...)
}

// purl is a package URL (github.com/package-url/purl-spec).
func (s *Subject) purl(p manifest.Package) string {
	kind, qualifiers := "generic", url.Values{}
	if p.Arch != "" {
		qualifiers.Set("arch", p.Arch)
	}
	version := p.Version
	switch file := path.Base(p.Location); {
	case strings.HasSuffix(file, ".deb"):
		kind = "deb"
	case strings.HasSuffix(file, ".rpm"):
		kind = "rpm"
		if epoch, rest, ok := strings.Cut(version, ":"); ok {
			version = rest
			qualifiers.Set("epoch", epoch)
		}
	case strings.Contains(file, ".pkg.tar"):
		kind = "alpm"
	}
	namespace := ""
	if d := distribution(s.Lock.BaseImage); d != "" && kind != "generic" {
		namespace = d + "/"
	}
	purl := "pkg:" + kind + "/" + namespace + escape(p.Name) + "@" + escape(version)
	if len(qualifiers) > 0 {
		purl += "?" + qualifiers.Encode()
	}
	return purl
}

// distribution is the namespace that package URLs use, empty when the base's name does not tell.
func distribution(image string) string {
	_, name, found := strings.Cut(image, ":")
	if !found {
		name = image
	}
	name, _, _ = strings.Cut(name, "/")
	switch name {
	case "debian", "ubuntu", "fedora", "opensuse":
		return name
	case "archlinux", "arch":
		return "arch"
	}
	return ""
}

func escape(s string) string {
	return strings.ReplaceAll(url.PathEscape(s), "+", "%2B")
}

// location is where a file may be had from, or what the form says for not known.
func location(l, unknown string) string {
	if u, err := url.Parse(l); err == nil && (u.Scheme == "http" || u.Scheme == "https") {
		return l
	}
	return unknown
}

// hexOf is a digest's number, empty when there is none.
func hexOf(d digest.Digest) string {
	if d == "" {
		return ""
	}
	return d.Encoded()
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode document: %w", err)
	}
	return b.Bytes(), nil
}

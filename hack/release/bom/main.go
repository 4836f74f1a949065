// Command bom writes the bill of materials of Go programs: CycloneDX 1.6 in JSON, from what the compiler has noted in them. The same
// programs give the same bytes.
//
//	bom VERSION PROGRAM...
package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
)

type document struct {
	Format      string      `json:"bomFormat"`
	SpecVersion string      `json:"specVersion"`
	Version     int         `json:"version"`
	Metadata    metadata    `json:"metadata"`
	Components  []component `json:"components"`
	DependsOn   []dependent `json:"dependencies"`
}

type metadata struct {
	Component component `json:"component"`
}

type component struct {
	Type    string `json:"type"`
	Ref     string `json:"bom-ref"`
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	Purl    string `json:"purl,omitempty"`
	Hashes  []hash `json:"hashes,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type dependent struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn"`
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: bom VERSION PROGRAM...")
		os.Exit(64)
	}
	doc, err := describe(os.Args[1], os.Args[2:])
	if err == nil {
		out := json.NewEncoder(os.Stdout)
		out.SetIndent("", "  ")
		err = out.Encode(doc)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bom:", err)
		os.Exit(1)
	}
}

func describe(version string, programs []string) (*document, error) {
	root := component{Type: "application", Ref: "karapace", Name: "karapace", Version: version}
	doc := &document{Format: "CycloneDX", SpecVersion: "1.6", Version: 1, Metadata: metadata{root}}
	modules := map[string]component{}
	var refs []string
	for _, file := range programs {
		info, err := buildinfo.ReadFile(file)
		if err != nil {
			return nil, err
		}
		sum, err := sumOf(file)
		if err != nil {
			return nil, err
		}
		name := filepath.Base(file)
		doc.Components = append(doc.Components, component{Type: "application", Ref: name, Name: name, Version: version, Hashes: []hash{{"SHA-256", sum}}})
		refs = append(refs, name)
		toolchain := component{Type: "library", Name: "std", Version: strings.TrimPrefix(info.GoVersion, "go"), Purl: "pkg:golang/std@" + strings.TrimPrefix(info.GoVersion, "go")}
		toolchain.Ref = toolchain.Purl
		modules[toolchain.Ref] = toolchain
		needs := []string{toolchain.Ref}
		for _, m := range info.Deps {
			if m.Sum == "" && m.Replace == nil { // our own, of another directory
				continue
			}
			c := moduleComponent(m)
			modules[c.Ref] = c
			needs = append(needs, c.Ref)
		}
		slices.Sort(needs)
		doc.DependsOn = append(doc.DependsOn, dependent{name, needs})
	}
	doc.DependsOn = append(doc.DependsOn, dependent{root.Ref, refs})
	for _, ref := range slices.Sorted(maps.Keys(modules)) {
		doc.Components = append(doc.Components, modules[ref])
	}
	return doc, nil
}

// moduleComponent is a module's. Its hash is the one that go.sum has, which is of the list of its files' hashes.
func moduleComponent(m *debug.Module) component {
	if m.Replace != nil {
		m = m.Replace
	}
	c := component{Type: "library", Name: m.Path, Version: m.Version, Purl: "pkg:golang/" + m.Path + "@" + m.Version}
	c.Ref = c.Purl
	if raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.Sum, "h1:")); err == nil && len(raw) == sha256.Size {
		c.Hashes = []hash{{"SHA-256", hex.EncodeToString(raw)}}
	}
	return c
}

func sumOf(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

package sbom

import (
	"fmt"
	"strings"
)

type spdxDocument struct {
	Version       string             `json:"spdxVersion"`
	DataLicense   string             `json:"dataLicense"`
	ID            string             `json:"SPDXID"`
	Name          string             `json:"name"`
	Namespace     string             `json:"documentNamespace"`
	Creation      spdxCreation       `json:"creationInfo"`
	Packages      []spdxPackage      `json:"packages"`
	Relationships []spdxRelationship `json:"relationships"`
}

type spdxCreation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type spdxPackage struct {
	ID               string          `json:"SPDXID"`
	Name             string          `json:"name"`
	Version          string          `json:"versionInfo,omitempty"`
	DownloadLocation string          `json:"downloadLocation"`
	FilesAnalyzed    bool            `json:"filesAnalyzed"`
	LicenseConcluded string          `json:"licenseConcluded"`
	LicenseDeclared  string          `json:"licenseDeclared"`
	Copyright        string          `json:"copyrightText"`
	Purpose          string          `json:"primaryPackagePurpose,omitempty"`
	Checksums        []spdxChecksum  `json:"checksums,omitempty"`
	Refs             []spdxReference `json:"externalRefs,omitempty"`
	Comment          string          `json:"comment,omitempty"`
}

type spdxChecksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type spdxReference struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type spdxRelationship struct {
	Element string `json:"spdxElementId"`
	Type    string `json:"relationshipType"`
	Related string `json:"relatedSpdxElement"`
}

const (
	noAssertion = "NOASSERTION"
	spdxRoot    = "SPDXRef-Environment"
	spdxBase    = "SPDXRef-Base"
)

// SPDX is a bill of materials by the specification of that name, version 2.3, in JSON.
func (s *Subject) SPDX() ([]byte, error) {
	l := s.Lock
	root := newSPDXPackage(spdxRoot, s.name(), l.ID().Short(), noAssertion, hexOf(l.Output.ImageDigest))
	root.Purpose, root.Comment = "CONTAINER", "env_id "+string(l.ID())
	base := newSPDXPackage(spdxBase, l.BaseImage, "", location(l.BaseImageLocation, noAssertion), hexOf(l.BaseImageDigest))
	base.Purpose = "OPERATING-SYSTEM"
	doc := &spdxDocument{
		Version: "SPDX-2.3", DataLicense: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: s.name(),
		Namespace: "https://spdx.org/spdxdocs/karapace-" + string(l.ID()),
		Creation:  spdxCreation{s.created(), []string{"Tool: karapace-" + s.Program}},
		Packages:  []spdxPackage{root, base},
		Relationships: []spdxRelationship{
			{"SPDXRef-DOCUMENT", "DESCRIBES", spdxRoot}, {spdxRoot, "DESCENDANT_OF", spdxBase},
		},
	}
	for i, p := range s.packages() {
		one := newSPDXPackage(fmt.Sprintf("SPDXRef-Package-%d-%s", i+1, spdxName(p.Name)), p.Name, p.Version, location(p.Location, noAssertion), p.SHA256)
		one.Refs = []spdxReference{{"PACKAGE-MANAGER", "purl", s.purl(p)}}
		if p.Requested {
			one.Comment = "named by the manifest"
		}
		doc.Packages = append(doc.Packages, one)
		in := spdxRoot
		if i < len(s.Lock.BasePackages) {
			in = spdxBase
		}
		doc.Relationships = append(doc.Relationships, spdxRelationship{in, "CONTAINS", one.ID})
	}
	return encode(doc)
}

func newSPDXPackage(id, name, version, from, sha256 string) spdxPackage {
	p := spdxPackage{
		ID: id, Name: name, Version: version, DownloadLocation: from,
		LicenseConcluded: noAssertion, LicenseDeclared: noAssertion, Copyright: noAssertion,
	}
	if sha256 != "" {
		p.Checksums = []spdxChecksum{{"SHA256", sha256}}
	}
	return p
}

// spdxName keeps what may be in an identifier: letters, digits, "." and "-".
func spdxName(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' {
			return r
		}
		return '-'
	}, s)
}

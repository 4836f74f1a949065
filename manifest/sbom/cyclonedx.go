package sbom

type cycloneDocument struct {
	Format       string             `json:"bomFormat"`
	SpecVersion  string             `json:"specVersion"`
	Serial       string             `json:"serialNumber"`
	Version      int                `json:"version"`
	Metadata     cycloneMetadata    `json:"metadata"`
	Components   []cycloneComponent `json:"components"`
	Dependencies []cycloneDependent `json:"dependencies"`
}

type cycloneMetadata struct {
	Timestamp string           `json:"timestamp"`
	Tools     cycloneTools     `json:"tools"`
	Component cycloneComponent `json:"component"`
}

type cycloneTools struct {
	Components []cycloneComponent `json:"components"`
}

type cycloneComponent struct {
	Type    string             `json:"type"`
	Ref     string             `json:"bom-ref,omitempty"`
	Name    string             `json:"name"`
	Version string             `json:"version,omitempty"`
	Hashes  []cycloneHash      `json:"hashes,omitempty"`
	Purl    string             `json:"purl,omitempty"`
	Links   []cycloneReference `json:"externalReferences,omitempty"`
}

type cycloneHash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type cycloneReference struct {
	Type string `json:"type"`
	URL  string `json:"url"`
}

type cycloneDependent struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn"`
}

// CycloneDX is a bill of materials by the specification of that name, version 1.6, in JSON. What the environment depends on is what
// its manifest names; the rest is there for these.
func (s *Subject) CycloneDX() ([]byte, error) {
	l := s.Lock
	id := string(l.ID())
	root := newComponent("container", id, s.name(), l.ID().Short(), "", hexOf(l.Output.ImageDigest))
	base := newComponent("operating-system", "base", l.BaseImage, "", l.BaseImageLocation, hexOf(l.BaseImageDigest))
	doc := &cycloneDocument{
		Format: "CycloneDX", SpecVersion: "1.6", Version: 1,
		Serial: "urn:uuid:" + id[:8] + "-" + id[8:12] + "-8" + id[13:16] + "-8" + id[17:20] + "-" + id[20:32], // RFC 9562, version 8
		Metadata: cycloneMetadata{
			Timestamp: s.created(), Component: root,
			Tools: cycloneTools{[]cycloneComponent{{Type: "application", Name: "karapace", Version: s.Program}}},
		},
		Components: []cycloneComponent{base},
	}
	needs := []string{base.Ref}
	for _, p := range s.packages() {
		purl := s.purl(p)
		one := newComponent("library", purl, p.Name, p.Version, p.Location, p.SHA256)
		one.Purl = purl
		doc.Components = append(doc.Components, one)
		if p.Requested {
			needs = append(needs, purl)
		}
	}
	doc.Dependencies = []cycloneDependent{{root.Ref, needs}}
	return encode(doc)
}

func newComponent(kind, ref, name, version, from, sha256 string) cycloneComponent {
	c := cycloneComponent{Type: kind, Ref: ref, Name: name, Version: version}
	if sha256 != "" {
		c.Hashes = []cycloneHash{{"SHA-256", sha256}}
	}
	if at := location(from, ""); at != "" {
		c.Links = []cycloneReference{{"distribution", at}}
	}
	return c
}

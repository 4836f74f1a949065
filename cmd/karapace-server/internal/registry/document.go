package registry

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Document is what the server reads of a manifest, an index or an artifact.
type Document struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        *v1.Descriptor    `json:"config"`
	Layers        []v1.Descriptor   `json:"layers"`
	Manifests     []v1.Descriptor   `json:"manifests"`
	Subject       *v1.Descriptor    `json:"subject"`
	Annotations   map[string]string `json:"annotations"`
}

// References are the descriptors of everything that a document cannot do without.
func (d *Document) References() []v1.Descriptor {
	refs := slices.Concat(d.Layers, d.Manifests)
	if d.Config != nil {
		refs = append(refs, *d.Config)
	}
	return refs
}

// Descriptor is how the referrers API shows a document of so many bytes under a digest.
func (d *Document) Descriptor(dgst digest.Digest, mediaType string, size int) v1.Descriptor {
	kind := d.ArtifactType
	if kind == "" && d.Config != nil {
		kind = d.Config.MediaType
	}
	return v1.Descriptor{MediaType: cmp.Or(d.MediaType, mediaType), Digest: dgst, Size: int64(size), ArtifactType: kind, Annotations: d.Annotations}
}

// parseDocument refuses what the library would answer with an internal error, or take too long over.
func parseDocument(content []byte, most int) (*Document, error) {
	var doc Document
	if err := json.Unmarshal(content, &doc); err != nil {
		return nil, errors.New("the manifest is not JSON of the form it should have")
	}
	if doc.SchemaVersion != 2 {
		return nil, fmt.Errorf("schemaVersion is %d, not 2", doc.SchemaVersion)
	}
	refs := doc.References()
	if len(refs) > most {
		return nil, fmt.Errorf("%d descriptors are more than the %d that this registry takes", len(refs), most)
	}
	for _, ref := range refs {
		if ref.Digest.Validate() != nil || ref.Size < 0 {
			return nil, errors.New("a descriptor has no valid digest and size")
		}
		for _, at := range ref.URLs {
			if u, err := url.Parse(at); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Fragment != "" {
				return nil, errors.New("a descriptor has an address that is not http or https")
			}
		}
	}
	return &doc, nil
}

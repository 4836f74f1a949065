package sbom

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/karapace/karapace/manifest"
)

type statement struct {
	Type          string       `json:"_type"`
	Subject       []descriptor `json:"subject"`
	PredicateType string       `json:"predicateType"`
	Predicate     provenance   `json:"predicate"`
}

type descriptor struct {
	Name   string            `json:"name,omitempty"`
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest"`
}

type provenance struct {
	Definition buildDefinition `json:"buildDefinition"`
	Run        runDetails      `json:"runDetails"`
}

type buildDefinition struct {
	Type     string             `json:"buildType"`
	External externalParameters `json:"externalParameters"`
	Internal internalParameters `json:"internalParameters"`
	Inputs   []descriptor       `json:"resolvedDependencies"`
}

type externalParameters struct {
	Manifest descriptor `json:"manifest"`
	Lock     descriptor `json:"lock"`
}

type internalParameters struct {
	EnvID            manifest.EnvID `json:"env_id"`
	Arch             string         `json:"arch"`
	SourceDateEpoch  int64          `json:"source_date_epoch"`
	BuildEnvironment int64          `json:"build_environment"`
}

type runDetails struct {
	Builder    builder      `json:"builder"`
	Metadata   runMetadata  `json:"metadata"`
	Byproducts []descriptor `json:"byproducts"`
}

type builder struct {
	ID      string            `json:"id"`
	Version map[string]string `json:"version"`
}

type runMetadata struct {
	InvocationID string `json:"invocationId"`
}

// What kind of build it is, and who builds: names, at which there is nothing to be had.
const (
	buildType = "urn:karapace:build:1"
	builderID = "urn:karapace:builder"
)

// Provenance is an in-toto statement (v1) about the image, with a SLSA provenance predicate (v1): it names the manifest by its
// identity, the lock by the digest of its bytes, every input by digest, and the layers that came out. Signing it is up to others.
func (s *Subject) Provenance(manifestID manifest.ManifestID, lock []byte) ([]byte, error) {
	l := s.Lock
	sum := sha256.Sum256(lock)
	inputs := []descriptor{{"base " + l.BaseImage, l.BaseImageLocation, digestOf(hexOf(l.BaseImageDigest))}}
	for _, r := range l.Repositories {
		inputs = append(inputs, descriptor{"index", r.Location, digestOf(r.SHA256)})
	}
	for _, p := range s.packages() {
		inputs = append(inputs, descriptor{p.Name, p.Location, digestOf(p.SHA256)})
	}
	st := &statement{
		Type:          "https://in-toto.io/Statement/v1",
		Subject:       []descriptor{{Name: s.name(), Digest: digestOf(hexOf(l.Output.ImageDigest))}},
		PredicateType: "https://slsa.dev/provenance/v1",
		Predicate: provenance{
			Definition: buildDefinition{
				Type: buildType,
				External: externalParameters{
					Manifest: descriptor{Name: "manifest_id", Digest: digestOf(string(manifestID))},
					Lock:     descriptor{Name: "karapace.lock", Digest: digestOf(hex.EncodeToString(sum[:]))},
				},
				Internal: internalParameters{l.ID(), l.Arch, l.SourceDateEpoch, l.BuildEnvironment},
				Inputs:   inputs,
			},
			Run: runDetails{
				Builder:  builder{builderID, map[string]string{"karapace": s.Program}},
				Metadata: runMetadata{string(l.ID())},
			},
		},
	}
	for _, layer := range []descriptor{
		{Name: "base_layer", Digest: digestOf(hexOf(l.Output.BaseLayer))}, {Name: "package_layer", Digest: digestOf(hexOf(l.Output.PackageLayer))},
	} {
		if layer.Digest["sha256"] != "" {
			st.Predicate.Run.Byproducts = append(st.Predicate.Run.Byproducts, layer)
		}
	}
	return encode(st)
}

func digestOf(sha256 string) map[string]string { return map[string]string{"sha256": sha256} }

package images

import (
	"encoding/json"
	"errors"

	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// MediaType tells what a document of a registry is: from what it says, else from its shape, as the image specification
// asks of readers. One that could be both an index and a manifest is refused.
func MediaType(text []byte) (string, error) {
	var shape struct {
		MediaType string          `json:"mediaType"`
		Manifests json.RawMessage `json:"manifests"`
		Layers    json.RawMessage `json:"layers"`
		Config    json.RawMessage `json:"config"`
	}
	if err := json.Unmarshal(text, &shape); err != nil {
		return "", errors.New("what the registry sent is no manifest")
	}
	switch index, image := shape.Manifests != nil, shape.Layers != nil || shape.Config != nil; {
	case index && image:
		return "", errors.New("it is both an index and a manifest")
	case index == image:
		return "", errors.New("it is neither an index nor a manifest")
	case shape.MediaType != "":
		return shape.MediaType, nil
	case index:
		return ispec.MediaTypeImageIndex, nil
	default:
		return ispec.MediaTypeImageManifest, nil
	}
}

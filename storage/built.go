package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Built remembers which layer a build of certain inputs gave, so that it need not be built again. It is a cache: losing
// one costs time only, and one whose layer is gone is ignored.
type Built struct {
	Key   digest.Digest `json:"key"`   // of the inputs
	Kind  string        `json:"kind"`  // "base" or "packages"
	Image string        `json:"image"` // base.image as some manifest had it
	Input digest.Digest `json:"input"` // of what was fetched, of a base
	Layer digest.Digest `json:"layer"`
	Size  int64         `json:"size"`          // bytes of the layer's tar
	Epoch int64         `json:"epoch"`         // newest time in the inputs of a base, seconds
	Env   []string      `json:"env,omitempty"` // the variables a base image sets, NAME=value

	InputSize int64 `json:"input_size,omitempty"` // bytes of the file or directory that Input is the digest of
}

// Built returns what is remembered for key, or nil.
func (s *Store) Built(key digest.Digest) *Built {
	b, err := s.ReadBuilt(key.Encoded() + ".json")
	if err != nil || b.Key != key {
		return nil
	}
	return b
}

// RememberBuilt writes b down.
func (s *Store) RememberBuilt(b *Built) error {
	data, err := Seal(b)
	if err != nil {
		return fmt.Errorf("remember build: %w", err)
	}
	return WriteFile(s.Path("built", b.Key.Encoded()+".json"), data, 0o644)
}

// ForgetBuilt removes what is remembered for key.
func (s *Store) ForgetBuilt(key digest.Digest) error {
	if err := os.Remove(s.Path("built", key.Encoded()+".json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget build: %w", err)
	}
	return nil
}

// Bases returns the remembered builds of base layers, ordered by key. Unreadable ones are left out.
func (s *Store) Bases() ([]*Built, error) {
	entries, err := os.ReadDir(s.Path("built"))
	if err != nil {
		return nil, &Error{Path: s.root, Msg: err.Error()}
	}
	var all []*Built
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") {
			continue
		}
		if b, err := s.ReadBuilt(e.Name()); err == nil && b.Kind == "base" {
			all = append(all, b)
		}
	}
	return all, nil
}

// ReadBuilt reads one file of what is remembered, by its name in STORE/built.
func (s *Store) ReadBuilt(name string) (*Built, error) {
	data, err := readBounded(s.Path("built", name), recordLimit)
	if err != nil {
		return nil, err
	}
	b := &Built{}
	if err := Unseal(data, b); err != nil {
		return nil, err
	}
	if b.Layer.Validate() != nil || b.Key.Validate() != nil || b.Key.Encoded()+".json" != name {
		return nil, fmt.Errorf("built/%s is of no build", name)
	}
	return b, nil
}

// ForgetLayer removes whatever is remembered to have given a layer.
func (s *Store) ForgetLayer(layer digest.Digest) error {
	entries, err := os.ReadDir(s.Path("built"))
	if err != nil {
		return &Error{Path: s.root, Msg: err.Error()}
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") {
			continue
		}
		if b, err := s.ReadBuilt(e.Name()); err == nil && b.Layer == layer {
			if err := s.ForgetBuilt(b.Key); err != nil {
				return err
			}
		}
	}
	return nil
}

package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage/cosign"
	"github.com/karapace/karapace/storage/images"
	"github.com/karapace/karapace/storage/registry"
)

// signaturesLimit bounds the signatures of one manifest that are looked at.
const signaturesLimit = 100

// trust adds the keys of files.
func (r *remote) trust(files []string) error {
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err == nil {
			err = r.keys.ReadKeys(text)
		}
		if err != nil {
			return failure.New(failure.General, fmt.Errorf("key of registry %s: %s: %w", r.ref.Registry, name, err), "config.toml names it")
		}
	}
	return nil
}

// verify makes sure that one of the keys has signed a manifest. Without keys nothing is asked.
func (r *remote) verify(ctx context.Context, d digest.Digest) error {
	if len(r.keys) == 0 {
		return nil
	}
	places, err := r.signatures(ctx, d)
	if err != nil {
		return err
	}
	why := errors.New("there is no signature")
	var unread *failure.Error
	looked := 0
	for _, place := range places {
		m, err := r.artifact(ctx, place)
		if err != nil { // anybody may have put it there, beside one that is good
			if why = err; unread == nil {
				errors.As(err, &unread)
			}
			continue
		}
		for _, l := range m.Layers {
			if l.MediaType != cosign.PayloadType || looked == signaturesLimit {
				continue
			}
			looked++
			if why = r.check(ctx, l, d); why == nil {
				return nil
			}
		}
	}
	if unread != nil {
		return failure.New(failure.Remote, fmt.Errorf("signatures of %s@%s: %w", r.name(), d, unread), "")
	}
	return failure.New(failure.Remote, unsigned{fmt.Errorf("%s@%s is not signed by any of the keys that are trusted for it: %w", r.name(), d, why)},
		"nothing was taken over; ask who pushed it for a signature, or for the right key")
}

// unsigned says that nobody whose key is known has signed something.
type unsigned struct{ error }

// signatures finds the manifests that hold signatures: the one with the tag, and those that refer to it.
func (r *remote) signatures(ctx context.Context, d digest.Digest) ([]digest.Digest, error) {
	var places []digest.Digest
	switch at, err := r.tagged(ctx, cosign.Tag(d)); {
	case err != nil:
		return nil, err
	case at != "":
		places = append(places, at)
	}
	more, err := r.client.Referrers(ctx, ispec.Descriptor{MediaType: ispec.MediaTypeImageManifest, Digest: d}, cosign.Artifact)
	if err != nil {
		return nil, remoteFailure(err)
	}
	for _, m := range more {
		if m.Digest.Validate() == nil && len(places) < signaturesLimit {
			places = append(places, m.Digest)
		}
	}
	return places, nil
}

// check verifies one signature.
func (r *remote) check(ctx context.Context, l ispec.Descriptor, d digest.Digest) error {
	if l.Size > cosign.PayloadLimit || l.Size < 0 {
		return errors.New("what was signed is too long")
	}
	if err := r.bring(ctx, l); err != nil {
		return err
	}
	text, err := images.Blobs{Path: r.fetch.Path}.ReadDocument(l)
	if err != nil {
		return err
	}
	return r.keys.Verify(text, l.Annotations[cosign.Annotation], d)
}

// sign adds a signature of a manifest to those that it has, unless the key's is among them.
func (r *remote) sign(ctx context.Context, key *cosign.PrivateKey, up *registry.Upload, d digest.Digest) error {
	text, err := cosign.Payload(r.name(), d)
	if err != nil {
		return err
	}
	m, err := r.signed(ctx, d)
	if err != nil {
		return err
	}
	for _, l := range m.Layers {
		if l.Digest == digest.FromBytes(text) && key.Public().Verify(text, l.Annotations[cosign.Annotation], d) == nil {
			return nil
		}
	}
	if len(m.Layers) >= signaturesLimit {
		return failure.New(failure.Remote, fmt.Errorf("%s@%s has %d signatures, and of more than that none is looked at", r.name(), d, len(m.Layers)),
			"the tag "+cosign.Tag(d)+" is what holds them: remove it in the registry, and sign again")
	}
	signature, err := key.Sign(text)
	if err != nil {
		return err
	}
	l := ispec.Descriptor{MediaType: cosign.PayloadType, Digest: digest.FromBytes(text), Size: int64(len(text)), Annotations: map[string]string{cosign.Annotation: signature}}
	m.Layers = append(m.Layers, l)
	config, err := json.Marshal(ispec.Image{RootFS: ispec.RootFS{Type: "layers", DiffIDs: diffIDs(m.Layers)}})
	if err != nil {
		return fmt.Errorf("encode signature: %w", err)
	}
	m.Config = ispec.Descriptor{MediaType: ispec.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))}
	return sendDocuments(ctx, up.Tagged(cosign.Tag(d)), m, map[digest.Digest][]byte{l.Digest: text, m.Config.Digest: config})
}

// signed is the manifest of the signatures that there are; others' stay.
func (r *remote) signed(ctx context.Context, d digest.Digest) (*ispec.Manifest, error) {
	empty := &ispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ispec.MediaTypeImageManifest, Layers: []ispec.Descriptor{}}
	at, err := r.tagged(ctx, cosign.Tag(d))
	if err != nil || at == "" {
		return empty, err
	}
	m, err := r.artifact(ctx, at)
	var unread *failure.Error
	if errors.As(err, &unread) {
		return nil, err
	}
	if err != nil { // what is there is of no use to anybody
		return empty, nil
	}
	empty.Layers = m.Layers
	return empty, nil
}

func diffIDs(layers []ispec.Descriptor) []digest.Digest {
	ids := []digest.Digest{}
	for _, l := range layers {
		ids = append(ids, l.Digest)
	}
	return ids
}

// signingKey reads the key of a push.
func signingKey(text []byte) (*cosign.PrivateKey, error) {
	if len(text) == 0 {
		return nil, nil
	}
	key, err := cosign.ReadPrivateKey(text)
	return key, failure.New(failure.General, prefixed("the key to sign with", err), "")
}

func prefixed(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// configuration reads config.toml as a request brings it.
func configuration(file string, text []byte) (*manifest.Config, error) {
	c, err := manifest.ParseConfig(file, text)
	return c, failure.New(failure.General, err, "")
}

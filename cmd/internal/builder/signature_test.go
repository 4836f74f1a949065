package builder

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/cosign"
)

// signedImage is an image of which a registry says that some manifests refer to it.
type signedImage struct {
	blobs     map[digest.Digest][]byte // manifests too
	referrers []ispec.Descriptor
}

func (s *signedImage) add(body []byte) ispec.Descriptor {
	d := digest.FromBytes(body)
	s.blobs[d] = body
	return ispec.Descriptor{MediaType: ispec.MediaTypeImageManifest, ArtifactType: cosign.Artifact, Digest: d, Size: int64(len(body))}
}

func (s *signedImage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch name := path.Base(r.URL.Path); {
	case strings.Contains(r.URL.Path, "/referrers/"):
		w.Header().Set("Content-Type", ispec.MediaTypeImageIndex)
		json.NewEncoder(w).Encode(ispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ispec.MediaTypeImageIndex, Manifests: s.referrers})
	case s.blobs[digest.Digest(name)] != nil:
		w.Write(s.blobs[digest.Digest(name)])
	case name != "v2":
		http.NotFound(w, r)
	}
}

// What anybody may have put beside an image hides no good signature of it.
func TestVerifyBesideBad(t *testing.T) {
	signed := &signedImage{blobs: map[digest.Digest][]byte{}}
	server := httptest.NewServer(signed)
	t.Cleanup(server.Close)
	store := storage.At(t.TempDir())
	w := &worker{store: store, tell: &teller{enc: json.NewEncoder(io.Discard)}}
	ref := manifest.BaseRef{Kind: manifest.BaseRegistry, Registry: strings.TrimPrefix(server.URL, "http://"), Repository: "team/t"}
	r, err := w.connect(t.Context(), ref, &manifest.Config{}, wire.Remote{}, false)
	if err != nil {
		t.Fatal(err)
	}
	key := newKey(t)
	r.keys = key.Public()

	image := digest.FromString("an image")
	text, err := cosign.Payload(r.name(), image)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := key.Sign(text)
	if err != nil {
		t.Fatal(err)
	}
	layer := signed.add(text)
	layer.MediaType, layer.Annotations = cosign.PayloadType, map[string]string{cosign.Annotation: signature}
	m := newArtifact(cosign.Artifact, ispec.Descriptor{MediaType: ispec.MediaTypeImageManifest, Digest: image})
	m.Layers = []ispec.Descriptor{layer}
	body, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	good, nonsense, lost := signed.add(body), signed.add([]byte("[]")), ispec.Descriptor{MediaType: ispec.MediaTypeImageManifest, ArtifactType: cosign.Artifact, Digest: digest.FromString("lost"), Size: 9}

	var nobody unsigned
	signed.referrers = []ispec.Descriptor{nonsense}
	if err := r.verify(t.Context(), image); !errors.As(err, &nobody) {
		t.Errorf("with nonsense: %v", err)
	}
	signed.referrers = []ispec.Descriptor{lost}
	if err := r.verify(t.Context(), image); err == nil || errors.As(err, &nobody) {
		t.Errorf("with what cannot be read: %v", err)
	}
	signed.referrers = []ispec.Descriptor{nonsense, lost, good}
	if err := r.verify(t.Context(), image); err != nil {
		t.Errorf("with a good one: %v", err)
	}
}

func newKey(t *testing.T) *cosign.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	key, err := cosign.ReadPrivateKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro"
	"github.com/karapace/karapace/storage/cosign"
	"github.com/karapace/karapace/storage/fetch"
	"github.com/karapace/karapace/storage/images"
	"github.com/karapace/karapace/storage/registry"
)

// remote is a repository in a registry, and the vault that what is read of it goes into.
type remote struct {
	ref    manifest.BaseRef
	client *registry.Client
	fetch  *fetch.Client

	documents *fetch.Client // the same for what is too small to tell of
	keys      cosign.Keys   // one of which must have signed what is read; none: it need not be signed
}

// connect finds out how the repository of a reference is spoken to. Offline nothing is asked.
func (w *worker) connect(ctx context.Context, ref manifest.BaseRef, config *manifest.Config, how wire.Remote, offline bool) (*remote, error) {
	own := config.Registry(ref.Registry)
	client, err := registry.Open(ctx, registry.Options{
		Host: ref.Registry, Repository: ref.Repository, Credential: registry.Credential(how.Credential), AuthHosts: own.AuthHosts,
		PlainHTTP: insecure(config, ref.Registry), CA: own.CA, CertDirs: how.CertDirs, UserAgent: "karapace", Proxy: http.ProxyFromEnvironment,
		Answer: answerTime,
	}, !offline)
	if err != nil {
		return nil, failure.New(failure.Remote, err, "")
	}
	r := &remote{ref: ref, client: client}
	if err := r.trust(own.VerifyKeys); err != nil {
		return nil, err
	}
	return r, r.into(w, fetch.Options{Vault: w.store.Path("vault"), Offline: offline}, config)
}

// answerTime is how long a registry may take to check what was sent to it.
const answerTime = 5 * time.Minute

// into says which vault what is read goes to. Documents are always made durable: nothing notices a damaged one early.
func (r *remote) into(w *worker, o fetch.Options, config *manifest.Config) (err error) {
	volatile, shown := o.Volatile, o.Progress
	o.Progress = nil
	o.AllowHTTP, o.UserAgent, o.Transport, o.Waiting = config.InsecureHosts, "karapace", r.client.Transport(), w.store.Waiting
	o.Volatile = false
	if r.documents, err = fetch.New(o); err == nil {
		o.Volatile = volatile
		if o.Progress = shown; shown == nil {
			o.Progress = w.tell
		}
		r.fetch, err = fetch.New(o)
	}
	return failure.New(failure.Store, err, "")
}

// insecure tells whether the configuration allows plain http to a registry.
func insecure(config *manifest.Config, host string) bool {
	name, _, _ := strings.Cut(strings.ToLower(host), ":")
	return slices.Contains(config.InsecureHosts, strings.ToLower(host)) || slices.Contains(config.InsecureHosts, name)
}

// name is the reference for people, without a tag.
func (r *remote) name() string { return r.ref.Registry + "/" + r.ref.Repository }

// manifest brings the document that the reference means into the vault. What a tag means is asked once.
func (r *remote) manifest(ctx context.Context, reference string) (digest.Digest, error) {
	want := digest.Digest(reference)
	if want.Validate() == nil {
		if r.fetch.Verify(ctx, []distro.File{{SHA256: want.Encoded()}}) == nil { // a damaged one is out of the way then
			return want, nil
		}
	} else {
		want = ""
	}
	f, err := r.documents.Add(ctx, "manifest", distro.Document{URL: r.client.ManifestURL(reference), Limit: registry.DocumentLimit})
	if errors.Is(err, fs.ErrNotExist) {
		return "", failure.New(failure.Remote, fmt.Errorf("%s has no %s, or shows it to nobody without a login", r.name(), reference), "")
	}
	if err != nil {
		return "", remoteFailure(err)
	}
	got := digest.NewDigestFromEncoded(digest.SHA256, f.SHA256)
	if want != "" && got != want {
		return "", failure.New(failure.Remote, fmt.Errorf("%s answers with the manifest %s when asked for %s", r.name(), got, want), "")
	}
	return got, nil
}

// files are descriptors as package fetch wants them.
func (r *remote) files(descriptors []ispec.Descriptor) []distro.File {
	var out []distro.File
	for _, d := range descriptors {
		out = append(out, distro.File{URL: r.client.URL(d), SHA256: d.Digest.Encoded(), Size: d.Size})
	}
	return out
}

// bring fetches one document.
func (r *remote) bring(ctx context.Context, d ispec.Descriptor) error {
	return r.documents.Fetch(ctx, "manifests", r.files([]ispec.Descriptor{d}))
}

// blobs is the image of a manifest or an index that is in the vault.
func (r *remote) blobs(root digest.Digest) images.Blobs {
	return images.Blobs{Path: r.fetch.Path, Root: root, Bring: r.bring}
}

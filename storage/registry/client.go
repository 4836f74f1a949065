package registry

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
)

// DocumentLimit bounds a manifest or an index, in bytes.
const DocumentLimit = 4 << 20

// Credential is what a registry knows the user by; the zero value is nobody.
type Credential struct {
	Username, Password string
	IdentityToken      string // for getting others
	RegistryToken      string // the token itself
}

// Options say how a repository is reached.
type Options struct {
	Host       string // HOST or HOST:PORT, as the reference has it
	Repository string
	Credential Credential
	AuthHosts  []string // HOST or HOST:PORT that may be given the credential, beside Host
	PlainHTTP  bool     // http is allowed, and spoken if the host does not speak https; a loopback host may always
	CA         []string // files of certificate authorities to trust, in PEM form
	CertDirs   []string // see containers-certs.d(5)
	UserAgent  string

	// Proxy tells which proxy a request goes through, nil for none; nil itself: none ever.
	Proxy func(*http.Request) (*url.URL, error)

	Stall  time.Duration // how long a server may be silent while bytes move; 0 is 30 seconds
	Answer time.Duration // how long it may think about an answer; 0 is Stall
}

// Client is a repository in a registry. It is safe for concurrent use.
type Client struct {
	options Options
	ref     registry.Reference // without tag or digest
	host    string
	plain   bool
	through http.RoundTripper
	http    *http.Client
}

// dockerHub is where docker.io is.
const dockerHub = "registry-1.docker.io"

// Open finds out how a repository is spoken to. Without ask it uses no network and takes https for granted.
func Open(ctx context.Context, o Options, ask bool) (*Client, error) {
	if o.Stall <= 0 {
		o.Stall = 30 * time.Second
	}
	if o.Answer <= 0 {
		o.Answer = o.Stall
	}
	c := &Client{options: o, ref: registry.Reference{Registry: o.Host, Repository: o.Repository}}
	if err := c.ref.Validate(); err != nil {
		return nil, fmt.Errorf("registry %s: %w", o.Host, err)
	}
	c.host = c.ref.Host() // docker.io is served elsewhere
	config, own, err := trust(o.Host, o.CA, o.CertDirs)
	if err != nil {
		return nil, fmt.Errorf("registry %s: %w", o.Host, err)
	}
	base := transport(config, o)
	name, _, _ := strings.Cut(c.host, ":")
	if ask && !own && (o.PlainHTTP || loopback(name)) {
		c.plain = speaksHTTP(ctx, base, c.host)
	}
	c.through = c.chain(base, o)
	c.http = &http.Client{Transport: c.through}
	return c, nil
}

// Transport sends requests to the repository, with credentials, and whatever it redirects to, without them.
func (c *Client) Transport() http.RoundTripper { return c.through }

func (c *Client) url(kind, name string) string {
	scheme := "https"
	if c.plain {
		scheme = "http"
	}
	return scheme + "://" + c.host + "/v2/" + c.ref.Repository + "/" + kind + "/" + name
}

// ManifestURL is where a manifest is read; reference is a tag or a digest.
func (c *Client) ManifestURL(reference string) string { return c.url("manifests", reference) }

// BlobURL is where a blob is read.
func (c *Client) BlobURL(d digest.Digest) string { return c.url("blobs", d.String()) }

// URL is where what a descriptor names is read.
func (c *Client) URL(d ispec.Descriptor) string {
	if IsManifest(d.MediaType) {
		return c.ManifestURL(d.Digest.String())
	}
	return c.BlobURL(d.Digest)
}

// Media types of the formats that came before the OCI's and have the same structure.
const (
	dockerList  = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerImage = "application/vnd.docker.distribution.manifest.v2+json"
)

func manifestTypes() []string {
	return []string{ispec.MediaTypeImageManifest, ispec.MediaTypeImageIndex, dockerImage, dockerList}
}

// IsManifest tells whether something of this media type is kept among the manifests of a repository.
func IsManifest(mediaType string) bool {
	switch mediaType {
	case ispec.MediaTypeImageManifest, ispec.MediaTypeImageIndex, dockerImage, dockerList:
		return true
	}
	return false
}

// repository is the library's view.
func (c *Client) repository() *remote.Repository {
	return &remote.Repository{
		Client: c.http, Reference: c.ref, PlainHTTP: c.plain, ManifestMediaTypes: manifestTypes(),
		MaxMetadataBytes: DocumentLimit, ReferrerListMaxPages: 16, SkipReferrersGC: true,
	}
}

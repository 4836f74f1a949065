package registry

import (
	"net/http"
	"regexp"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// kind is which part of the API a request is for.
type kind string

const (
	kindBase      kind = "base"
	kindCatalog   kind = "catalog"
	kindTags      kind = "tags"
	kindManifest  kind = "manifest"
	kindBlob      kind = "blob"
	kindUpload    kind = "upload"
	kindReferrers kind = "referrers"
)

// maxName and maxQuery bound names of repositories and queries, in bytes.
const (
	maxName  = 255
	maxQuery = 8 << 10
)

var (
	tagPattern  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
	uuidPattern = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	namePattern = regexp.MustCompile("^" + reference.NameRegexp.String() + "$")
)

// route is a request taken apart. Only what parses exactly reaches the library, so that the two can never read one path in two ways.
type route struct {
	kind   kind
	repo   string
	ref    string        // tag, digest or upload id as given
	digest digest.Digest // where ref is one
}

// methods are what the API knows, part by part.
var methods = map[kind]string{
	kindBase: "GET HEAD", kindCatalog: "GET HEAD", kindTags: "GET HEAD", kindManifest: "GET HEAD PUT DELETE",
	kindBlob: "GET HEAD DELETE", kindUpload: "GET HEAD POST PATCH PUT DELETE", kindReferrers: "GET HEAD",
}

// parse reads a request's path. The refusal is nil where all is well.
func parse(r *http.Request) (route, *refusal) {
	if len(r.URL.RawQuery) > maxQuery {
		return route{}, &refusal{http.StatusRequestURITooLong, "UNSUPPORTED", "the query is too long"}
	}
	rt, bad := parsePath(r.URL.Path)
	if bad != nil {
		return route{}, bad
	}
	for known := range strings.FieldsSeq(methods[rt.kind]) {
		if r.Method == known {
			return rt, nil
		}
	}
	return route{}, &refusal{http.StatusMethodNotAllowed, "UNSUPPORTED", "the method is not for this path"}
}

func parsePath(p string) (route, *refusal) {
	unknown := &refusal{http.StatusNotFound, "UNSUPPORTED", "there is no such path"}
	rest, ok := strings.CutPrefix(p, "/v2/")
	switch {
	case p == "/v2" || ok && rest == "":
		return route{kind: kindBase}, nil
	case rest == "_catalog":
		return route{kind: kindCatalog}, nil
	case !ok:
		return route{}, unknown
	}
	if repo, ok := strings.CutSuffix(rest, "/tags/list"); ok {
		return named(route{kind: kindTags, repo: repo})
	}
	if repo, ok := strings.CutSuffix(strings.TrimSuffix(rest, "/"), "/blobs/uploads"); ok {
		return named(route{kind: kindUpload, repo: repo})
	}
	i := strings.LastIndexByte(rest, '/')
	if i < 0 {
		return route{}, unknown
	}
	head, ref := rest[:i], rest[i+1:]
	for suffix, k := range map[string]kind{"/manifests": kindManifest, "/blobs": kindBlob, "/blobs/uploads": kindUpload, "/referrers": kindReferrers} {
		if repo, ok := strings.CutSuffix(head, suffix); ok {
			return referred(route{kind: k, repo: repo, ref: ref})
		}
	}
	return route{}, unknown
}

func named(rt route) (route, *refusal) {
	if len(rt.repo) > maxName || !namePattern.MatchString(rt.repo) {
		return route{}, &refusal{http.StatusNotFound, "NAME_INVALID", "this cannot be the name of a repository"}
	}
	return rt, nil
}

func referred(rt route) (route, *refusal) {
	if rt.kind == kindUpload {
		if !uuidPattern.MatchString(rt.ref) {
			return route{}, &refusal{http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "there is no such upload"}
		}
		return named(rt)
	}
	if rt.kind == kindManifest && tagPattern.MatchString(rt.ref) {
		return named(rt)
	}
	d := digest.Digest(rt.ref)
	if d.Validate() != nil {
		return route{}, &refusal{http.StatusBadRequest, "DIGEST_INVALID", "this is no digest that the server knows"}
	}
	rt.digest = d
	return named(rt)
}

// isWrite tells whether a request may change something.
func isWrite(r *http.Request) bool { return r.Method != http.MethodGet && r.Method != http.MethodHead }

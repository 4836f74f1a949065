// Package registry is the OCI distribution API: the library of the distribution project with what it lacks around it.
//
// A request is taken apart strictly (route), then passes authentication, the part of the API that is the server's own or
// mended (referrers, digests other than sha256, limits), and the library, which does the rest and owns the layout of
// storage. What changes storage holds a lock that keeps it apart from collecting garbage.
//
// Invariants: the library sees only paths and queries that this package has put together again from their parsed form.
// Whatever is answered with 201 has its content, its links and its note for the referrers API on disk.
package registry

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"

	"github.com/distribution/distribution/v3/registry/handlers"
	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/karapace-server/internal/config"
	"github.com/karapace/karapace/cmd/karapace-server/internal/layout"
)

// Server is the API as an http.Handler.
type Server struct {
	app      *handlers.App
	driver   *guarded
	access   *access
	limits   config.Limits
	readOnly bool
	lock     Lock
	uploads  *busy
	log      *slog.Logger
}

// Part names the part of the API a request is for, for logs and metrics.
func Part(r *http.Request) string {
	rt, bad := parsePath(r.URL.Path)
	if bad != nil {
		return "none"
	}
	return string(rt.kind)
}

// Repository names the repository a request is for, if any.
func Repository(r *http.Request) string {
	rt, _ := parsePath(r.URL.Path)
	return rt.repo
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer s.survive(w)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	rt, bad := parse(r)
	if bad == nil && s.readOnly && isWrite(r) {
		bad = &refusal{http.StatusMethodNotAllowed, "UNSUPPORTED", "this registry is read-only"}
	}
	if bad != nil {
		bad.write(w)
		return
	}
	stall := s.limits.Stall
	w = &pacedWriter{ResponseWriter: w, control: http.NewResponseController(w), stall: duration(stall)}
	told := &trouble{}
	defer told.end()
	r = r.WithContext(context.WithValue(r.Context(), troubleKey{}, told))
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = newBody(w, r, duration(stall))
	}
	s.dispatch(w, r, rt)
}

func (s *Server) dispatch(w http.ResponseWriter, r *http.Request, rt route) {
	switch {
	case rt.kind == kindReferrers:
		s.referrers(w, r, rt)
	case rt.kind == kindUpload:
		s.upload(w, r, rt)
	case rt.kind == kindManifest && r.Method == http.MethodPut:
		s.putManifest(w, r, rt)
	case rt.kind == kindManifest && r.Method == http.MethodDelete && rt.digest == "":
		s.untag(w, r, rt)
	case rt.kind == kindManifest && r.Method == http.MethodDelete:
		s.remove(w, r, rt, layout.Manifests)
	case rt.kind == kindBlob && r.Method == http.MethodDelete:
		s.remove(w, r, rt, layout.Layers)
	case rt.kind == kindBlob && rt.digest.Algorithm() != digest.SHA256:
		s.pass(w, r, rt, nil, func(status int, h http.Header) *refusal {
			speakOf(h, rt.digest)
			return nil
		})
	default:
		if rt.kind == kindBase && s.access != nil && s.access.anonymous {
			w.Header().Set("WWW-Authenticate", `Basic realm="`+realm+`"`) // clients look for it here, though all is well
		}
		s.pass(w, r, rt, paging(r.URL.Query()), nil)
	}
}

// paging keeps what lists take.
func paging(q url.Values) url.Values {
	keep := url.Values{}
	for _, key := range []string{"n", "last"} {
		if q.Has(key) {
			keep.Set(key, q.Get(key))
		}
	}
	return keep
}

// pass hands a request to the library.
func (s *Server) pass(w http.ResponseWriter, r *http.Request, rt route, q url.Values, amend func(int, http.Header) *refusal) {
	r.URL = &url.URL{Path: rt.path(), RawQuery: q.Encode()}
	r.RequestURI = r.URL.RequestURI()
	s.app.ServeHTTP(&reply{ResponseWriter: w, amend: func(status int, h http.Header) *refusal {
		if h.Get(deniedHeader) != "" {
			h.Del(deniedHeader)
			return forbidden()
		}
		if status >= 400 {
			return refuse(r.Context())
		}
		if amend != nil {
			return amend(status, h)
		}
		return nil
	}}, r)
}

// path puts a route together again.
func (rt route) path() string {
	switch rt.kind {
	case kindBase:
		return "/v2/"
	case kindCatalog:
		return "/v2/_catalog"
	case kindTags:
		return "/v2/" + rt.repo + "/tags/list"
	case kindManifest:
		return "/v2/" + rt.repo + "/manifests/" + rt.ref
	case kindBlob:
		return "/v2/" + rt.repo + "/blobs/" + rt.ref
	default:
		return "/v2/" + rt.repo + "/blobs/uploads/" + rt.ref
	}
}

// refuse tells the reason where storage had one for the client.
func refuse(ctx context.Context) *refusal {
	t, ok := ctx.Value(troubleKey{}).(*trouble)
	if !ok {
		return nil
	}
	switch err := t.get(); {
	case err == nil:
		return nil
	case errors.Is(err, errBlobTooLarge):
		return &refusal{http.StatusRequestEntityTooLarge, "SIZE_INVALID", err.Error()}
	default:
		return &refusal{http.StatusInsufficientStorage, "DENIED", err.Error()}
	}
}

// broken is for failures that are not the client's.
func (s *Server) broken(err error) *refusal {
	s.log.Error("storage", "error", err.Error())
	if errors.Is(err, errQuota) || errors.Is(err, errDiskFull) {
		return &refusal{http.StatusInsufficientStorage, "DENIED", err.Error()}
	}
	return &refusal{http.StatusInternalServerError, "UNKNOWN", "storage does not answer"}
}

// survive keeps a bug in one request from being more than that.
func (s *Server) survive(w http.ResponseWriter) {
	p := recover()
	if p == nil {
		return
	}
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p)
	}
	s.log.Error("panic", "value", p, "stack", string(debug.Stack()))
	(&refusal{http.StatusInternalServerError, "UNKNOWN", "internal error"}).write(w)
}

// Ready tells whether storage answers.
func (s *Server) Ready(ctx context.Context) error { return s.driver.Ready(ctx) }

// Used is how much is stored, in bytes, as far as it has been counted.
func (s *Server) Used() int64 { return s.driver.used.Load() }

// Recount measures again what is stored.
func (s *Server) Recount(ctx context.Context) error { return s.driver.Recount(ctx) }

// Close ends the library's own work.
func (s *Server) Close() error { return s.app.Shutdown() }

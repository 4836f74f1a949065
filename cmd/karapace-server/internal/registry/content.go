package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/karapace-server/internal/layout"
)

// The library keeps content under its sha256 and knows other digests only half. What follows lets clients
// use every algorithm: what they name is translated on the way in, what they are told on the way out.

// speakOf makes an answer speak of the digest that the client used.
func speakOf(h http.Header, d digest.Digest) {
	if h.Get("Docker-Content-Digest") == "" {
		return
	}
	h.Set("Docker-Content-Digest", d.String())
	if loc := h.Get("Location"); strings.Contains(loc, string(digest.SHA256)+":") {
		h.Set("Location", loc[:strings.LastIndexByte(loc, '/')+1]+d.String())
	}
}

// upload serves everything below blobs/uploads.
func (s *Server) upload(w http.ResponseWriter, r *http.Request, rt route) {
	if rt.ref != "" && isWrite(r) {
		if !s.uploads.take(rt.ref) {
			(&refusal{http.StatusConflict, "BLOB_UPLOAD_INVALID", "another request is writing this upload"}).write(w)
			return
		}
		defer s.uploads.leave(rt.ref)
	}
	q := r.URL.Query()
	keep := url.Values{}
	for _, key := range []string{"_state", "digest"} {
		if v := q.Get(key); v != "" {
			keep.Set(key, v)
		}
	}
	wanted := digest.Digest(keep.Get("digest"))
	var alias digest.Digest
	if r.Method == http.MethodPost {
		alias = s.mount(r.Context(), q, keep)
		wanted = alias
	}
	var h held
	defer h.leave()
	if r.Method != http.MethodPatch && isWrite(r) {
		if !s.lockAtEnd(w, r, &h) {
			return
		}
	}
	// a form is read by the library before it looks at the upload, and would be gone then
	r.Header.Del("Content-Type")
	s.pass(w, r, rt, keep, func(status int, head http.Header) *refusal {
		if status != http.StatusCreated || wanted == "" {
			return nil
		}
		if alias != "" {
			if err := s.link(r.Context(), rt.repo, layout.Layers, alias, head); err != nil {
				return s.broken(err)
			}
		}
		speakOf(head, wanted)
		return nil
	})
	if rt.ref != "" && isWrite(r) && refuse(r.Context()) != nil {
		s.discard(r.Context(), rt)
	}
}

// discard removes an upload that there is no room for, so that what failed does not take the room of what would not.
func (s *Server) discard(ctx context.Context, rt route) {
	if t, ok := ctx.Value(troubleKey{}).(*trouble); ok {
		t.end()
	}
	dir := layout.UploadDir(rt.repo, rt.ref)
	var size int64
	if fi, err := s.driver.Stat(ctx, dir+"/data"); err == nil {
		size = fi.Size()
	}
	if err := s.driver.Delete(ctx, dir); err != nil {
		if !isMissing(err) {
			s.log.Error("discarding an upload", "error", err.Error())
		}
		return
	}
	s.driver.used.Add(-size)
}

// lockAtEnd takes the shared lock when the body has been read, since that is when the library begins to commit.
func (s *Server) lockAtEnd(w http.ResponseWriter, r *http.Request, h *held) bool {
	take := func() error { return h.take(r.Context(), s.lock) }
	if b, ok := r.Body.(*body); ok {
		b.atEnd = take
		return true
	}
	if err := take(); err != nil {
		s.broken(err).write(w)
		return false
	}
	return true
}

// mount takes over what asks for a blob of another repository, and gives the digest that must become an alias.
func (s *Server) mount(ctx context.Context, q, keep url.Values) digest.Digest {
	d, from := digest.Digest(q.Get("mount")), q.Get("from")
	if d.Validate() != nil || len(from) > maxName || !namePattern.MatchString(from) {
		return ""
	}
	keep.Set("mount", d.String())
	keep.Set("from", from)
	if d.Algorithm() == digest.SHA256 {
		return ""
	}
	target, ok, err := layout.Resolve(ctx, s.driver, from, layout.Layers, d)
	if err != nil || !ok {
		keep.Del("mount") // an upload begins instead
		return ""
	}
	keep.Set("mount", target.String())
	return d
}

// link makes d an alias of the sha256 that the library's answer names.
func (s *Server) link(ctx context.Context, repo string, kind layout.Kind, d digest.Digest, head http.Header) error {
	target := digest.Digest(head.Get("Docker-Content-Digest"))
	if err := target.Validate(); err != nil {
		return fmt.Errorf("the answer names no digest: %w", err)
	}
	if target == d {
		return nil
	}
	return s.driver.PutContent(ctx, layout.Link(repo, kind, d), []byte(target))
}

// putManifest serves PUT of a manifest: bounds, other digests, and the note for the referrers API.
func (s *Server) putManifest(w http.ResponseWriter, r *http.Request, rt route) {
	if !s.access.allow(w, r, rt.repo, "pull", "push") {
		return
	}
	content, bad := s.readManifest(r)
	if bad != nil {
		bad.write(w)
		return
	}
	doc, err := parseDocument(content, s.limits.References)
	if err != nil {
		(&refusal{http.StatusBadRequest, "MANIFEST_INVALID", err.Error()}).write(w)
		return
	}
	used := digest.FromBytes(content)
	if rt.digest != "" {
		if rt.digest.Algorithm().FromBytes(content) != rt.digest {
			(&refusal{http.StatusBadRequest, "DIGEST_INVALID", "the manifest has another digest than the address"}).write(w)
			return
		}
		rt.ref, used = used.String(), rt.digest
	}
	var h held
	defer h.leave()
	if err := h.take(r.Context(), s.lock); err != nil {
		s.broken(err).write(w)
		return
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(content)), int64(len(content))
	s.pass(w, r, rt, nil, func(status int, head http.Header) *refusal {
		if status != http.StatusCreated {
			return nil
		}
		if err := s.link(r.Context(), rt.repo, layout.Manifests, used, head); err != nil {
			return s.broken(err)
		}
		speakOf(head, used)
		if doc.Subject == nil || doc.Subject.Digest.Validate() != nil {
			return nil
		}
		desc := doc.Descriptor(used, r.Header.Get("Content-Type"), len(content))
		if err := PutReferrer(r.Context(), s.driver, rt.repo, doc.Subject.Digest, desc); err != nil {
			return s.broken(err)
		}
		head.Set("OCI-Subject", doc.Subject.Digest.String())
		return nil
	})
}

func (s *Server) readManifest(r *http.Request) ([]byte, *refusal) {
	most := int64(s.limits.Manifest)
	tooLarge := &refusal{http.StatusRequestEntityTooLarge, "SIZE_INVALID", fmt.Sprintf("a manifest may have %d bytes", most)}
	if r.ContentLength > most {
		return nil, tooLarge
	}
	content, err := io.ReadAll(io.LimitReader(r.Body, most+1))
	switch {
	case errors.Is(err, errSlow):
		return nil, &refusal{http.StatusRequestTimeout, "MANIFEST_INVALID", err.Error()}
	case err != nil:
		return nil, &refusal{http.StatusBadRequest, "MANIFEST_INVALID", "the body ended early"}
	case int64(len(content)) > most:
		return nil, tooLarge
	}
	return content, nil
}

// remove serves DELETE of a manifest or a blob by digest: under all its digests, whichever the client used.
func (s *Server) remove(w http.ResponseWriter, r *http.Request, rt route, kind layout.Kind) {
	target := rt.digest
	if rt.digest.Algorithm() != digest.SHA256 {
		found, ok, err := layout.Resolve(r.Context(), s.driver, rt.repo, kind, rt.digest)
		if err != nil {
			s.broken(err).write(w)
			return
		}
		if ok {
			target = found
		}
	}
	rt.ref = target.String()
	var h held
	defer h.leave()
	if err := h.take(r.Context(), s.lock); err != nil {
		s.broken(err).write(w)
		return
	}
	s.pass(w, r, rt, nil, func(status int, _ http.Header) *refusal {
		if status != http.StatusAccepted {
			return nil
		}
		if err := s.unalias(r.Context(), rt.repo, kind, target); err != nil {
			return s.broken(err)
		}
		return nil
	})
}

// untag serves DELETE of a tag.
func (s *Server) untag(w http.ResponseWriter, r *http.Request, rt route) {
	var h held
	defer h.leave()
	if err := h.take(r.Context(), s.lock); err != nil {
		s.broken(err).write(w)
		return
	}
	s.pass(w, r, rt, nil, nil)
}

// unalias removes every link to target under another algorithm.
func (s *Server) unalias(ctx context.Context, repo string, kind layout.Kind, target digest.Digest) error {
	for _, a := range []digest.Algorithm{digest.SHA384, digest.SHA512} {
		dir := layout.Links(repo, kind, a)
		entries, err := s.driver.List(ctx, dir)
		if isMissing(err) {
			continue
		}
		if err != nil {
			return err
		}
		for _, entry := range entries {
			d, ok, err := layout.ReadLink(ctx, s.driver, entry+"/link")
			if err != nil {
				return err
			}
			if !ok || d != target {
				continue
			}
			if err := s.driver.Delete(ctx, entry); err != nil && !isMissing(err) {
				return err
			}
		}
	}
	return nil
}

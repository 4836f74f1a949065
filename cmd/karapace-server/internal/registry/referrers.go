package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/karapace/karapace/cmd/karapace-server/internal/layout"
)

// maxPage bounds one answer of the referrers API, in descriptors and in bytes.
const (
	maxPage      = 1000
	maxPageBytes = 4 << 20
)

// PutReferrer notes that a document refers to a subject.
func PutReferrer(ctx context.Context, d driver.StorageDriver, repo string, subject digest.Digest, desc v1.Descriptor) error {
	content, err := json.Marshal(desc)
	if err != nil {
		return err
	}
	return d.PutContent(ctx, layout.Referrer(repo, subject, desc.Digest), content)
}

// referrers answers GET /v2/REPO/referrers/DIGEST.
func (s *Server) referrers(w http.ResponseWriter, r *http.Request, rt route) {
	if !s.access.allow(w, r, rt.repo, "pull") {
		return
	}
	wanted, last := r.URL.Query().Get("artifactType"), r.URL.Query().Get("last")
	index := v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: []v1.Descriptor{}}
	index.SchemaVersion = 2
	next, err := s.page(r.Context(), rt, wanted, last, &index)
	if err != nil {
		s.log.Error("referrers", "repository", rt.repo, "error", err.Error())
		(&refusal{http.StatusInternalServerError, "UNKNOWN", "storage does not answer"}).write(w)
		return
	}
	if wanted != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	if next != "" {
		q := url.Values{"last": {next}}
		if wanted != "" {
			q.Set("artifactType", wanted)
		}
		w.Header().Set("Link", fmt.Sprintf(`</v2/%s/referrers/%s?%s>; rel="next"`, rt.repo, rt.digest, q.Encode()))
	}
	w.Header().Set("Content-Type", v1.MediaTypeImageIndex)
	_ = json.NewEncoder(w).Encode(index) // the client may be gone
}

// page fills an index with the referrers after last, and says where the next page begins, if there is one.
func (s *Server) page(ctx context.Context, rt route, wanted, last string, index *v1.Index) (string, error) {
	entries, err := s.driver.List(ctx, layout.Referrers(rt.repo, rt.digest))
	if isMissing(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	slices.Sort(entries)
	size, previous := 0, ""
	for _, entry := range entries {
		if path.Base(entry) <= last {
			continue
		}
		desc, n, err := s.referrer(ctx, rt, entry)
		if err != nil {
			return "", err
		}
		if desc == nil || wanted != "" && desc.ArtifactType != wanted {
			continue
		}
		if len(index.Manifests) == maxPage || len(index.Manifests) > 0 && size+n > maxPageBytes {
			return previous, nil
		}
		index.Manifests = append(index.Manifests, *desc)
		size, previous = size+n, path.Base(entry)
	}
	return "", nil
}

// referrer reads one entry. It gives nil where the manifest is gone; collecting garbage removes such entries.
func (s *Server) referrer(ctx context.Context, rt route, entry string) (*v1.Descriptor, int, error) {
	_, _, d, ok := layout.ParseReferrer(entry)
	if !ok {
		return nil, 0, nil
	}
	if _, exists, err := layout.Resolve(ctx, s.driver, rt.repo, layout.Manifests, d); err != nil || !exists {
		return nil, 0, err
	}
	content, err := s.driver.GetContent(ctx, entry)
	if isMissing(err) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	var desc v1.Descriptor
	if err := json.Unmarshal(content, &desc); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", entry, err)
	}
	return &desc, len(content), nil
}

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/karapace/karapace/cmd/karapace-server/internal/config"
	"github.com/karapace/karapace/cmd/karapace-server/internal/layout"
)

// list fetches all pages of referrers.
func list(t *testing.T, s *testServer, path string) (all []v1.Descriptor, pages int) {
	t.Helper()
	for path != "" {
		a := s.do("GET", path, nil).want(t, 200)
		var index v1.Index
		if err := json.Unmarshal(a.body, &index); err != nil || index.MediaType != v1.MediaTypeImageIndex || a.header.Get("Content-Type") != v1.MediaTypeImageIndex {
			t.Fatalf("%v %s", err, a.body)
		}
		all, pages = append(all, index.Manifests...), pages+1
		path, _, _ = strings.Cut(strings.TrimPrefix(a.header.Get("Link"), "<"), ">")
	}
	return all, pages
}

func TestReferrers(t *testing.T) {
	s := start(t, nil)
	subject := v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: digest.FromBytes(s.push("app", "v1", "text")), Size: 1}
	path := "/v2/app/referrers/" + subject.Digest.String()
	if a := s.do("GET", path, nil); !strings.Contains(string(a.body), `"manifests":[]`) {
		t.Errorf("before: %s", a.body)
	}
	cfg := s.blob("app", []byte("{}"))
	for _, kind := range []string{"application/x-one", "application/x-two"} {
		cfg.MediaType = kind
		m := image(cfg, &subject)
		if a := s.put("app", digest.FromBytes(m).String(), m).want(t, 201); a.header.Get("OCI-Subject") != subject.Digest.String() {
			t.Error("no OCI-Subject")
		}
	}
	if all, _ := list(t, s, path); len(all) != 2 {
		t.Errorf("%v", all)
	}
	one, _ := list(t, s, path+"?artifactType=application/x-one")
	if len(one) != 1 || one[0].ArtifactType != "application/x-one" {
		t.Fatalf("%v", one)
	}
	s.do("DELETE", "/v2/app/manifests/"+one[0].Digest.String(), nil).want(t, 202)
	if all, _ := list(t, s, path); len(all) != 1 {
		t.Errorf("a referrer that was deleted is listed: %v", all)
	}
	if all, _ := list(t, s, "/v2/other/referrers/"+subject.Digest.String()); len(all) != 0 {
		t.Errorf("another repository: %v", all)
	}
}

func TestReferrersInPages(t *testing.T) {
	s := start(t, nil)
	subject := digest.FromString("subject")
	for i := range 1010 { // in files: pushing them takes long
		d := digest.FromString(fmt.Sprint(i))
		content, err := json.Marshal(v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: d, Size: 1, ArtifactType: []string{"a", "b"}[i%2]})
		if err != nil {
			t.Fatal(err)
		}
		for p, c := range map[string][]byte{layout.Referrer("app", subject, d): content, layout.Link("app", layout.Manifests, d): []byte(d)} {
			p = filepath.Join(s.c.Storage.Path, p)
			if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(p, c, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if all, pages := list(t, s, "/v2/app/referrers/"+subject.String()); len(all) != 1010 || pages != 2 {
		t.Errorf("%d in %d pages", len(all), pages)
	}
	if all, _ := list(t, s, "/v2/app/referrers/"+subject.String()+"?artifactType=b"); len(all) != 505 {
		t.Errorf("%d of one type", len(all))
	}
}

func TestHealthAndMetrics(t *testing.T) {
	s := start(t, func(c *config.Config) { c.MetricsListen = "127.0.0.1:0" })
	side := s.metrics
	s.push("app", "v1", "text")
	for _, path := range []string{"/healthz", "/readyz", "http://" + side + "/healthz"} {
		s.do("GET", path, nil).want(t, 200)
	}
	s.do("GET", "/metrics", nil).want(t, 404) // not where clients are
	text := string(s.do("GET", "http://"+side+"/metrics", nil).want(t, 200).body)
	for _, line := range []string{`(?m)^karapace_server_requests_total\{code="201",method="PUT",part="manifest"\} 1$`, `(?m)^karapace_server_requests_running \d`, `(?m)^karapace_server_stored_bytes \d+`, `(?m)^registry_storage_action_seconds_count`, `(?m)^process_open_fds`} {
		if !regexp.MustCompile(line).MatchString(text) {
			t.Errorf("no %s", line)
		}
	}
	if err := os.Rename(s.c.Storage.Path, s.c.Storage.Path+".away"); err != nil {
		t.Fatal(err)
	}
	s.do("GET", "/healthz", nil).want(t, 200)
	s.do("GET", "/readyz", nil).want(t, 503)
	if err := os.Rename(s.c.Storage.Path+".away", s.c.Storage.Path); err != nil {
		t.Fatal(err)
	}
}

// Requests that are no requests of the API get its form of error, and nothing from the log can be forged.
func TestErrorsAreJSON(t *testing.T) {
	s := start(t, nil)
	for _, path := range []string{"/", "/v1/", "/v2/x", "/v2/UPPER/tags/list", "/v2/a/blobs/sha256:zz", "/v2/a/manifests/none"} {
		a := s.do("GET", path, nil)
		var body struct{ Errors []struct{ Code string } }
		if err := json.Unmarshal(a.body, &body); err != nil || len(body.Errors) != 1 || body.Errors[0].Code == "" || a.status/100 != 4 {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	resp, err := http.Get(s.url + "/v2/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err != nil || resp.Header.Get("X-Request-Id") == "" {
		t.Error("no request id")
	}
}

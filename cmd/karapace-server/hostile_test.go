package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/karapace/karapace/cmd/karapace-server/internal/config"
)

// tree lists everything below a directory.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		all = append(all, p)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// raw sends a request line as it is.
func raw(t *testing.T, s *testServer, method, target, body string) int {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: evil.example\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", method, target, len(body), body)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	return resp.StatusCode
}

// No field of a request leads out of where it belongs, or to anything being written.
func TestTraversal(t *testing.T) {
	outer := t.TempDir()
	canary := filepath.Join(outer, "canary")
	if err := os.WriteFile(canary, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, func(c *config.Config) { c.Storage.Path = filepath.Join(outer, "store") })
	s.push("app", "v1", "text")
	before := tree(t, outer)
	zeros := strings.Repeat("0", 64)
	good := "sha256:" + zeros
	up := "0f0f0f0f-0000-4000-8000-00000000000"
	evil := []string{
		"../../canary", "..%2f..%2fcanary", "%2e%2e/%2e%2e/canary", "..\\..\\canary", "/etc/passwd", "%2fetc%2fpasswd", "a%00b", "a%0ab", "..", ".", "%2e%2e", "....//....//canary",
		"app/../../../canary", "app%2f..%2fapp", "_uploads", "_manifests", "app/_layers", "A", "app/", "-app", "app//b", "ａ", strings.Repeat("a/", 200) + "a",
	}
	for _, e := range evil {
		for _, target := range []string{
			"/v2/" + e + "/manifests/v1", "/v2/" + e + "/tags/list", "/v2/" + e + "/blobs/" + good, "/v2/" + e + "/blobs/uploads/", "/v2/" + e + "/referrers/" + good,
			"/v2/app/manifests/" + e, "/v2/app/manifests/sha256:" + e, "/v2/app/blobs/" + e, "/v2/app/blobs/sha256:" + e, "/v2/app/blobs/" + e + ":" + zeros,
			"/v2/app/blobs/uploads/" + e, "/v2/app/blobs/uploads/" + e + "?_state=x&digest=" + good, "/v2/app/referrers/" + e, "/v2/app/referrers/sha256:" + e,
			"/v2/app/blobs/uploads/" + up + "?_state=" + e, "/v2/app/blobs/uploads/" + up + "?digest=" + e,
		} {
			for _, method := range []string{"GET", "PUT", "DELETE", "PATCH", "POST"} {
				if target == "/v2/app/manifests/_uploads" || target == "/v2/app/manifests/_manifests" || target == "/v2/app/manifests/A" {
					continue // names of tags
				}
				if status := raw(t, s, method, target, "{}"); status < 400 || status >= 500 {
					t.Errorf("%s %s: %d", method, target, status)
				}
			}
		}
	}
	if after := tree(t, outer); !slices.Equal(before, after) {
		t.Errorf("files came or went: %d before, %d after", len(before), len(after))
	}
	for _, e := range evil { // what cannot be mounted begins an upload, or is refused
		if status := raw(t, s, "POST", "/v2/app/blobs/uploads/?mount="+good+"&from="+e, ""); status != 202 && (status < 400 || status >= 500) {
			t.Errorf("mount from %s: %d", e, status)
		}
	}
	if _, err := os.Stat(canary); err != nil {
		t.Error(err)
	}
}

func TestDigests(t *testing.T) {
	s := start(t, nil)
	right := digest.FromString("content")
	upper := "sha256:" + strings.ToUpper(right.Encoded())
	for _, bad := range []string{digest.FromString("other").String(), upper, "md5:9a0364b9e99bb480dd25e1f0284c8555", "sha256:", "sha256:" + right.Encoded()[:63], "SHA256:" + right.Encoded(), "sha256+b64:" + right.Encoded(), ""} {
		if a := s.do("PUT", s.begin("r")+"&digest="+bad, strings.NewReader("content")); a.status != 400 {
			t.Errorf("%s: %d", bad, a.status)
		}
	}
	s.do("GET", "/v2/r/blobs/"+right.String(), nil).want(t, 404)
	for _, a := range []digest.Algorithm{digest.SHA256, digest.SHA384, digest.SHA512} {
		d := a.FromString("content")
		wrong := a.FromString("other")
		s.do("PUT", withDigest(s.begin("r"), wrong), strings.NewReader("content")).want(t, 400)
		put := s.do("PUT", withDigest(s.begin("r"), d), strings.NewReader("content")).want(t, 201)
		if got := put.header.Get("Docker-Content-Digest"); got != d.String() {
			t.Errorf("stored %s as %s", d, got)
		}
		if got := s.do("GET", put.header.Get("Location"), nil).want(t, 200); string(got.body) != "content" {
			t.Errorf("%s: %q", d, got.body)
		}
		s.do("GET", "/v2/r/blobs/"+wrong.String(), nil).want(t, 404)
	}
	// whichever of its digests is deleted, the content is gone under all
	s.do("DELETE", "/v2/r/blobs/"+digest.SHA512.FromString("content").String(), nil).want(t, 202)
	for _, a := range []digest.Algorithm{digest.SHA256, digest.SHA384, digest.SHA512} {
		s.do("GET", "/v2/r/blobs/"+a.FromString("content").String(), nil).want(t, 404)
	}
}

// What is sent as a form must arrive all the same: the library would read it as parameters.
func TestFormIsContent(t *testing.T) {
	s := start(t, nil)
	const form = "digest=x&from=secret&mount=y"
	s.do("PUT", withDigest(s.begin("r"), digest.FromString(form)), strings.NewReader(form), "Content-Type", "application/x-www-form-urlencoded").want(t, 201)
	s.do("POST", "/v2/r/blobs/uploads/", strings.NewReader("from=r&mount="+digest.FromString(form).String()), "Content-Type", "application/x-www-form-urlencoded").want(t, 202)
}

func TestHostileManifests(t *testing.T) {
	s := start(t, func(c *config.Config) { c.Limits.References = 50 })
	cfg := s.blob("r", []byte("{}"))
	layer := s.blob("r", []byte("layer"))
	many := image(cfg, nil, slices.Repeat([]v1.Descriptor{layer}, 60)...)
	s.put("r", "many", many).want(t, 400)
	s.put("r", "huge", append(image(cfg, nil, layer), bytes.Repeat([]byte(" "), 4<<20)...)).want(t, 413)
	s.do("PUT", "/v2/r/manifests/endless", endless{}, "Content-Type", v1.MediaTypeImageManifest).want(t, 413)
	missing := v1.Descriptor{MediaType: v1.MediaTypeImageLayer, Digest: digest.FromString("nowhere"), Size: 7}
	s.put("r", "missing", image(cfg, nil, missing)).want(t, 400)
	for name, bad := range map[string]string{
		"empty": "", "null": "null", "list": "[]", "text": "x", "deep": strings.Repeat("[", 100_000), "old": `{"schemaVersion":1}`,
		"path": `{"schemaVersion":2,"mediaType":"` + v1.MediaTypeImageManifest + `","config":{"mediaType":"x","digest":"sha256:../../x","size":1},"layers":[]}`,
	} {
		if a := s.put("r", "t", []byte(bad)); a.status != 400 {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	other := digest.FromString("other").String()
	s.put("r", other, image(cfg, nil, layer)).want(t, 400)
	s.do("GET", "/v2/r/manifests/"+other, nil).want(t, 404)
	if a := s.do("GET", "/v2/r/tags/list", nil); strings.Contains(string(a.body), "many") || strings.Contains(string(a.body), "huge") {
		t.Errorf("refused manifests have tags: %s", a.body)
	}
}

// endless is a body without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '['
	}
	return len(p), nil
}

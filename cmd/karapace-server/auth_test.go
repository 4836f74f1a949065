package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/karapace-server/internal/config"
)

// users makes a file of users whose passwords are their names and "pw".
func users(t *testing.T, names ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "users")
	for _, name := range names {
		if err := setPassword(file, name, []byte(name+"pw")); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

func TestHtpasswd(t *testing.T) {
	file := users(t, "ci", "ann")
	s := start(t, func(c *config.Config) {
		c.Auth = config.Auth{Kind: "htpasswd", Htpasswd: file, Pushers: []string{"ci"}}
	})
	s.user = "ci:cipw"
	s.push("app", "v1", "text")
	s.user = ""
	layer := "/v2/app/blobs/" + digest.FromString("text").String()
	referrers := "/v2/app/referrers/" + digest.FromString("text").String()

	paths := []string{"/v2/", "/v2/_catalog", "/v2/app/tags/list", "/v2/app/manifests/v1", layer, referrers, "/v2/app/blobs/uploads/"}
	for _, path := range paths {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
			if a := s.do(method, path, nil); a.status != 401 && a.status != 405 {
				t.Errorf("%s %s: %d", method, path, a.status)
			}
		}
	}
	for user, path := range map[string]string{":": "/v2/", "ci:": layer, "ci:wrong": referrers, "CI:cipw": layer, "nobody:nobodypw": "/v2/", "ann:cipw": referrers} {
		s.user = user
		s.do("GET", path, nil).want(t, 401)
	}
	s.user = "ann:annpw"
	s.do("GET", layer, nil).want(t, 200)
	s.do("GET", referrers, nil).want(t, 200)
	for _, bad := range [][2]string{{"POST", "/v2/app/blobs/uploads/"}, {"DELETE", layer}, {"DELETE", "/v2/app/manifests/v1"}, {"PUT", "/v2/app/manifests/v2"}, {"POST", "/v2/mine/blobs/uploads/?from=app&mount=" + digest.FromString("text").String()}} {
		if a := s.do(bad[0], bad[1], strings.NewReader("{}"), "Content-Type", "application/vnd.oci.image.manifest.v1+json"); a.status != 403 {
			t.Errorf("%s %s: %d %s", bad[0], bad[1], a.status, a.body)
		}
	}
	// a password that changes holds at once, and so does its absence
	if err := setPassword(file, "ann", []byte("other")); err != nil {
		t.Fatal(err)
	}
	s.do("GET", layer, nil).want(t, 401)
	s.user = "ann:other"
	s.do("GET", layer, nil).want(t, 200)
}

// Other spellings of the same must neither be let in nor keep anybody out.
func TestAuthSpellings(t *testing.T) {
	s := start(t, func(c *config.Config) {
		c.Auth = config.Auth{Kind: "htpasswd", Htpasswd: users(t, "ci"), AnonymousPull: true, Pushers: []string{"ci"}}
	})
	s.user = "ci:cipw"
	s.push("app", "v1", "text")
	s.user = ""
	if a := s.do("GET", "/v2/", nil).want(t, 200); a.header.Get("WWW-Authenticate") == "" {
		t.Error("clients that log in learn nothing from the ping")
	}
	accept := []string{"Accept", "application/vnd.oci.image.manifest.v1+json"}
	s.do("GET", "/v2/app/manifests/v1", nil, accept...).want(t, 200)
	s.do("GET", "/v2/_catalog", nil).want(t, 401)
	s.user = ":"
	s.do("GET", "/v2/app/manifests/v1", nil, accept...).want(t, 200)
	s.user = ""

	basic := "Y2k6Y2lwdw==" // ci:cipw
	s.do("POST", "/v2/app/blobs/uploads/", nil, "authorization", "bAsIc "+basic).want(t, 202)
	for _, header := range [][]string{
		nil, {"Authorization", "Basic"}, {"Authorization", "Bearer " + basic}, {"Authorization", "Basic " + basic + "x"}, {"Proxy-Authorization", "Basic " + basic},
		{"X-HTTP-Method-Override", "GET"}, {"X-Forwarded-User", "ci"}, {"X-Original-Method", "GET"}, {"Referer", s.url},
	} {
		if a := s.do("POST", "/v2/app/blobs/uploads/", nil, header...); a.status != 401 {
			t.Errorf("%v: %d", header, a.status)
		}
	}
	for _, method := range []string{"post", "Post", "PROPFIND", "OPTIONS", "TRACE", "CONNECT", "GETX", "put", "delete"} {
		if a := s.do(method, "/v2/app/manifests/v1", nil); a.status != 405 && a.status != 400 && a.status != 404 {
			t.Errorf("%s: %d", method, a.status)
		}
	}
	s.do("GET", "/v2/app/manifests/v1?_method=DELETE", nil, accept...).want(t, 200)
	s.do("GET", "/v2/app/manifests/v1", nil, accept...).want(t, 200)
}

func TestPasswd(t *testing.T) {
	file := users(t, "a", "b")
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := setPassword(file, "a", []byte("new")); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(file)
	if err != nil || strings.Count(string(content), "\n") != 2 || strings.Count(string(content), "a:$2") != 1 {
		t.Errorf("%v\n%s", err, content)
	}
	if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o640 {
		t.Errorf("mode %v %v", fi.Mode(), err)
	}
	for _, bad := range []string{"", "a:b", "a\nb", "#a"} {
		if err := setPassword(file, bad, []byte("x")); err == nil {
			t.Errorf("user %q was taken", bad)
		}
	}
	for _, bad := range []string{"", "\n", strings.Repeat("x", 73)} {
		if _, err := readPassword(strings.NewReader(bad)); err == nil {
			t.Errorf("password of %d bytes was taken", len(bad))
		}
	}
}

package main

import (
	"bytes"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/karapace-server/internal/collect"
	"github.com/karapace/karapace/cmd/karapace-server/internal/config"
)

// onBucket makes a server's storage a bucket in memory.
func onBucket(t *testing.T) func(*config.Config) {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("bucket"); err != nil {
		t.Fatal(err)
	}
	fake := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(fake.Close)
	return func(c *config.Config) {
		c.Storage.Kind, c.Storage.Path = "s3", ""
		c.Storage.LockFile = filepath.Join(t.TempDir(), "lock")
		c.Storage.S3 = config.S3{Bucket: "bucket", Region: "us-east-1", Endpoint: fake.URL, AccessKey: "a", SecretKey: "b", PathStyle: true, Prefix: "registry"}
	}
}

// Everything works on a bucket too: in pieces, under other digests, and garbage is collected.
func TestS3(t *testing.T) {
	s := start(t, onBucket(t))
	s.push("app", "v1", "text")
	if err := s.whole("app", "v1"); err != nil {
		t.Fatal(err)
	}
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	long := digest.SHA512.FromBytes(big)
	location := s.do("PATCH", s.begin("app"), bytes.NewReader(big[:1<<21])).want(t, 202).header.Get("Location")
	s.do("PUT", withDigest(location, long), bytes.NewReader(big[1<<21:])).want(t, 201)
	if a := s.do("GET", "/v2/app/blobs/"+long.String(), nil).want(t, 200); !bytes.Equal(a.body, big) {
		t.Error("other bytes came back")
	}
	r := gcNow(t, s.c.Storage, func(o *collect.Options) { o.Now = time.Now().Add(time.Minute) })
	if kinds(r) != "blob link link" {
		t.Errorf("removed %s", kinds(r))
	}
	s.do("GET", "/v2/app/blobs/"+long.String(), nil).want(t, 404)
	if err := s.whole("app", "v1"); err != nil {
		t.Error(err)
	}
}

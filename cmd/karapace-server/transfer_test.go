package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/karapace-server/internal/config"
)

func TestPushPull(t *testing.T) {
	s := start(t, nil)
	m := s.push("team/app", "v1", "layer")
	if err := s.whole("team/app", "v1"); err != nil {
		t.Fatal(err)
	}
	byDigest := s.do("HEAD", "/v2/team/app/manifests/"+digest.FromBytes(m).String(), nil, "Accept", "application/vnd.oci.image.manifest.v1+json").want(t, 200)
	if got := byDigest.header.Get("Docker-Content-Digest"); got != digest.FromString(string(m)).String() {
		t.Errorf("digest %s", got)
	}
	layer := digest.FromString("layer").String()
	part := s.do("GET", "/v2/team/app/blobs/"+layer, nil, "Range", "bytes=1-3").want(t, 206)
	if string(part.body) != "aye" {
		t.Errorf("range: %q", part.body)
	}
	s.do("POST", "/v2/other/app/blobs/uploads/?mount="+layer+"&from=team/app", nil).want(t, 201)
	s.do("GET", "/v2/other/app/blobs/"+layer, nil).want(t, 200)
	s.do("GET", "/v2/third/app/blobs/"+layer, nil).want(t, 404)
}

// An upload whose connection breaks goes on where the server says, after a restart of the server too.
func TestResume(t *testing.T) {
	dir := t.TempDir()
	s := start(t, func(c *config.Config) { c.Storage.Path = dir })
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
	location := s.begin("r")
	breakOff(t, s, location, content[:100_000])
	status := s.do("GET", location, nil)
	for i := 0; status.header.Get("Range") == "0-0" && i < 100; i++ { // the server notices the break in its own time
		time.Sleep(10 * time.Millisecond)
		status = s.do("GET", location, nil)
	}
	status.want(t, 204)
	s.halt()

	s = start(t, func(c *config.Config) { c.Storage.Path = dir })
	status = s.do("GET", status.header.Get("Location"), nil).want(t, 204)
	var last int
	if _, err := fmt.Sscanf(status.header.Get("Range"), "0-%d", &last); err != nil || last < 1000 {
		t.Fatalf("range %q: %v", status.header.Get("Range"), err)
	}
	rest := content[last+1:]
	d := digest.FromBytes(content)
	s.do("PUT", withDigest(status.header.Get("Location"), d), bytes.NewReader(rest), "Content-Range", fmt.Sprintf("%d-%d", last+1, len(content)-1)).want(t, 201)
	if got := s.do("GET", "/v2/r/blobs/"+d.String(), nil).want(t, 200); !bytes.Equal(got.body, content) {
		t.Error("other bytes came back")
	}
}

// breakOff sends the beginning of a body and then nothing more.
func breakOff(t *testing.T, s *testServer, location string, content []byte) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n", location, 2*len(content))
	if _, err := conn.Write(content); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
}

// A server that is told to stop takes no new requests, and ends when its transfers have.
func TestGracefulStop(t *testing.T) {
	s := start(t, nil)
	location := s.begin("r")
	r, w := io.Pipe()
	result := make(chan answer, 1)
	go func() {
		a, _ := s.try("PATCH", location, r)
		result <- a
	}()
	if _, err := w.Write([]byte("first")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	s.stop()
	time.Sleep(200 * time.Millisecond)
	if c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://")); err == nil {
		c.Close()
		t.Error("still takes connections")
	}
	if _, err := w.Write([]byte(" and last")); err != nil {
		t.Fatal("the transfer was cut: ", err)
	}
	w.Close()
	if a := <-result; a.status != 202 || a.header.Get("Range") != "0-13" {
		t.Errorf("status %d, range %s", a.status, a.header.Get("Range"))
	}
}

func TestConcurrentUploadsOfOneBlob(t *testing.T) {
	s := start(t, nil)
	content := bytes.Repeat([]byte("same"), 1<<16)
	d := digest.FromBytes(content)
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			location := s.begin(fmt.Sprintf("r%d", i%3))
			if a, err := s.try("PUT", withDigest(location, d), bytes.NewReader(content)); err != nil || a.status != 201 {
				t.Errorf("%d %v %s", a.status, err, a.body)
			}
		})
	}
	all.Wait()
	for i := range 3 {
		if a := s.do("GET", fmt.Sprintf("/v2/r%d/blobs/%s", i, d), nil).want(t, 200); !bytes.Equal(a.body, content) {
			t.Error("other bytes came back")
		}
	}
}

// Two requests that write one upload at once could leave bytes under the digest of others.
func TestOneWriterAnUpload(t *testing.T) {
	s := start(t, nil)
	location := s.begin("r")
	r, w := io.Pipe()
	done := make(chan answer, 1)
	go func() {
		a, _ := s.try("PATCH", location, r)
		done <- a
	}()
	if _, err := w.Write([]byte("mine")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	s.do("PATCH", location, strings.NewReader("evil")).want(t, http.StatusConflict)
	s.do("PUT", withDigest(location, digest.FromString("evil")), strings.NewReader("evil")).want(t, http.StatusConflict)
	s.do("DELETE", location, nil).want(t, http.StatusConflict)
	w.Close()
	a := (<-done).want(t, 202)
	s.do("PUT", withDigest(a.header.Get("Location"), digest.FromString("mine")), nil).want(t, 201)
	if got := s.do("GET", "/v2/r/blobs/"+digest.FromString("mine").String(), nil).want(t, 200); string(got.body) != "mine" {
		t.Errorf("%q", got.body)
	}
}

// What stands still or trickles is cut off, header and body alike.
func TestSlowClients(t *testing.T) {
	s := start(t, func(c *config.Config) { c.Limits.Stall = config.Duration(time.Second) })
	location := s.begin("r")
	for name, first := range map[string]string{
		"header": "GET /v2/ HTTP/1.1\r\nHost: x\r\n",
		"body":   "PATCH " + location + " HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nabc",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
			defer cancel()
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(s.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, first); err != nil {
				t.Fatal(err)
			}
			go func() { // a byte now and then must not help
				for ctx.Err() == nil {
					time.Sleep(300 * time.Millisecond)
					if _, err := io.WriteString(conn, "x"); err != nil {
						return
					}
				}
			}()
			begun := time.Now()
			_ = conn.SetReadDeadline(begun.Add(7 * time.Second))
			if _, err := io.ReadAll(conn); err != nil && !strings.Contains(err.Error(), "reset") {
				t.Fatalf("after %s: %v", time.Since(begun), err)
			}
			if passed := time.Since(begun); passed > 6*time.Second {
				t.Errorf("took %s", passed)
			}
		})
	}
}

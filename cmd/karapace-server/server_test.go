package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/karapace/karapace/cmd/karapace-server/internal/config"
)

// testServer is a whole server in this process.
type testServer struct {
	t       *testing.T
	c       config.Config
	url     string
	metrics string
	stop    context.CancelFunc
	ended   chan error
	client  *http.Client
	once    sync.Once
	user    string // user:password, if any
}

// start serves until the test ends. Files are in a directory of the test's own unless change says otherwise.
func start(t *testing.T, change func(*config.Config)) *testServer {
	t.Helper()
	c := config.Default()
	c.Listen, c.Storage.Path = "127.0.0.1:0", t.TempDir()
	if change != nil {
		change(&c)
	}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	s := &testServer{t: t, c: c, stop: cancel, ended: make(chan error, 1), client: &http.Client{Timeout: time.Minute}}
	go func() {
		err := serve(ctx, c, w)
		_ = w.CloseWithError(io.EOF)
		s.ended <- err
	}()
	address := make(chan [2]string, 1)
	go watch(r, address)
	select {
	case a := <-address:
		s.url, s.metrics = "http://"+a[0], a[1]
		if c.TLS.Certificate != "" {
			s.url = "https://" + a[0]
		}
	case err := <-s.ended:
		t.Fatal("the server ended: ", err)
	case <-time.After(20 * time.Second):
		t.Fatal("the server does not start")
	}
	t.Cleanup(func() { s.halt() })
	return s
}

// watch reads the log for the addresses of the API and of the metrics.
func watch(r io.Reader, address chan<- [2]string) {
	var metrics string
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var entry struct{ Msg, Address string }
		if json.Unmarshal(lines.Bytes(), &entry) != nil {
			continue
		}
		switch entry.Msg {
		case "metrics":
			metrics = entry.Address
		case "serving":
			address <- [2]string{entry.Address, metrics}
		}
	}
}

func (s *testServer) halt() { s.once.Do(s.haltNow) }

func (s *testServer) haltNow() {
	s.client.CloseIdleConnections()
	s.stop()
	select {
	case err := <-s.ended:
		if err != nil {
			s.t.Error("the server ended badly: ", err)
		}
	case <-time.After(20 * time.Second):
		s.t.Error("the server does not stop")
	}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do sends a request; header is pairs.
func (s *testServer) do(method, path string, body io.Reader, header ...string) answer {
	s.t.Helper()
	a, err := s.try(method, path, body, header...)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

func (s *testServer) try(method, path string, body io.Reader, header ...string) (answer, error) {
	if !strings.HasPrefix(path, "http") {
		path = s.url + path
	}
	req, err := http.NewRequest(method, path, body)
	if err != nil {
		return answer{}, err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	if user, password, ok := strings.Cut(s.user, ":"); ok {
		req.SetBasicAuth(user, password)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, content}, err
}

// want fails the test unless the status is as said.
func (a answer) want(t *testing.T, status int) answer {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d, not %d: %.300s", a.status, status, a.body)
	}
	return a
}

// begin starts an upload and gives its address, ready for more of the query.
func (s *testServer) begin(repo string) string {
	s.t.Helper()
	return s.do("POST", "/v2/"+repo+"/blobs/uploads/", nil).want(s.t, 202).header.Get("Location")
}

func withDigest(location string, d digest.Digest) string {
	mark := "?"
	if strings.Contains(location, "?") {
		mark = "&"
	}
	return location + mark + "digest=" + d.String()
}

// blob uploads content whole.
func (s *testServer) blob(repo string, content []byte) v1.Descriptor {
	s.t.Helper()
	d := digest.FromBytes(content)
	s.do("PUT", withDigest(s.begin(repo), d), bytes.NewReader(content)).want(s.t, 201)
	return v1.Descriptor{MediaType: v1.MediaTypeImageLayer, Digest: d, Size: int64(len(content))}
}

// image makes a manifest of a configuration and layers that are there.
func image(cfg v1.Descriptor, subject *v1.Descriptor, layers ...v1.Descriptor) []byte {
	m := v1.Manifest{MediaType: v1.MediaTypeImageManifest, Config: cfg, Layers: layers, Subject: subject}
	m.SchemaVersion = 2
	if m.Layers == nil {
		m.Layers = []v1.Descriptor{}
	}
	content, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return content
}

func (s *testServer) put(repo, ref string, manifest []byte) answer {
	s.t.Helper()
	return s.do("PUT", "/v2/"+repo+"/manifests/"+ref, bytes.NewReader(manifest), "Content-Type", v1.MediaTypeImageManifest)
}

// push uploads an image whose layer says text, and gives its manifest.
func (s *testServer) push(repo, tag, text string) []byte {
	s.t.Helper()
	cfg := s.blob(repo, []byte(`{"text":"`+text+`"}`))
	cfg.MediaType = v1.MediaTypeImageConfig
	m := image(cfg, nil, s.blob(repo, []byte(text)))
	s.put(repo, tag, m).want(s.t, 201)
	return m
}

// whole fetches an image and everything it needs, and checks every digest.
func (s *testServer) whole(repo, ref string) error {
	a, err := s.try("GET", "/v2/"+repo+"/manifests/"+ref, nil, "Accept", v1.MediaTypeImageManifest)
	if err != nil || a.status != 200 {
		return fmt.Errorf("%s:%s: %d %v", repo, ref, a.status, err)
	}
	var m v1.Manifest
	if err := json.Unmarshal(a.body, &m); err != nil {
		return err
	}
	for _, desc := range append(m.Layers, m.Config) {
		a, err := s.try("GET", "/v2/"+repo+"/blobs/"+desc.Digest.String(), nil)
		if err != nil || a.status != 200 || desc.Digest.Algorithm().FromBytes(a.body) != desc.Digest {
			return fmt.Errorf("%s:%s needs %s: %d %v", repo, ref, desc.Digest, a.status, err)
		}
	}
	return nil
}

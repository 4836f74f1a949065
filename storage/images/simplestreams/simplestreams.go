// Package simplestreams finds base systems at image servers: a name like debian/bookworm becomes the URL, digest and
// size of one file.
//
// A server has streams/v1/index.json, which names lists of products (simplestreams formats "index:1.0" and
// "products:1.0"). A product is one release for one architecture; LXC's servers call it "debian:bookworm:amd64:default",
// Ubuntu's "com.ubuntu.cloud:server:24.04:amd64". It has versions, named by their date, and these have items, which are
// files with their digests.
//
// What a server says is hostile until checked: documents are bounded and read one product at a time, every path stays
// below the server's URL, and an item is only a digest for somebody else to verify. With a key ring, every document has
// to be signed.
package simplestreams

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/karapace/karapace/manifest/distro"
	"github.com/karapace/karapace/manifest/distro/aptrepo"
	"github.com/karapace/karapace/manifest/distro/pgp"
)

// DefaultServer is asked where the configuration names no image server: the one of the LXC project.
const DefaultServer = "https://images.linuxcontainers.org"

// Query asks for the newest image of a release.
type Query struct {
	Distro  string // as manifest.BaseRef has it
	Release string // code name or number; "" and "leap" are the newest that the server has
	Arch    string // a GOARCH name
}

func (q Query) String() string { return strings.TrimSuffix(q.Distro+"/"+q.Release, "/") }

// Item is one file of a server: the root file system of an image, as tar.xz or squashfs.
type Item struct {
	URL     string // of this version; what it serves does not change
	SHA256  string // hexadecimal
	Size    int64  // bytes
	Product string
	Version string
}

// Servers are image servers, in the order they are asked.
type Servers struct {
	URLs    []string
	Keys    pgp.KeyRing // empty: no signatures are asked for
	Fetcher distro.Fetcher
}

// Resolve finds the image at the first server that has it. The error tells of every server.
func (s *Servers) Resolve(ctx context.Context, q Query) (*Item, error) {
	var failures []error
	for _, u := range s.URLs {
		item, err := s.at(u).find(ctx, q)
		if err == nil {
			return item, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		failures = append(failures, fmt.Errorf("image server %s: %w", u, err))
	}
	return nil, errors.Join(failures...)
}

func (s *Servers) at(url string) *server {
	return &server{base: strings.TrimRight(url, "/"), keys: s.Keys, fetcher: s.Fetcher}
}

type server struct {
	base    string
	keys    pgp.KeyRing
	fetcher distro.Fetcher
}

func (s *server) find(ctx context.Context, q Query) (*Item, error) {
	text, err := s.index(ctx)
	if err != nil {
		return nil, err
	}
	paths, err := parseIndex(text)
	if err != nil {
		return nil, err
	}
	best := search{query: q}
	for _, path := range paths {
		text, err := s.document(ctx, path)
		if err != nil {
			return nil, err
		}
		if err := best.read(text); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	item, err := best.item()
	if err != nil {
		return nil, err
	}
	item.URL = s.base + "/" + item.URL
	return item, nil
}

const indexPath = "streams/v1/index"

// index reads what a server has. One that must be signed is looked for in both forms.
func (s *server) index(ctx context.Context) ([]byte, error) {
	if !s.keys.Empty() {
		text, err := s.document(ctx, indexPath+".sjson")
		if !errors.Is(err, fs.ErrNotExist) {
			return text, err
		}
	}
	return s.document(ctx, indexPath+".json")
}

// document reads a document and, with a key ring, checks its signature: that of an .sjson file is around its text, that
// of a .json file in a file beside it.
func (s *server) document(ctx context.Context, path string) ([]byte, error) {
	text, err := s.get(ctx, path)
	if err != nil || s.keys.Empty() {
		return text, err
	}
	if strings.HasSuffix(path, ".sjson") {
		text, err = aptrepo.VerifyInRelease(s.keys, text, time.Now())
	} else {
		err = s.verify(ctx, path, text)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return text, nil
}

func (s *server) verify(ctx context.Context, path string, text []byte) error {
	signature, err := s.get(ctx, path+".gpg")
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("it is not signed, and image_keyring of the configuration asks for signatures")
	}
	if err != nil {
		return err
	}
	_, err = s.keys.VerifyDetached(text, signature, time.Now())
	return err
}

func (s *server) get(ctx context.Context, path string) ([]byte, error) {
	return s.fetcher.Get(ctx, distro.Document{URL: s.base + "/" + path, Limit: aptrepo.MaxRelease, Keep: true})
}

// Package layout names the paths in storage that the server itself reads and writes.
//
// The library keeps everything below /docker/registry/v2 and stores content under its sha256. A link is a small file that
// holds a digest: it makes a blob part of a repository, and a link under another algorithm (an alias) holds the sha256 of
// the same content. Links of referrers are the server's own and lie below /karapace, so that no other program that
// uses the same storage trips over them.
package layout

import (
	"context"
	"errors"
	"path"
	"strings"

	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/opencontainers/go-digest"
)

// Kind is what a link makes part of a repository.
type Kind string

const (
	// Layers are blobs.
	Layers Kind = "_layers"
	// Manifests are manifests, indexes and artifacts.
	Manifests Kind = "_manifests/revisions"
)

const (
	// Repositories is the directory of all repositories.
	Repositories = "/docker/registry/v2/repositories"
	referrers    = "/karapace/v1/referrers"
)

// maxLink bounds what is read as a link, in bytes.
const maxLink = 256

// Link is the path of the link of d in a repository.
func Link(repo string, kind Kind, d digest.Digest) string {
	return path.Join(Links(repo, kind, d.Algorithm()), d.Encoded(), "link")
}

// Links is the directory of all links of one algorithm in a repository.
func Links(repo string, kind Kind, a digest.Algorithm) string {
	return path.Join(Repositories, repo, string(kind), string(a))
}

// Referrers is the directory of the referrers of a subject in a repository.
func Referrers(repo string, subject digest.Digest) string {
	return path.Join(referrers, repo, "_subjects", string(subject.Algorithm()), subject.Encoded())
}

// Referrer is the path of one referrer.
func Referrer(repo string, subject, d digest.Digest) string {
	return path.Join(Referrers(repo, subject), d.Algorithm().String()+"-"+d.Encoded())
}

// ReferrerRoot is the directory of all referrers.
func ReferrerRoot() string { return referrers }

// ParseReferrer reads what Referrer wrote.
func ParseReferrer(p string) (repo string, subject, d digest.Digest, ok bool) {
	rest, ok := strings.CutPrefix(p, referrers+"/")
	if !ok {
		return "", "", "", false
	}
	repo, rest, ok = strings.Cut(rest, "/_subjects/")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 3 {
		return "", "", "", false
	}
	subject = digest.Digest(parts[0] + ":" + parts[1])
	d = digest.Digest(strings.Replace(parts[2], "-", ":", 1))
	return repo, subject, d, subject.Validate() == nil && d.Validate() == nil
}

// ParseLink reads what Link wrote.
func ParseLink(p string) (repo string, kind Kind, d digest.Digest, ok bool) {
	rest, ok := strings.CutPrefix(p, Repositories+"/")
	if !ok {
		return "", "", "", false
	}
	for _, kind := range []Kind{Layers, Manifests} {
		repo, tail, found := strings.Cut(rest, "/"+string(kind)+"/")
		parts := strings.Split(tail, "/")
		if !found || len(parts) != 3 || parts[2] != "link" {
			continue
		}
		d := digest.Digest(parts[0] + ":" + parts[1])
		return repo, kind, d, d.Validate() == nil
	}
	return "", "", "", false
}

// ParseTag reads the path of the link of a tag.
func ParseTag(p string) (repo, tag string, ok bool) {
	rest, ok := strings.CutPrefix(p, Repositories+"/")
	if !ok {
		return "", "", false
	}
	repo, tail, found := strings.Cut(rest, "/_manifests/tags/")
	tag, end, _ := strings.Cut(tail, "/")
	return repo, tag, found && end == "current/link"
}

// Resolve follows the link of d to the digest that the content is stored under. It gives false where there is no link.
func Resolve(ctx context.Context, d driver.StorageDriver, repo string, kind Kind, dgst digest.Digest) (digest.Digest, bool, error) {
	return ReadLink(ctx, d, Link(repo, kind, dgst))
}

// ReadLink reads a link. It gives false where there is none.
func ReadLink(ctx context.Context, d driver.StorageDriver, p string) (digest.Digest, bool, error) {
	content, err := d.GetContent(ctx, p)
	switch {
	case IsMissing(err):
		return "", false, nil
	case err != nil:
		return "", false, err
	case len(content) > maxLink:
		return "", false, errors.New(p + ": too long for a link")
	}
	target, err := digest.Parse(string(content))
	return target, err == nil, err
}

// IsMissing tells whether err says that a path does not exist.
func IsMissing(err error) bool {
	var missing driver.PathNotFoundError
	return errors.As(err, &missing)
}

// Blobs is the directory of all content.
const Blobs = "/docker/registry/v2/blobs"

// Blob is the path of the content of a sha256.
func Blob(d digest.Digest) string {
	return path.Join(Blobs, string(d.Algorithm()), d.Encoded()[:2], d.Encoded(), "data")
}

// ParseBlob reads what Blob wrote.
func ParseBlob(p string) (digest.Digest, bool) {
	rest, ok := strings.CutPrefix(p, Blobs+"/")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 4 || parts[3] != "data" {
		return "", false
	}
	d := digest.Digest(parts[0] + ":" + parts[2])
	return d, d.Validate() == nil
}

// UploadDir is the directory of an upload.
func UploadDir(repo, id string) string { return path.Join(Repositories, repo, "_uploads", id) }

// Upload reads which repository an upload's path belongs to.
func Upload(p string) (repo string, ok bool) {
	rest, ok := strings.CutPrefix(p, Repositories+"/")
	repo, _, found := strings.Cut(rest, "/_uploads/")
	return repo, ok && found
}

package manifest

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"
)

// BaseKind is a form of base.image.
type BaseKind uint8

const (
	BaseAlias     BaseKind = iota + 1 // a distribution's name, looked up at an image server
	BaseArchive                       // URL of a root file system archive
	BasePath                          // an archive, an OCI layout directory or a docker-archive on this machine
	BaseRegistry                      // an image in an OCI registry
	BaseBootstrap                     // assembled from a distribution mirror
)

// BaseRef is base.image in its parts. Which fields are set depends on Kind.
type BaseRef struct {
	Kind    BaseKind
	Distro  string // alias, bootstrap: "debian", "ubuntu", "fedora", "opensuse" or "archlinux"
	Release string // alias, bootstrap: the code name; for an alias possibly empty or "leap", both meaning the newest the server has
	URL     string // archive
	Path    string // path: absolute, or relative to the manifest's directory

	Registry   string // registry: host, with its port if it has one
	Repository string
	Tag        string // empty is "latest" where there is no digest either

	// Digest pins the reference: of the archive file, of the image manifest (or index), or of a bootstrap's packages. It
	// is the lock's base_image_digest.
	Digest digest.Digest
}

// Pinned reports whether the reference names the same bytes for ever.
func (r BaseRef) Pinned() bool { return r.Digest != "" }

// String gives the reference in the form ParseBaseRef takes.
func (r BaseRef) String() string {
	var s string
	switch r.Kind {
	case BaseAlias:
		s = strings.TrimSuffix(r.Distro+"/"+r.Release, "/")
	case BaseArchive:
		s = r.URL
	case BasePath:
		s = r.Path
	case BaseRegistry:
		s = "oci://" + r.Registry + "/" + r.Repository
		if r.Tag != "" {
			s += ":" + r.Tag
		}
	case BaseBootstrap:
		s = bootstrapPrefix + r.Distro + "/" + r.Release
	}
	if r.Digest != "" {
		s += "@" + r.Digest.String()
	}
	return s
}

const (
	bootstrapPrefix = "bootstrap:"
	digestMark      = "@sha256:"
)

// ParseBaseRef parses base.image. Errors are *Error without a position.
func ParseBaseRef(s string) (BaseRef, error) {
	r, c := parseBase(strings.TrimSpace(s))
	if c != nil {
		return BaseRef{}, &Error{Key: "base.image", Msg: c.msg, Remedy: c.remedy}
	}
	return r, nil
}

// complaint is why a value is refused, and what to do about it.
type complaint struct{ msg, remedy string }

func complain(remedy, format string, args ...any) *complaint {
	return &complaint{fmt.Sprintf(format, args...), remedy}
}

func parseBase(s string) (BaseRef, *complaint) {
	if s == "" {
		return BaseRef{}, complain(`name a base, like "bootstrap:debian/bookworm"`, "the base image is empty")
	}
	if len(s) > maxPath || strings.ContainsFunc(s, hidden) || strings.Contains(s, " ") {
		return BaseRef{}, complain("no base image has such characters; check for a copy and paste mistake",
			"the base image %s has a space, an invisible character, or is too long", quote(s))
	}
	name, digestText, pinned := strings.Cut(s, digestMark)
	r, c := parseBaseName(name)
	if c != nil || !pinned {
		return r, c
	}
	if !isHexSHA256(digestText) {
		return BaseRef{}, complain("write @sha256: and 64 lower-case hexadecimal digits, at the end", "the digest in %s is not a SHA-256", quote(s))
	}
	if r.Kind == BaseAlias {
		return BaseRef{}, complain(fmt.Sprintf(`write "%s" and run "karapace pin"`, name),
			"%s cannot have a digest: what an image server calls by this name changes", quote(name))
	}
	r.Digest = digest.Digest("sha256:" + digestText)
	return r, nil
}

func parseBaseName(s string) (BaseRef, *complaint) {
	scheme, rest, hasScheme := strings.Cut(s, ":")
	switch strings.ToLower(scheme) {
	case "http", "https":
		if hasScheme {
			c := checkURL("base image", s, "http", "https")
			return BaseRef{Kind: BaseArchive, URL: s}, c
		}
	case "file":
		if hasScheme {
			return parseBaseFile(s, rest)
		}
	case "docker", "oci":
		if name, ok := strings.CutPrefix(rest, "//"); ok {
			return parseRegistry(s, name, strings.EqualFold(scheme, "docker"))
		}
	case "bootstrap":
		if hasScheme {
			return parseBootstrap(strings.ToLower(rest))
		}
	}
	if pathForm(s) {
		return BaseRef{Kind: BasePath, Path: s}, nil
	}
	return parseAlias(s)
}

// pathForm reports whether s is a path without a scheme, not an alias.
func pathForm(s string) bool {
	return s == "." || s == ".." || strings.HasPrefix(s, "./") || strings.HasPrefix(s, "../") || strings.HasPrefix(s, "/")
}

// parseBaseFile takes file:PATH and file:///PATH; the path is taken as it stands, without percent decoding.
func parseBaseFile(s, path string) (BaseRef, *complaint) {
	if strings.HasPrefix(path, "//") {
		path = strings.TrimPrefix(path, "//")
		if !strings.HasPrefix(path, "/") {
			return BaseRef{}, complain(fmt.Sprintf(`write "file:///%s" for an absolute path, "./%[1]s" for one beside the manifest`, path),
				"%s names a host; files are read from this machine only", quote(s))
		}
	}
	if path == "" {
		return BaseRef{}, complain(`write the path, like "file:./rootfs.tar.zst"`, "%s has no path", quote(s))
	}
	if !pathForm(path) {
		path = "./" + path // so that String gives a path again, not an alias
	}
	return BaseRef{Kind: BasePath, Path: path}, nil
}

// parseRegistry takes HOST/REPO[:TAG], and, for docker, Docker's short names.
func parseRegistry(s, name string, docker bool) (BaseRef, *complaint) {
	host, repo, ok := strings.Cut(name, "/")
	hasHost := ok && (strings.ContainsAny(host, ".:") || host == "localhost")
	switch {
	case !hasHost && !docker:
		return BaseRef{}, complain(`write the registry's host, like "oci://registry.example.org/team/image:1.0"`, "%s names no registry", quote(s))
	case !hasHost && !ok:
		host, repo = "docker.io", "library/"+name
	case !hasHost:
		host, repo = "docker.io", name
	}
	tag := ""
	if i := strings.LastIndexByte(repo, ':'); i >= 0 {
		repo, tag = repo[:i], repo[i+1:]
		if !validTag(tag) {
			return BaseRef{}, complain("a tag has letters, digits and . _ -, at most 128", "the tag %s in %s is not valid", quote(tag), quote(s))
		}
	}
	if !validHost(host) {
		return BaseRef{}, complain("write HOST or HOST:PORT", "the registry %s in %s is not a host name", quote(host), quote(s))
	}
	if !validRepository(repo) {
		return BaseRef{}, complain("repositories are lower case: letters, digits, and . _ - between them, in parts separated by /",
			"the repository %s in %s is not valid", quote(repo), quote(s))
	}
	return BaseRef{Kind: BaseRegistry, Registry: host, Repository: repo, Tag: tag}, nil
}

// validTag follows the OCI distribution specification, "Pulling manifests".
func validTag(s string) bool {
	return s != "" && len(s) <= 128 && s[0] != '.' && s[0] != '-' && onlyAlnumOr(s, "_.-")
}

// validRepository follows the OCI distribution specification, "Pulling manifests".
func validRepository(s string) bool {
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || strings.ToLower(part) != part || !onlyAlnumOr(part, "._-") {
			return false
		}
		if !isAlnum(part[0]) || !isAlnum(part[len(part)-1]) || strings.Contains(part, "..") || strings.Contains(part, "___") {
			return false
		}
	}
	return len(s) <= 255
}

// validHost reports whether s is HOST or HOST:PORT.
func validHost(s string) bool {
	host, port, hasPort := strings.Cut(s, ":")
	if hasPort && (port == "" || len(port) > 5 || strings.Trim(port, "0123456789") != "") {
		return false
	}
	return host != "" && len(host) <= 253 && isAlnum(host[0]) && isAlnum(host[len(host)-1]) &&
		onlyAlnumOr(host, ".-") && !strings.Contains(host, "..")
}

func onlyAlnumOr(s, others string) bool {
	for i := 0; i < len(s); i++ {
		if !isAlnum(s[i]) && strings.IndexByte(others, s[i]) < 0 {
			return false
		}
	}
	return true
}

// checkURL checks an absolute URL; what names it in the message.
func checkURL(what, s string, schemes ...string) *complaint {
	u, err := url.Parse(s)
	if err != nil || len(s) > maxPath || strings.ContainsFunc(s, hidden) || strings.ContainsAny(s, " \"<>\\^`{|}") {
		return complain("check it: a URL has no spaces, and % is followed by two digits", "the %s %s is not a URL", what, quote(s))
	}
	known := false
	for _, scheme := range schemes {
		known = known || u.Scheme == scheme
	}
	_, rest, ok := strings.Cut(s, "://")
	if !ok {
		rest = s
	}
	switch {
	case !known:
		return complain(fmt.Sprintf("write the whole URL, like %s", quote("https://"+rest)),
			"the %s %s does not begin with %s", what, quote(s), orList(schemes, "://"))
	case u.Scheme == "file" && (u.Host != "" || !strings.HasPrefix(u.Path, "/")):
		return complain(`write an absolute path: "file:///srv/mirror"`, "the %s %s names no path on this machine", what, quote(s))
	case u.Scheme != "file" && u.Hostname() == "":
		return complain("write the host: "+u.Scheme+"://HOST/PATH", "the %s %s has no host", what, quote(s))
	case u.Fragment != "":
		return complain("remove # and what follows; a digest is written as @sha256:DIGITS at the end", "the %s %s has a fragment", what, quote(s))
	}
	return nil
}

// orList writes a, b or c, each with suffix.
func orList(words []string, suffix string) string {
	var b strings.Builder
	for i, w := range words {
		switch {
		case i > 0 && i == len(words)-1:
			b.WriteString(" or ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(w + suffix)
	}
	return b.String()
}

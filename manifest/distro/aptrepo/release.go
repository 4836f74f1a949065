package aptrepo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/clearsign"

	"github.com/karapace/karapace/manifest/distro/pgp"
)

// MaxRelease bounds a Release file, in bytes; Debian's largest has less than one MiB.
const MaxRelease = 16 << 20

// Index is one file that a Release file vouches for.
type Index struct {
	SHA256 string
	Size   int64
}

// Release is a Release file: what a suite is, and the digests of its indexes.
type Release struct {
	Origin, Label, Suite, Codename, Version string
	Date, ValidUntil                        time.Time // ValidUntil is zero when it never expires
	Architectures, Components               []string
	AcquireByHash                           bool
	AllIsSeparate                           bool // packages of architecture "all" are in an index of their own only
	Indexes                                 map[string]Index
	Fields                                  Stanza // all but the lists of digests
}

// ErrExpired says that a Release file is older than its Valid-Until allows.
var ErrExpired = errors.New("the repository's index has expired")

var (
	clearBegin = []byte("-----BEGIN PGP SIGNED MESSAGE-----")
	sigBegin   = []byte("-----BEGIN PGP SIGNATURE-----")
)

// VerifyInRelease checks an InRelease file and returns exactly the text that is signed. Nothing may stand before or
// after the signed message: a reader that skipped it, and one that did not, would see two files. See pgp.KeyRing.Verify
// for now. The error is a *pgp.SignatureError when nothing vouches for the text.
func VerifyInRelease(keys pgp.KeyRing, data []byte, now time.Time) ([]byte, error) {
	text, signed, signatures, err := splitInRelease(data)
	if err != nil {
		return nil, err
	}
	if _, err := keys.Verify(signed, signatures, now); err != nil {
		return nil, err
	}
	return text, nil
}

// SignedText returns the text of an InRelease file without any check of its signature, for a repository that the
// base's own configuration trusts.
func SignedText(data []byte) ([]byte, error) {
	text, _, _, err := splitInRelease(data)
	return text, err
}

func splitInRelease(data []byte) (text, signed []byte, signatures io.Reader, err error) {
	if len(data) > MaxRelease {
		return nil, nil, nil, fmt.Errorf("the signed index has more than %d bytes", MaxRelease)
	}
	if !bytes.HasPrefix(data, clearBegin) || bytes.Count(data, clearBegin) != 1 || bytes.Count(data, sigBegin) != 1 {
		return nil, nil, nil, errors.New("the index is not one signed message and nothing else")
	}
	block, rest := clearsign.Decode(data)
	if block == nil {
		return nil, nil, nil, errors.New("the signed message is malformed")
	}
	if len(bytes.TrimSpace(rest)) != 0 {
		return nil, nil, nil, errors.New("there is text after the signed message")
	}
	return append(bytes.TrimRight(block.Plaintext, "\n"), '\n'), block.Bytes, block.ArmoredSignature.Body, nil
}

// VerifyRelease checks a Release file with its detached signature, armored or not.
func VerifyRelease(keys pgp.KeyRing, text, signature []byte, now time.Time) error {
	_, err := keys.VerifyDetached(text, signature, now)
	return err
}

// ParseRelease parses the text of a Release file.
func ParseRelease(text []byte) (*Release, error) {
	if len(text) > MaxRelease {
		return nil, fmt.Errorf("parse Release: more than %d bytes", MaxRelease)
	}
	stanza, err := ParseStanza(bytes.Trim(text, "\n"))
	if err != nil {
		return nil, fmt.Errorf("parse Release: %w", err)
	}
	r := &Release{
		Origin: stanza.Get("Origin"), Label: stanza.Get("Label"), Suite: stanza.Get("Suite"),
		Codename: stanza.Get("Codename"), Version: stanza.Get("Version"),
		Architectures: stanza.Words("Architectures"), Components: stanza.Words("Components"),
		AcquireByHash: strings.EqualFold(stanza.Get("Acquire-By-Hash"), "yes"),
		Indexes:       make(map[string]Index),
	}
	if r.Date, err = parseDate(stanza.Get("Date")); err != nil {
		return nil, fmt.Errorf("parse Release: Date: %w", err)
	}
	if until := stanza.Get("Valid-Until"); until != "" {
		if r.ValidUntil, err = parseDate(until); err != nil {
			return nil, fmt.Errorf("parse Release: Valid-Until: %w", err)
		}
	}
	for _, f := range stanza {
		switch strings.ToLower(f.Name) {
		case "md5sum", "sha1", "sha256", "sha512":
		default:
			r.Fields = append(r.Fields, f)
		}
	}
	for _, a := range r.Architectures {
		r.AllIsSeparate = r.AllIsSeparate || a == "all"
	}
	if strings.EqualFold(stanza.Get("No-Support-for-Architecture-all"), "Packages") {
		r.AllIsSeparate = false
	}
	if err := r.parseIndexes(stanza.Get("SHA256")); err != nil {
		return nil, fmt.Errorf("parse Release: %w", err)
	}
	return r, nil
}

func (r *Release) parseIndexes(list string) error {
	for line := range strings.SplitSeq(list, "\n") {
		part := strings.Fields(line)
		if len(part) == 0 {
			continue
		}
		if len(part) != 3 {
			return fmt.Errorf("%q is not a digest, a size and a name", line)
		}
		size, err := strconv.ParseInt(part[1], 10, 64)
		if err != nil || size < 0 {
			return fmt.Errorf("%q is not a size", part[1])
		}
		if err := errors.Join(checkSHA256(part[0]), checkPath(part[2])); err != nil {
			return err
		}
		index := Index{part[0], size}
		if old, ok := r.Indexes[part[2]]; ok && old != index {
			return fmt.Errorf("%q is listed twice, differently", part[2])
		}
		r.Indexes[part[2]] = index
	}
	if len(r.Indexes) == 0 {
		return errors.New("it lists no SHA256 digests")
	}
	return nil
}

// parseDate reads the date of a Release file: RFC 2822, the day with one or two digits. Of the names of time zones only
// those of UTC mean something everywhere.
func parseDate(s string) (time.Time, error) {
	s = strings.TrimSpace(s)
	if t, err := time.Parse("Mon, 2 Jan 2006 15:04:05 -0700", s); err == nil {
		return t.UTC(), nil
	}
	t, err := time.Parse("Mon, 2 Jan 2006 15:04:05 MST", s)
	if zone, _ := t.Zone(); err != nil || (zone != "UTC" && zone != "GMT") {
		return time.Time{}, fmt.Errorf("%q is not a date in UTC", s)
	}
	return t.UTC(), nil
}

// Fresh returns ErrExpired when the Release file must not be used any more at the time now.
func (r *Release) Fresh(now time.Time) error {
	if !r.ValidUntil.IsZero() && now.After(r.ValidUntil) {
		return fmt.Errorf("%w: it was valid until %s", ErrExpired, r.ValidUntil.Format(time.RFC3339))
	}
	return nil
}

// Packages finds the package index of a component and architecture: of the compressions there are, the one that is
// quickest to get and read. For a flat repository component is empty. It returns its path relative to the Release file.
func (r *Release) Packages(component, arch string) (path string, index Index, ok bool) {
	base := "Packages"
	if component != "" {
		base = component + "/binary-" + arch + "/Packages"
	}
	// The plain one comes last: archives list it and do not have it. gzip is larger than xz by a third, and read four
	// times as fast.
	for _, suffix := range []string{".zst", ".gz", ".xz", ".bz2", ""} {
		for _, name := range []string{base + suffix, "./" + base + suffix} {
			if i, ok := r.Indexes[name]; ok {
				return name, i, true
			}
		}
	}
	return "", Index{}, false
}

// ByHash gives the path under which a file stays what it is while the suite is updated.
func ByHash(path string, index Index) string {
	i := strings.LastIndexByte(path, '/')
	return path[:i+1] + "by-hash/SHA256/" + index.SHA256
}

// IsDated reports whether a URL names a state of an archive for ever, as snapshot services do: a part of its path is a
// time (20240501T000000Z). What such a place serves has expired by intention.
func IsDated(url string) bool {
	for part := range strings.SplitSeq(url, "/") {
		if _, err := time.Parse("20060102T150405Z", part); err == nil {
			return true
		}
	}
	return false
}

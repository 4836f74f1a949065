package rpmrepo

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// MaxMirrors bounds a metalink or a list of mirrors, in bytes.
const MaxMirrors = 4 << 20

// Metalink says where a repository's repomd.xml is, and what it is.
type Metalink struct {
	// Good are the sha256 digests of repomd.xml that mirrors may have: the newest first, then those of before.
	Good []string
	// Bases are the base URLs of the mirrors, the preferred one first, https before http.
	Bases []string
}

type metalinkFile struct {
	Name   string     `xml:"name,attr"`
	Hashes []metahash `xml:"verification>hash"`
	Older  []older    `xml:"alternates>alternate"`
	URLs   []metaURL  `xml:"resources>url"`
}

type older struct {
	Timestamp int64      `xml:"timestamp"`
	Hashes    []metahash `xml:"verification>hash"`
}

type metaURL struct {
	Preference int    `xml:"preference,attr"`
	Value      string `xml:",chardata"`
}

type metahash struct {
	Type  string `xml:"type,attr"`
	Value string `xml:",chardata"`
}

// ParseMetalink reads a metalink (version 3, with the alternates that MirrorManager adds).
func ParseMetalink(b []byte) (*Metalink, error) {
	if len(b) > MaxMirrors {
		return nil, fmt.Errorf("parse metalink: more than %d bytes", MaxMirrors)
	}
	var doc struct {
		XMLName xml.Name
		Files   []metalinkFile `xml:"files>file"`
	}
	if err := unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("parse metalink: %w", err)
	}
	i := slices.IndexFunc(doc.Files, func(f metalinkFile) bool { return f.Name == "repomd.xml" })
	if doc.XMLName.Local != "metalink" || i < 0 {
		return nil, errors.New("parse metalink: it says nothing about a repomd.xml")
	}
	f := doc.Files[i]
	out := &Metalink{Good: sha256s(nil, f.Hashes)}
	if len(out.Good) == 0 {
		return nil, errors.New("parse metalink: it has no sha256 of repomd.xml")
	}
	slices.SortStableFunc(f.Older, func(a, b older) int { return cmp.Compare(b.Timestamp, a.Timestamp) })
	for _, o := range f.Older {
		out.Good = sha256s(out.Good, o.Hashes)
	}
	slices.SortStableFunc(f.URLs, func(a, b metaURL) int {
		return cmp.Or(cmp.Compare(rank(a.Value), rank(b.Value)), cmp.Compare(b.Preference, a.Preference))
	})
	for _, u := range f.URLs {
		base, ok := strings.CutSuffix(strings.TrimSpace(u.Value), "/repodata/repomd.xml")
		if ok && webURL(base) {
			out.Bases = append(out.Bases, base)
		}
	}
	if len(out.Bases) == 0 {
		return nil, errors.New("parse metalink: it names no mirror that http or https reaches")
	}
	return out, nil
}

func sha256s(out []string, hashes []metahash) []string {
	for _, h := range hashes {
		if sum, err := Digest(h).SHA256(); err == nil && !slices.Contains(out, sum) {
			out = append(out, sum)
		}
	}
	return out
}

func rank(u string) int {
	if strings.HasPrefix(strings.TrimSpace(u), "https:") {
		return 0
	}
	return 1
}

func webURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != ""
}

// ParseMirrorlist reads a list of base URLs, one a line, in its order. Other lines are passed over, as the tools do.
func ParseMirrorlist(b []byte) ([]string, error) {
	if len(b) > MaxMirrors {
		return nil, fmt.Errorf("parse list of mirrors: more than %d bytes", MaxMirrors)
	}
	var out []string
	for line := range bytes.Lines(b) {
		if s := strings.TrimSpace(string(line)); webURL(s) {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("parse list of mirrors: it names none")
	}
	return out, nil
}

// IsMetalink reports whether a document is XML: a list of mirrors may be a metalink.
func IsMetalink(b []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(b), []byte("<")) }

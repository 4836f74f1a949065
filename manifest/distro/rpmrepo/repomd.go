package rpmrepo

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// MaxRepomd bounds a repomd.xml and its signature, in bytes; real ones have some ten thousand.
const MaxRepomd = 4 << 20

// Repomd is the root of a repository's metadata.
type Repomd struct {
	Revision int64 // seconds since the epoch, 0 when it is no time
	Data     []Data
}

// Data is one index of a repository.
type Data struct {
	Type     string // "primary", "filelists", ...
	Location string // below the repository's base
	Digest   Digest // of the file
	Size     int64  // of the file, in bytes; 0 when unknown
	Open     Digest // of the plain content
	OpenSize int64
}

// ParseRepomd reads a repomd.xml.
func ParseRepomd(b []byte) (*Repomd, error) {
	if len(b) > MaxRepomd {
		return nil, fmt.Errorf("parse repomd.xml: more than %d bytes", MaxRepomd)
	}
	type checksum struct {
		Type  string `xml:"type,attr"`
		Value string `xml:",chardata"`
	}
	var doc struct {
		XMLName  xml.Name
		Revision string `xml:"revision"`
		Data     []struct {
			Type     string   `xml:"type,attr"`
			Checksum checksum `xml:"checksum"`
			Open     checksum `xml:"open-checksum"`
			Location struct {
				Href string `xml:"href,attr"`
			} `xml:"location"`
			Size     int64 `xml:"size"`
			OpenSize int64 `xml:"open-size"`
		} `xml:"data"`
	}
	if err := unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("parse repomd.xml: %w", err)
	}
	if doc.XMLName.Local != "repomd" {
		return nil, fmt.Errorf("parse repomd.xml: it is a <%s>", doc.XMLName.Local)
	}
	out := &Repomd{Revision: revision(doc.Revision)}
	for _, d := range doc.Data {
		if err := checkLocation(d.Location.Href); err != nil {
			return nil, fmt.Errorf("parse repomd.xml: %w", err)
		}
		if d.Size < 0 || d.OpenSize < 0 {
			return nil, fmt.Errorf("parse repomd.xml: %s has a negative size", d.Type)
		}
		out.Data = append(out.Data, Data{Type: d.Type, Location: d.Location.Href, Size: d.Size, OpenSize: d.OpenSize, Digest: Digest(d.Checksum), Open: Digest(d.Open)})
	}
	return out, nil
}

// unmarshal reads one XML document and nothing after it.
func unmarshal(b []byte, doc any) error {
	d := xml.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(doc); err != nil {
		return err
	}
	for {
		t, err := d.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if _, more := t.(xml.StartElement); more {
			return errors.New("there is a second document after the first")
		}
	}
}

// revision takes a revision for a time when it looks like one: it may be any text.
func revision(s string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil || n < 946684800 || n >= 253402300800 { // the years 2000 to 9999
		return 0
	}
	return n
}

// Find gives the index of a type.
func (r *Repomd) Find(kind string) (Data, bool) {
	for _, d := range r.Data {
		if d.Type == kind {
			return d, true
		}
	}
	return Data{}, false
}

// LocalData is one index of a repository on disk.
type LocalData struct {
	Type, Location, SHA256 string
	Size                   int64
}

// WriteRepomd writes the repomd.xml of a repository on disk.
func WriteRepomd(w io.Writer, revision int64, list []LocalData) error {
	var b bytes.Buffer
	b.WriteString(xml.Header + `<repomd xmlns="http://linux.duke.edu/metadata/repo" xmlns:rpm="http://linux.duke.edu/metadata/rpm">` + "\n")
	fmt.Fprintf(&b, "<revision>%d</revision>\n", revision)
	for _, d := range list {
		fmt.Fprintf(&b, "<data type=\"%s\"><checksum type=\"sha256\">%s</checksum><location href=\"%s\"/><timestamp>%d</timestamp><size>%d</size></data>\n",
			escape(d.Type), d.SHA256, escape(d.Location), revision, d.Size)
	}
	b.WriteString("</repomd>\n")
	_, err := w.Write(b.Bytes())
	return err
}

// escape quotes text for XML; what XML cannot hold becomes U+FFFD.
func escape(s string) string {
	plain := true
	for i := range len(s) {
		c := s[i]
		plain = plain && c >= ' ' && c < 0x7f && c != '<' && c != '>' && c != '&' && c != '"' && c != '\''
	}
	if plain {
		return s
	}
	var b strings.Builder
	xml.EscapeText(&b, []byte(s)) // writes to memory
	return b.String()
}

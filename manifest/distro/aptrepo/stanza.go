// Package aptrepo reads the formats of Debian archives: signed Release files, Packages indexes, apt's lists of
// sources, .deb files, versions and dependencies. It neither uses the network nor runs anything.
//
// A repository is a base URL; a suite of it has one signed Release file, which lists every index by digest; an index
// (Packages) lists every package file by digest. So from a key ring to the last byte of a package there is one chain,
// and every reader here takes only what the link before it vouched for.
//
// All input is hostile until its signature or digest was checked, and still hostile in its meaning after that: sizes
// are bounded, names cannot be options or paths, and locations cannot leave the repository.
package aptrepo

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
)

// maxStanza bounds one stanza, in bytes; the largest of Debian have about 200 KiB.
const maxStanza = 4 << 20

// Field is one field of a stanza. The lines of a longer value are joined by "\n", each without its leading blank.
type Field struct{ Name, Value string }

// Stanza is one paragraph of a control file (deb822(5)), its fields in the order of the file.
type Stanza []Field

// Get returns a field's value, or "" when there is none. Case does not matter.
func (s Stanza) Get(name string) string {
	for _, f := range s {
		if strings.EqualFold(f.Name, name) {
			return f.Value
		}
	}
	return ""
}

// Words returns a field's value split at blanks.
func (s Stanza) Words(name string) []string { return strings.Fields(s.Get(name)) }

// Scanner splits a control file into stanzas.
type Scanner struct {
	r        *bufio.Reader
	buf      []byte
	line     int // of the last line read
	start    int // of the stanza
	comments bool
}

// NewScanner reads stanzas from r. With comments, lines that begin with # are skipped, as in apt's own files.
func NewScanner(r io.Reader, comments bool) *Scanner {
	return &Scanner{r: bufio.NewReaderSize(r, 64<<10), comments: comments}
}

// Line is the number of the first line of the stanza that Next returned.
func (s *Scanner) Line() int { return s.start }

// Next returns the raw bytes of the next stanza, valid until the next call, or io.EOF.
func (s *Scanner) Next() ([]byte, error) {
	s.buf = s.buf[:0]
	for {
		s.line++
		from := len(s.buf)
		err := s.readLine()
		line := s.buf[from:]
		blank := len(bytes.TrimRight(line, " \t\r\n")) == 0
		if blank || s.comments && line[0] == '#' {
			s.buf = s.buf[:from]
		} else if from == 0 {
			s.start = s.line
		}
		switch {
		case err == io.EOF && len(s.buf) > 0, err == nil && blank && len(s.buf) > 0:
			return s.buf, nil
		case err != nil:
			return nil, err
		}
	}
}

// readLine appends one line, with its end, to the buffer.
func (s *Scanner) readLine() error {
	for {
		part, err := s.r.ReadSlice('\n')
		if len(s.buf)+len(part) > maxStanza {
			return fmt.Errorf("line %d: a stanza has more than %d bytes", s.line, maxStanza)
		}
		s.buf = append(s.buf, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

var errField = errors.New("a line is neither a field nor the rest of one")

// rawFields yields the fields of a raw stanza: name and value, the value with its line breaks and blanks. A line that
// is none ends the sequence with an empty name.
func rawFields(raw []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		for len(raw) > 0 {
			end := 0 // of the field: a line break before something other than a blank
			for {
				i := bytes.IndexByte(raw[end:], '\n')
				if i < 0 {
					end = len(raw)
					break
				}
				end += i + 1
				if end == len(raw) || (raw[end] != ' ' && raw[end] != '\t') {
					break
				}
			}
			field := raw[:end]
			raw = raw[end:]
			colon := bytes.IndexByte(field, ':')
			if colon <= 0 || bytes.ContainsAny(field[:colon], " \t\n") {
				yield(nil, field)
				return
			}
			if !yield(field[:colon], bytes.TrimSpace(field[colon+1:])) {
				return
			}
		}
	}
}

// ParseStanza parses one raw stanza. A field that is there twice is an error: readers would disagree about it.
func ParseStanza(raw []byte) (Stanza, error) {
	var s Stanza
	seen := make(map[string]bool)
	for name, value := range rawFields(raw) {
		if len(name) == 0 {
			return nil, errField
		}
		key := strings.ToLower(string(name))
		if seen[key] {
			return nil, fmt.Errorf("field %q is there twice", name)
		}
		seen[key] = true
		s = append(s, Field{string(name), unfold(value)})
	}
	return s, nil
}

// unfold removes the blank that every further line of a value begins with.
func unfold(v []byte) string {
	if bytes.IndexByte(v, '\n') < 0 {
		return string(v)
	}
	lines := strings.Split(string(v), "\n")
	for i, l := range lines {
		if i > 0 && l != "" {
			l = l[1:]
		}
		lines[i] = strings.TrimRight(l, " \t\r")
	}
	return strings.Join(lines, "\n")
}

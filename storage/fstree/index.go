package fstree

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// An index tells what a tree held, one entry a line in the order of the archive, fields separated by spaces:
//
//	KIND MODE UID GID MTIME SIZE CONTENT XATTRS PATH [LINK]
//
// MODE is octal, the digests are hexadecimal sha256 or "-", PATH and LINK are Go string literals in ASCII.

// Index writes the index of a normalised tree: what it takes to explain later how another tree differs.
func Index(ctx context.Context, w io.Writer, dir string) error {
	out := bufio.NewWriterSize(w, 64<<10)
	err := entries(ctx, dir, func(e *Entry) error {
		_, err := out.WriteString(e.line())
		return err
	})
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return fmt.Errorf("index tree %s: %w", dir, err)
	}
	return nil
}

func (e *Entry) line() string {
	s := fmt.Sprintf("%c %04o %d %d %d %d %s %s %s", e.Kind, e.Mode, e.UID, e.GID, e.MTime, e.Size,
		hexOf(e.Content), hexOf(e.Xattrs), strconv.QuoteToASCII(e.Path))
	if e.Link != "" {
		s += " " + strconv.QuoteToASCII(e.Link)
	}
	return s + "\n"
}

func hexOf(d digest.Digest) string {
	if d == "" {
		return "-"
	}
	return d.Encoded()
}

// entries gives every entry of a tree with the digests of its content and attributes.
func entries(ctx context.Context, dir string, each func(*Entry) error) error {
	buf := make([]byte, chunkSize)
	return walk(ctx, dir, func(e *Entry, src *source) error {
		if len(e.xattrs) > 0 {
			h := sha256.New()
			for _, x := range e.xattrs {
				io.WriteString(h, paxRecord(x.name, x.value))
			}
			e.Xattrs = digest.NewDigest(digest.SHA256, h)
		}
		if e.Kind == File {
			h := sha256.New()
			for src != nil && src.size > 0 {
				n, err := src.read(buf)
				if err != nil {
					return entryError(e.Path, err)
				}
				h.Write(buf[:n])
			}
			e.Content = digest.NewDigest(digest.SHA256, h)
		}
		return each(e)
	})
}

// parseLine reads a line of an index.
func parseLine(line string) (*Entry, error) {
	e := &Entry{}
	var content, xattrs string
	fields := strings.SplitN(line, " ", 9)
	if len(fields) != 9 || len(fields[0]) != 1 {
		return nil, fmt.Errorf("read index: malformed line %q", line)
	}
	e.Kind = Kind(fields[0][0])
	_, err := fmt.Sscanf(strings.Join(fields[1:8], " "), "%o %d %d %d %d %s %s", &e.Mode, &e.UID, &e.GID, &e.MTime, &e.Size, &content, &xattrs)
	if err != nil {
		return nil, fmt.Errorf("read index: malformed line %q: %w", line, err)
	}
	for value, d := range map[string]*digest.Digest{content: &e.Content, xattrs: &e.Xattrs} {
		if value != "-" {
			*d = digest.NewDigestFromEncoded(digest.SHA256, value)
		}
	}
	quoted, err := strconv.QuotedPrefix(fields[8])
	if err != nil {
		return nil, fmt.Errorf("read index: malformed path in %q", line)
	}
	e.Path, _ = strconv.Unquote(quoted)
	if link := strings.TrimPrefix(fields[8][len(quoted):], " "); link != "" {
		if e.Link, err = strconv.Unquote(link); err != nil {
			return nil, fmt.Errorf("read index: malformed link in %q", line)
		}
	}
	return e, nil
}

// Source is a tree or the index of one, to be compared.
type Source struct {
	each func(ctx context.Context, each func(*Entry) error) error
}

// Tree is the normalised tree at dir.
func Tree(dir string) Source {
	return Source{func(ctx context.Context, each func(*Entry) error) error { return entries(ctx, dir, each) }}
}

// Indexed is the tree that r is the index of. It can be read once.
func Indexed(r io.Reader) Source {
	return Source{func(ctx context.Context, each func(*Entry) error) error {
		in := bufio.NewScanner(r)
		in.Buffer(make([]byte, 64<<10), 1<<20)
		for in.Scan() {
			e, err := parseLine(in.Text())
			if err != nil {
				return err
			}
			if err := each(e); err != nil {
				return err
			}
		}
		return in.Err()
	}}
}

// Difference is a path in which two trees differ.
type Difference struct {
	Path string
	Kind string // "missing", "added", "type", "content", "link", "mode", "owner", "time" or "xattr"
}

// Compare lists in which paths b differs from a, in the order of the paths, one line for every kind of difference.
func Compare(ctx context.Context, a, b Source) ([]Difference, error) {
	g, ctx := errgroup.WithContext(ctx)
	left, right := pull(ctx, g, a), pull(ctx, g, b)
	var all []Difference
	g.Go(func() error {
		x, y := <-left, <-right
		for x != nil || y != nil {
			switch c := comparePaths(x, y); {
			case c < 0:
				all = append(all, Difference{x.Path, "missing"})
				x = <-left
			case c > 0:
				all = append(all, Difference{y.Path, "added"})
				y = <-right
			default:
				for _, kind := range differ(x, y) {
					all = append(all, Difference{x.Path, kind})
				}
				x, y = <-left, <-right
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("compare trees: %w", err)
	}
	return all, nil
}

// pull runs a source beside the comparison; nil ends it.
func pull(ctx context.Context, g *errgroup.Group, s Source) <-chan *Entry {
	ch := make(chan *Entry, 64)
	g.Go(func() error {
		defer close(ch)
		return s.each(ctx, func(e *Entry) error {
			c := *e
			select {
			case ch <- &c:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
	})
	return ch
}

// comparePaths orders as the archive does: by components. The end of a tree comes last.
func comparePaths(x, y *Entry) int {
	switch {
	case x == nil:
		return 1
	case y == nil:
		return -1
	default: // a slash sorts before all other bytes
		return strings.Compare(strings.ReplaceAll(x.Path, "/", "\x00"), strings.ReplaceAll(y.Path, "/", "\x00"))
	}
}

func differ(x, y *Entry) (kinds []string) {
	if x.Kind != y.Kind {
		return []string{"type"}
	}
	for _, d := range []struct {
		kind string
		is   bool
	}{
		{"content", x.Content != y.Content || x.Size != y.Size},
		{"link", x.Link != y.Link},
		{"mode", x.Mode != y.Mode},
		{"owner", x.UID != y.UID || x.GID != y.GID},
		{"time", x.MTime != y.MTime},
		{"xattr", x.Xattrs != y.Xattrs},
	} {
		if d.is {
			kinds = append(kinds, d.kind)
		}
	}
	return kinds
}

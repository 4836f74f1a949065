package aptrepo

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
)

// Bounds of one .deb, in plain bytes.
const (
	maxControlTar = 64 << 20
	maxControl    = 1 << 20
	maxData       = 64 << 30
)

// Deb is a .deb file (deb(5)) that is being read from its start to its end.
type Deb struct {
	// Control is the raw stanza of the package, without a line break at its end.
	Control []byte
	ar      *arReader
}

// ReadDeb reads the start of a .deb, through its control member. r is read on by Data.
func ReadDeb(r io.Reader) (*Deb, error) {
	d := &Deb{ar: &arReader{r: r}}
	if err := d.readControl(); err != nil {
		return nil, fmt.Errorf("read .deb: %w", err)
	}
	return d, nil
}

func (d *Deb) readControl() error {
	if err := d.ar.begin(); err != nil {
		return err
	}
	name, err := d.ar.next()
	if err != nil {
		return err
	}
	version := make([]byte, 4)
	if _, err := io.ReadFull(d.ar, version); err != nil || name != "debian-binary" || string(version[:2]) != "2." {
		return errors.New("it is not a Debian package of format 2")
	}
	if err := d.member("control.tar"); err != nil {
		return err
	}
	plain, err := Decompress(d.ar, maxControlTar)
	if err != nil {
		return err
	}
	defer plain.Close()
	tr := tar.NewReader(plain)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return errors.New("it has no control file")
		}
		if err != nil {
			return fmt.Errorf("control.tar: %w", err)
		}
		if path.Clean(h.Name) != "control" || h.Typeflag != tar.TypeReg {
			continue
		}
		if h.Size > maxControl {
			return fmt.Errorf("its control file has more than %d bytes", maxControl)
		}
		raw, err := io.ReadAll(tr)
		if err != nil {
			return fmt.Errorf("control.tar: %w", err)
		}
		return d.setControl(raw)
	}
}

// setControl takes the one stanza that a control file is.
func (d *Deb) setControl(raw []byte) error {
	sc := NewScanner(strings.NewReader(string(raw)), false)
	first, err := sc.Next()
	if err != nil {
		return errors.New("its control file is empty")
	}
	d.Control = []byte(strings.TrimRight(string(first), "\n"))
	if _, err := sc.Next(); err != io.EOF {
		return errors.New("its control file has more than one stanza")
	}
	return nil
}

// Data gives the package's files as a plain tar stream. It ends before the end of the file that ReadDeb was given:
// whoever verifies that one reads the rest too.
func (d *Deb) Data() (io.ReadCloser, error) {
	if err := d.member("data.tar"); err != nil {
		return nil, fmt.Errorf("read .deb: %w", err)
	}
	return Decompress(d.ar, maxData)
}

// member goes to the member with this name and any ending; those that begin with "_" may stand before it.
func (d *Deb) member(want string) error {
	for {
		name, err := d.ar.next()
		if err == io.EOF {
			return fmt.Errorf("it has no %s", want)
		}
		if err != nil {
			return err
		}
		if name == want || strings.HasPrefix(name, want+".") {
			return nil
		}
		if !strings.HasPrefix(name, "_") {
			return fmt.Errorf("member %q stands where %s should", name, want)
		}
	}
}

// arReader reads a Unix archive, one member after the other. Read gives the bytes of the current one.
type arReader struct {
	r    io.Reader
	left int64 // of the member
	pad  int64 // after it
}

func (a *arReader) begin() error {
	magic := make([]byte, 8)
	if _, err := io.ReadFull(a.r, magic); err != nil || string(magic) != "!<arch>\n" {
		return errors.New("it is not an archive")
	}
	return nil
}

func (a *arReader) next() (string, error) {
	if _, err := io.CopyN(io.Discard, a.r, a.left+a.pad); err != nil {
		return "", errors.New("the archive ends inside a member")
	}
	a.left, a.pad = 0, 0
	h := make([]byte, 60)
	if _, err := io.ReadFull(a.r, h); err == io.EOF {
		return "", io.EOF
	} else if err != nil {
		return "", errors.New("the archive ends inside a header")
	}
	size, err := strconv.ParseInt(strings.TrimRight(string(h[48:58]), " "), 10, 64)
	if err != nil || size < 0 || string(h[58:]) != "`\n" {
		return "", errors.New("the archive has a malformed header")
	}
	a.left, a.pad = size, size&1
	return strings.TrimSuffix(strings.TrimRight(string(h[:16]), " "), "/"), nil
}

func (a *arReader) Read(p []byte) (int, error) {
	if a.left == 0 {
		return 0, io.EOF
	}
	n, err := a.r.Read(p[:min(int64(len(p)), a.left)])
	a.left -= int64(n)
	if err == io.EOF && a.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

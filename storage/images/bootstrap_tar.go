package images

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/karapace/karapace/manifest/distro/aptrepo"
)

// merger writes the files of several packages as one archive of a merged-usr root file system: what is in /bin comes
// to lie in /usr/bin, and /bin is a link there. Packages of older releases still have both places.
type merger struct {
	out    *tar.Writer
	merged map[string]bool // the top-level directories that are links
	dirs   map[string]bool // written already: the first package decides, as with dpkg
}

// mergedDirs lists the directories that are links into /usr, as the release has them: base-files brings the links
// itself in newer ones; in older ones the program that sets up a system makes them.
func mergedDirs(baseFiles, arch string) ([]string, error) {
	var own []string
	err := readData(baseFiles, func(h *tar.Header, _ io.Reader) error {
		name := path.Clean(h.Name)
		if h.Typeflag == tar.TypeSymlink && strings.TrimPrefix(h.Linkname, "/") == "usr/"+name {
			own = append(own, name)
		}
		return nil
	})
	if err != nil || len(own) > 0 {
		return own, err
	}
	own = []string{"bin", "sbin", "lib"}
	switch arch {
	case "amd64":
		own = append(own, "lib32", "lib64", "libx32")
	case "i386":
		own = append(own, "lib64", "libx32")
	case "ppc64el", "mips64el", "loong64":
		own = append(own, "lib64")
	case "s390x":
		own = append(own, "lib32")
	}
	return own, nil
}

func newMerger(w io.Writer, dirs []string) *merger {
	m := &merger{out: tar.NewWriter(w), merged: make(map[string]bool), dirs: map[string]bool{".": true}}
	for _, d := range dirs {
		m.merged[d] = true
	}
	return m
}

// begin writes /usr, the directories in it and the links to them.
func (m *merger) begin(dirs []string) error {
	for _, d := range append([]string{""}, dirs...) {
		name := path.Join("usr", d)
		m.dirs[name] = true
		if err := m.out.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755}); err != nil {
			return err
		}
		if d == "" {
			continue
		}
		if err := m.out.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: d, Linkname: name, Mode: 0o777}); err != nil {
			return err
		}
	}
	return nil
}

// place is where an entry lies in the merged root.
func (m *merger) place(name string) string {
	name = path.Clean(strings.TrimPrefix(name, "./"))
	top, rest, below := strings.Cut(name, "/")
	if below && m.merged[top] {
		return "usr/" + top + "/" + rest
	}
	return name
}

func (m *merger) add(h *tar.Header, data io.Reader) error {
	name := m.place(h.Name)
	if m.merged[name] { // the link is there
		return nil
	}
	if h.Typeflag == tar.TypeDir {
		if m.dirs[name] {
			return nil
		}
		m.dirs[name] = true
		name += "/"
	}
	out := *h
	out.Name, out.Uname, out.Gname, out.Format = name, "", "", tar.FormatUnknown
	if h.Typeflag == tar.TypeLink {
		out.Linkname = m.place(h.Linkname)
	}
	if err := m.out.WriteHeader(&out); err != nil {
		return err
	}
	_, err := io.Copy(m.out, data)
	return err
}

// readData calls visit for every entry of a .deb's files.
func readData(deb string, visit func(h *tar.Header, data io.Reader) error) error {
	f, err := os.Open(deb)
	if err != nil {
		return err
	}
	defer f.Close()
	d, err := aptrepo.ReadDeb(f)
	if err != nil {
		return err
	}
	data, err := d.Data()
	if err != nil {
		return err
	}
	defer data.Close()
	tr := tar.NewReader(data)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read data.tar: %w", err)
		}
		if err := visit(h, tr); err != nil {
			return err
		}
	}
}

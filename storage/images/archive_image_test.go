package images

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/karapace/karapace/storage/fstree/nstest"
)

// dockerArchive is what a hostile docker save could write.
type dockerArchive struct {
	manifest any
	config   ispec.Image
	layers   [][]byte
	more     []string // other files, see pack
}

func newDocker(layers ...[]byte) *dockerArchive {
	d := &dockerArchive{layers: layers}
	d.config = ispec.Image{Platform: ispec.Platform{OS: "linux", Architecture: "amd64"}, RootFS: ispec.RootFS{Type: "layers"}}
	var names []string
	for n, b := range layers {
		d.config.RootFS.DiffIDs = append(d.config.RootFS.DiffIDs, digest.FromBytes(b))
		names = append(names, string(rune('a'+n))+".tar")
	}
	d.manifest = []map[string]any{{"Config": "c.json", "Layers": names}}
	return d
}

func (d *dockerArchive) bytes(t testing.TB) []byte {
	m, err := json.Marshal(d.manifest)
	check(t, err)
	c, err := json.Marshal(d.config)
	check(t, err)
	files := []string{"manifest.json=" + string(m), "c.json=" + string(c)}
	for n, b := range d.layers {
		files = append(files, string(rune('a'+n))+".tar="+string(b))
	}
	return pack(t, append(files, d.more...)...)
}

func (d *dockerArchive) layerNames(names ...string) {
	d.manifest = []map[string]any{{"Config": "c.json", "Layers": names}}
}

func TestPackedRefused(t *testing.T) {
	nstest.Root(t, func(t *testing.T) {
		good := threeLayers(t)
		whole := func(change func(d *dockerArchive)) []byte {
			d := newDocker(good...)
			change(d)
			return d.bytes(t)
		}
		layer := func(b []byte) []byte { return newDocker(good[0], b).bytes(t) }
		intact := whole(func(*dockerArchive) {})
		bomb := gz(t, pack(t, "zeros="+strings.Repeat("\x00", 80<<20)))
		bombs := newDocker(good[0], bomb)
		for name, c := range map[string]struct {
			archive []byte
			want    string
		}{
			"two images":            {whole(func(d *dockerArchive) { d.manifest = []map[string]any{{"Config": "c.json"}, {"Config": "c.json"}} }), "it holds 2 images"},
			"no list":               {whole(func(d *dockerArchive) { d.manifest = "x" }), "cannot unmarshal"},
			"huge manifest":         {whole(func(d *dockerArchive) { d.manifest = strings.Repeat("x", documentLimit) }), "larger than"},
			"endless links":         {whole(func(d *dockerArchive) { d.layerNames("x", "y", "x"); d.more = []string{"x=-> y", "y=-> x"} }), "too many links"},
			"configuration outside": {whole(func(d *dockerArchive) { d.manifest = []map[string]any{{"Config": "/etc/passwd"}} }), "file does not exist"},
			"layer outside":         {whole(func(d *dockerArchive) { d.layerNames("a.tar", "b.tar", "../../../../etc/passwd") }), "file does not exist"},
			"link outside":          {whole(func(d *dockerArchive) { d.layerNames("a.tar", "b.tar", "x"); d.more = []string{"x=-> /etc/passwd"} }), "file does not exist"},
			"layer is a directory":  {whole(func(d *dockerArchive) { d.layerNames("a.tar", "b.tar", "x"); d.more = []string{"x/"} }), "file does not exist"},
			"too many layers":       {whole(func(d *dockerArchive) { d.layerNames(make([]string, 128)...) }), "128 layers"},
			"diffID missing":        {whole(func(d *dockerArchive) { d.config.RootFS.DiffIDs = d.config.RootFS.DiffIDs[:2] }), "speaks of 2"},
			"other diffID":          {whole(func(d *dockerArchive) { d.config.RootFS.DiffIDs[2] = digest.FromString("x") }), "instead of"},
			"diffID that climbs":    {whole(func(d *dockerArchive) { d.config.RootFS.DiffIDs[2] = "sha256:../../x" }), "layer 3"},
			"other machine":         {whole(func(d *dockerArchive) { d.config.Architecture = "riscv64" }), "no image for linux/amd64"},
			"unknown root":          {whole(func(d *dockerArchive) { d.config.RootFS.Type = "disk" }), `"disk"`},
			"layer climbs":          {layer(pack(t, "../x=1")), `entry "../x"`},
			"layer is no archive":   {layer([]byte(strings.Repeat("no tar at all ", 100))), "layer 2"},
			"layer cut short":       {layer(good[1][:len(good[1])-1500]), "layer 2"},
			"bomb":                  {bombs.bytes(t), "200"},
			"archive cut short":     {intact[:len(intact)-2000], "is cut short"},
			"everything removed":    {layer(pack(t, ".wh..wh..opq=")), "holds no system"},
		} {
			path := save(t, c.archive)
			root := filepath.Join(t.TempDir(), "root")
			check(t, os.Mkdir(root, 0o755))
			src, err := Open(path)
			if err == nil {
				_, err = src.Unpack(context.Background(), root, "amd64")
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: error %v", name, err)
			}
			if beside, _ := os.ReadDir(filepath.Dir(root)); len(beside) != 1 {
				t.Errorf("%s: it wrote beside the root", name)
			}
		}
	})
}

// A layout in a tar is as hostile as one in a directory: nothing in it leads out of the tar.
func TestPackedLayoutRefused(t *testing.T) {
	nstest.Root(t, func(t *testing.T) {
		const version = `oci-layout={"imageLayoutVersion":"1.0.0"}`
		d := digest.FromString("x")
		index := `index.json={"schemaVersion":2,"manifests":[{"mediaType":"` + ispec.MediaTypeImageManifest + `","digest":"` + string(d) + `","size":1}]}`
		for name, c := range map[string]struct {
			files []string
			want  string
		}{
			"no index":      {[]string{version}, "index.json"},
			"index outside": {[]string{version, "index.json=-> /etc/passwd"}, "file does not exist"},
			"blob missing":  {[]string{version, index}, "is missing"},
			"blob outside":  {[]string{version, index, "blobs/sha256/" + d.Encoded() + "=-> ../../../../etc/passwd"}, "is missing"},
			"other size":    {[]string{version, index, "blobs/sha256/" + d.Encoded() + "=xy"}, "2 bytes instead of 1"},
			"other bytes":   {[]string{version, index, "blobs/sha256/" + d.Encoded() + "=y"}, "has the digest"},
		} {
			_, _, err := unpack(t, save(t, pack(t, c.files...)), "amd64")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: error %v", name, err)
			}
		}
	})
}

// A compressed image archive is the image, with the digest of the archive, and as hostile as any other.
func TestCompressedImages(t *testing.T) {
	nstest.Root(t, func(t *testing.T) {
		l := newLayout(t)
		l.index(l.image("amd64", threeLayers(t)...))
		for name, plain := range map[string][]byte{"docker": newDocker(threeLayers(t)...).bytes(t), "OCI": l.packed()} {
			b := gz(t, plain)
			root := filepath.Join(t.TempDir(), "root")
			check(t, os.Mkdir(root, 0o755))
			src, err := Open(save(t, b))
			check(t, err)
			base, err := src.Unpack(context.Background(), root, "amd64")
			if err != nil || base.Digest != digest.FromBytes(b) || base.Newest != 1000 {
				t.Errorf("%s: %+v, %v", name, base, err)
				continue
			}
			if got := tree(t, root); !slices.Equal(got, flattened) {
				t.Errorf("%s: %q", name, got)
			}
			if beside, _ := os.ReadDir(filepath.Dir(root)); len(beside) != 1 {
				t.Errorf("%s: %v is left beside the root", name, beside)
			}
		}
		d := newDocker(threeLayers(t)...)
		d.layerNames("a.tar", "b.tar", "x")
		d.more = []string{"x=-> /etc/passwd"}
		evil := newDocker(pack(t, "../x=1"))
		for want, b := range map[string][]byte{"invalid cross-device link": d.bytes(t), `entry "../x"`: evil.bytes(t)} {
			if _, _, err := unpack(t, save(t, gz(t, b)), "amd64"); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %v", want, err)
			}
		}
	})
}

// Of a bundle is said what to do.
func TestBundleIsNoBase(t *testing.T) {
	dir := t.TempDir()
	check(t, os.Mkdir(filepath.Join(dir, "rootfs"), 0o755))
	check(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte("{}"), 0o644))
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "is an OCI bundle") {
		t.Errorf("error %v", err)
	}
}

package ociimage

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/schema"
	"github.com/opencontainers/image-spec/specs-go"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// text is up to 4 MB that compress like programs do, the same at every call.
func text(size int) []byte { return allText()[:size] }

var allText = sync.OnceValue(func() []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var b []byte
	for len(b) < 4<<20 {
		b = strconv.AppendUint(b, r.Uint64()>>(r.Uint64()%64), 16)
		b = append(b, " line "...)
		b = append(strconv.AppendUint(b, r.Uint64N(1000), 10), '\n')
	}
	return b
})

// layerOf writes b in pieces of changing sizes.
func layerOf(b []byte) Layer {
	return Layer{DiffID: digest.FromBytes(b), Size: int64(len(b)), Write: func(_ context.Context, w io.Writer) error {
		for n, rest := 1, b; len(rest) > 0; n++ {
			part := rest[:min(len(rest), n*7919%300_000)]
			if _, err := w.Write(part); err != nil {
				return err
			}
			rest = rest[len(part):]
		}
		return nil
	}}
}

func imageOf(t testing.TB, layers ...[]byte) *Image {
	i := &Image{}
	config := ispec.Image{Platform: ispec.Platform{OS: "linux", Architecture: "amd64"}, RootFS: ispec.RootFS{Type: "layers"}}
	m := ispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ispec.MediaTypeImageManifest}
	for _, b := range layers {
		l := layerOf(b)
		i.Layers = append(i.Layers, l)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.DiffID)
		m.Layers = append(m.Layers, ispec.Descriptor{MediaType: ispec.MediaTypeImageLayer, Digest: l.DiffID, Size: l.Size})
	}
	var err error
	i.Config, err = json.Marshal(config)
	check(t, err)
	m.Config = ispec.Descriptor{MediaType: ispec.MediaTypeImageConfig, Digest: digest.FromBytes(i.Config), Size: int64(len(i.Config))}
	i.Manifest, err = json.Marshal(m)
	check(t, err)
	i.Digest = digest.FromBytes(i.Manifest)
	return i
}

func layout(t testing.TB, i *Image, o Options) (dir string, d ispec.Descriptor, err error) {
	dir = t.TempDir()
	root, err := os.OpenRoot(dir)
	check(t, err)
	defer root.Close()
	l, err := NewLayout(root, "latest", nil)
	check(t, err)
	d, err = Send(context.Background(), i, l, o)
	return dir, d, err
}

// files are the names and contents of all files below dir.
func files(t testing.TB, dir string) map[string]string {
	all := map[string]string{}
	check(t, filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		rel, _ := filepath.Rel(dir, p)
		all[rel] = string(b)
		return err
	}))
	return all
}

func read[T any](t testing.TB, dir, name string) (v T) {
	b, err := os.ReadFile(filepath.Join(dir, name))
	check(t, err)
	check(t, json.Unmarshal(b, &v))
	return v
}

func blob(d digest.Digest) string { return "blobs/sha256/" + d.Encoded() }

// However an image is compressed, its configuration is the same, what its layers unpack to is the same, Plain leads back
// to its own digest, and the documents are as the schemas want them.
func TestLayout(t *testing.T) {
	contents := [][]byte{text(2 << 20), text(100)}
	img := imageOf(t, contents[0], contents[1], contents[0])
	for _, c := range []Compression{None, Gzip, Zstd} {
		dir, d, err := layout(t, img, Options{Compression: c})
		check(t, err)
		if (d.Digest == img.Digest) != (c == None) {
			t.Errorf("%s: manifest %s, image %s", c, d.Digest, img.Digest)
		}
		m := read[ispec.Manifest](t, dir, blob(d.Digest))
		for n, l := range m.Layers {
			raw, err := os.ReadFile(filepath.Join(dir, blob(l.Digest)))
			check(t, err)
			if got := decompress(t, c, raw); digest.FromBytes(got) != img.Layers[n].DiffID || l.Size != int64(len(raw)) || l.MediaType != c.MediaType() {
				t.Errorf("%s: layer %d is %d bytes, described as %+v", c, n, len(got), l)
			}
		}
		if plain, err := Plain(&m, img.Layers); err != nil || digest.FromBytes(plain) != img.Digest {
			t.Errorf("%s: the way back leads to %s, %v", c, plain, err)
		}
		index := read[ispec.Index](t, dir, "index.json")
		if len(index.Manifests) != 1 || index.Manifests[0].Digest != d.Digest || index.Manifests[0].Annotations[ispec.AnnotationRefName] != "latest" {
			t.Errorf("%s: index.json: %+v", c, index)
		}
		all := files(t, dir)
		for name, v := range map[string]schema.Validator{
			blob(d.Digest): schema.ValidatorMediaTypeManifest, blob(m.Config.Digest): schema.ValidatorMediaTypeImageConfig,
			"index.json": schema.ValidatorMediaTypeImageIndex, "oci-layout": schema.ValidatorMediaTypeLayoutHeader,
		} {
			if err := v.Validate(strings.NewReader(all[name])); err != nil {
				t.Errorf("%s: %s: %v\n%s", c, name, err, all[name])
			}
		}
		if len(all) != 6 { // two layers, two documents, index and version
			t.Errorf("%s: %d files", c, len(all))
		}
	}
}

func decompress(t testing.TB, c Compression, b []byte) []byte {
	var r io.Reader = bytes.NewReader(b)
	switch c {
	case Gzip:
		z, err := gzip.NewReader(r)
		check(t, err)
		r = z
	case Zstd:
		z, err := zstd.NewReader(r)
		check(t, err)
		defer z.Close()
		r = z
	}
	out, err := io.ReadAll(r)
	check(t, err)
	return out
}

// The number of processors, and what was compressed before, change nothing.
func TestSameBytes(t *testing.T) {
	img := imageOf(t, text(4<<20), text(1<<20), text(1<<20+1), nil)
	for _, c := range []Compression{Gzip, Zstd} {
		var want map[string]string
		for _, cpus := range []int{1, 2, 7} {
			before := runtime.GOMAXPROCS(cpus)
			dir, d, err := layout(t, img, Options{Compression: c})
			runtime.GOMAXPROCS(before)
			check(t, err)
			for n, l := range img.Layers {
				described, err := l.Describe(context.Background(), c)
				check(t, err)
				if m := read[ispec.Manifest](t, dir, blob(d.Digest)); described.Digest != m.Layers[n].Digest || described.Size != m.Layers[n].Size {
					t.Errorf("%s: layer %d is described as %+v, and is %+v", c, n, described, m.Layers[n])
				}
			}
			if got := files(t, dir); want == nil {
				want = got
			} else if len(got) != len(want) {
				t.Errorf("%s: %d files instead of %d", c, len(got), len(want))
			} else {
				for name := range want {
					if got[name] != want[name] {
						t.Errorf("%s with %d processors: %s differs", c, cpus, name)
					}
				}
			}
		}
	}
}

func TestAnnotations(t *testing.T) {
	img := imageOf(t, text(100))
	dir, d, err := layout(t, img, Options{Annotations: map[string]string{"a": "b"}})
	check(t, err)
	if m := read[ispec.Manifest](t, dir, blob(d.Digest)); m.Annotations["a"] != "b" || m.Layers[0].Digest != img.Layers[0].DiffID || d.Digest == img.Digest {
		t.Errorf("manifest is %+v, of image %s", m, img.Digest)
	}
}

// A layer that is not what its name says, or cannot be read, leaves no layout behind.
func TestDamage(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Image)
		want   string
	}{
		"other bytes": {func(i *Image) { i.Layers[1].Write = layerOf(text(99)).Write }, "was to be written"},
		"read error": {func(i *Image) {
			i.Layers[0].Write = func(context.Context, io.Writer) error { return errors.New("disk on fire") }
		}, "disk on fire"},
		"other layer":         {func(i *Image) { i.Layers[0] = layerOf(text(5)) }, "layer 1 is"},
		"layer missing":       {func(i *Image) { i.Layers = i.Layers[:1] }, "it has 2 layers, and 1 are given"},
		"other configuration": {func(i *Image) { i.Config = []byte("{}") }, "its configuration is"},
		"other manifest":      {func(i *Image) { i.Digest = digest.FromString("x") }, "its manifest is"},
	} {
		img := imageOf(t, text(2<<20), text(100))
		c.change(img)
		dir, _, err := layout(t, img, Options{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v", name, err)
		}
		for file := range files(t, dir) {
			if !strings.HasPrefix(file, "blobs/") || strings.Contains(file, tempPrefix) {
				t.Errorf("%s: there is %s", name, file)
			}
		}
	}
}

// A sink that has a layer is told which it is and not made to read it.
func TestKnown(t *testing.T) {
	img := imageOf(t, text(1000), text(2000))
	known := map[digest.Digest]ispec.Descriptor{}
	for _, l := range img.Layers[:1] {
		d, err := l.Describe(context.Background(), Gzip)
		check(t, err)
		known[l.DiffID] = d
	}
	s := &lazySink{}
	_, err := Send(context.Background(), img, s, Options{Compression: Gzip, Known: func(d digest.Digest) (ispec.Descriptor, bool) {
		k, ok := known[d]
		return k, ok
	}})
	check(t, err)
	slices.Sort(s.written)
	if s.skipped != known[img.Layers[0].DiffID].Digest || len(s.written) != 3 { // the other layer, configuration, manifest
		t.Errorf("skipped %s, written %v", s.skipped, s.written)
	}
}

type lazySink struct {
	skipped digest.Digest
	written []string
}

func (s *lazySink) Blob(ctx context.Context, d ispec.Descriptor, write func(context.Context, io.Writer) error) (ispec.Descriptor, error) {
	if d.Digest != "" && d.MediaType == ispec.MediaTypeImageLayerGzip {
		s.skipped = d.Digest
		return d, nil
	}
	s.written = append(s.written, d.MediaType)
	m := newMeter(io.Discard)
	if err := write(ctx, m); err != nil {
		return d, err
	}
	return m.fill(d)
}

func (s *lazySink) Manifest(_ context.Context, d ispec.Descriptor, body []byte) error {
	s.written = append(s.written, d.MediaType)
	return nil
}

func TestDocker(t *testing.T) {
	a, b := text(1<<20), text(512)
	img := imageOf(t, a, b, a)
	var out, again bytes.Buffer
	check(t, WriteDocker(context.Background(), &out, img, []string{"localhost/x:y"}))
	check(t, WriteDocker(context.Background(), &again, img, []string{"localhost/x:y"}))
	if !bytes.Equal(out.Bytes(), again.Bytes()) {
		t.Error("two archives differ")
	}
	got := map[string]string{}
	for r := tar.NewReader(&out); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		check(t, err)
		body, err := io.ReadAll(r)
		check(t, err)
		got[h.Name] = string(body)
	}
	hexA, hexB, hexC := digest.FromBytes(a).Encoded(), digest.FromBytes(b).Encoded(), digest.FromBytes(img.Config).Encoded()
	want := map[string]string{
		"manifest.json": `[{"Config":"` + hexC + `.json","RepoTags":["localhost/x:y"],"Layers":["` + hexA + `.tar","` + hexB + `.tar","` + hexA + `.tar"]}]`,
		hexC + ".json":  string(img.Config), hexA + ".tar": string(a), hexB + ".tar": string(b),
	}
	if len(got) != len(want) {
		t.Errorf("%d files instead of %d", len(got), len(want))
	}
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s differs", name)
		}
	}
	img.Layers[1].Write = layerOf(text(600)).Write
	if err := WriteDocker(context.Background(), io.Discard, img, nil); err == nil {
		t.Error("a layer of another size is taken")
	}
}

func BenchmarkCompress(b *testing.B) {
	l := layerOf(bytes.Repeat(text(4<<20), 8))
	for _, c := range []Compression{Gzip, Zstd} {
		b.Run(string(c), func(b *testing.B) {
			b.SetBytes(l.Size)
			for b.Loop() {
				check(b, l.WriteCompressed(context.Background(), io.Discard, c))
			}
		})
	}
}

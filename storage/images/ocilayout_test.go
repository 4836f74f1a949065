package images

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/storage/fstree"
	"github.com/karapace/karapace/storage/fstree/nstest"
)

// layoutDir is an OCI layout that a test builds.
type layoutDir struct {
	t    testing.TB
	path string
}

func newLayout(t testing.TB) *layoutDir {
	l := &layoutDir{t, t.TempDir()}
	l.write("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	return l
}

func (l *layoutDir) write(name string, b []byte) {
	path := filepath.Join(l.path, name)
	check(l.t, os.MkdirAll(filepath.Dir(path), 0o755))
	check(l.t, os.WriteFile(path, b, 0o644))
}

func (l *layoutDir) blob(mediaType string, b []byte) ispec.Descriptor {
	d := digest.FromBytes(b)
	l.write("blobs/sha256/"+d.Encoded(), b)
	return ispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))}
}

func (l *layoutDir) json(mediaType string, v any) ispec.Descriptor {
	b, err := json.Marshal(v)
	check(l.t, err)
	return l.blob(mediaType, b)
}

// image adds an image of layers, given as tars, which are stored compressed.
func (l *layoutDir) image(arch string, layers ...[]byte) ispec.Descriptor {
	config := ispec.Image{Platform: ispec.Platform{OS: "linux", Architecture: arch}, RootFS: ispec.RootFS{Type: "layers"}}
	config.Config = ispec.ImageConfig{User: "4294967296", WorkingDir: "/proc/self/fd/7", Entrypoint: []string{"x"}, Labels: map[string]string{"run.oci.keep_original_groups": "1"},
		Env: []string{"PATH=/bin", "A_1=", "NOEQUALS", "=x", "B AD=1", "1X=1", "SECRET*", "N=a\nb", "LD_PRELOAD=/x"}}
	m := ispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ispec.MediaTypeImageManifest}
	for _, b := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(b))
		m.Layers = append(m.Layers, l.blob(ispec.MediaTypeImageLayerGzip, gz(l.t, b)))
	}
	m.Config = l.json(ispec.MediaTypeImageConfig, config)
	return l.json(ispec.MediaTypeImageManifest, m)
}

func (l *layoutDir) index(ds ...ispec.Descriptor) {
	b, err := json.Marshal(ispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ispec.MediaTypeImageIndex, Manifests: ds})
	check(l.t, err)
	l.write("index.json", b)
}

func (l *layoutDir) nest(ds ...ispec.Descriptor) ispec.Descriptor {
	return l.json(ispec.MediaTypeImageIndex, ispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ispec.MediaTypeImageIndex, Manifests: ds})
}

func on(d ispec.Descriptor, arch, variant string) ispec.Descriptor {
	d.Platform = &ispec.Platform{OS: "linux", Architecture: arch, Variant: variant}
	return d
}

func threeLayers(t testing.TB) [][]byte {
	return [][]byte{
		pack(t, "etc/", "etc/a=1", "etc/b=1", "usr/", "usr/share/", "usr/share/x=1", "lib=-> usr/lib", "usr/lib/", "usr/lib/l=1"),
		pack(t, "etc/.wh.a=", "etc/b=2", "usr/share/", "usr/share/.wh..wh..opq=", "usr/share/y=2"),
		pack(t, "etc/a=3", "lib/.wh.l=", "lib/m=3"),
	}
}

var flattened = []string{"etc", "etc/a=3", "etc/b=2", "lib", "usr", "usr/lib", "usr/lib/m=3", "usr/share", "usr/share/y=2"}

func TestLayout(t *testing.T) {
	nstest.Userns(t, func(t *testing.T) {
		l := newLayout(t)
		amd := l.image("amd64", threeLayers(t)...)
		arm := l.image("arm64", pack(t, "etc/", "usr/", "arm=1"))
		arm6, arm7 := l.image("arm", pack(t, "etc/", "usr/", "v6=1")), l.image("arm", pack(t, "etc/", "usr/", "v7=1"))
		attestation := on(l.json(ispec.MediaTypeImageManifest, ispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}}), "unknown", "")
		attestation.Platform.OS = "unknown"
		artifact := l.json(ispec.MediaTypeImageManifest, ispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, Config: ispec.DescriptorEmptyJSON})
		several := l.nest(on(amd, "amd64", ""), on(arm, "arm64", "v8"), on(arm6, "arm", "v6"), on(arm7, "arm", "v7"), attestation)
		for _, c := range []struct {
			name, arch string
			index      []ispec.Descriptor
			want       []string
			digest     digest.Digest // "" is that of index.json
		}{
			{"one image", "amd64", []ispec.Descriptor{amd}, flattened, amd.Digest},
			{"an index", "arm64", []ispec.Descriptor{several}, []string{"arm=1", "etc", "usr"}, several.Digest},
			{"nested", "amd64", []ispec.Descriptor{l.nest(l.nest(several))}, flattened, l.nest(l.nest(several)).Digest},
			{"best variant", "arm", []ispec.Descriptor{several}, []string{"etc", "usr", "v7=1"}, several.Digest},
			{"two at the top", "amd64", []ispec.Descriptor{arm, amd}, flattened, ""},
			{"two names for one", "amd64", []ispec.Descriptor{amd, amd}, flattened, ""},
			{"beside an artifact", "amd64", []ispec.Descriptor{artifact, amd}, flattened, ""},
		} {
			l.index(c.index...)
			root, b, err := unpack(t, l.path, c.arch)
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			if got := tree(t, root); !slices.Equal(got, c.want) {
				t.Errorf("%s: %q, want %q", c.name, got, c.want)
			}
			if c.digest == "" {
				raw, _ := os.ReadFile(l.path + "/index.json")
				c.digest = digest.FromBytes(raw)
			}
			if b.Digest != c.digest || b.Newest != 1000 || !slices.Equal(b.Env, []string{"PATH=/bin", "A_1=", "LD_PRELOAD=/x"}) {
				t.Errorf("%s: %+v", c.name, b)
			}
		}
	})
}

func TestLayoutRefused(t *testing.T) {
	nstest.Root(t, func(t *testing.T) {
		good := threeLayers(t)
		raw := func(l *layoutDir, index string) { l.write("index.json", []byte(index)) }
		for name, c := range map[string]struct {
			make func(l *layoutDir)
			want string
		}{
			"no index":            {func(l *layoutDir) {}, "index.json"},
			"index is a FIFO":     {func(l *layoutDir) { check(t, unix.Mkfifo(l.path+"/index.json", 0o644)) }, "not a regular file"},
			"index is a device":   {func(l *layoutDir) { check(t, os.Symlink("/dev/zero", l.path+"/index.json")) }, "index.json"},
			"index leads outside": {func(l *layoutDir) { check(t, os.Symlink("/etc/passwd", l.path+"/index.json")) }, "cross-device"},
			"index is huge":       {func(l *layoutDir) { raw(l, strings.Repeat(" ", documentLimit+1)) }, "larger than"},
			"index is no JSON":    {func(l *layoutDir) { raw(l, "x") }, "index.json: invalid"},
			"other schema":        {func(l *layoutDir) { raw(l, `{"schemaVersion":1}`) }, "schema version 1"},
			"other layout":        {func(l *layoutDir) { l.write("oci-layout", []byte(`{"imageLayoutVersion":"2.0.0"}`)) }, `version "2.0.0"`},
			"index and manifest":  {func(l *layoutDir) { raw(l, `{"schemaVersion":2,"manifests":[],"layers":[]}`) }, "both an index and a manifest"},
			"says it is another":  {func(l *layoutDir) { raw(l, `{"schemaVersion":2,"mediaType":"x/y","manifests":[]}`) }, `"x/y"`},
			"nothing":             {func(l *layoutDir) { l.index() }, "it holds no image"},
			"another machine":     {func(l *layoutDir) { l.index(l.image("riscv64", good...)) }, `no image for linux/amd64, but for "linux/riscv64"`},
			"another system": {func(l *layoutDir) {
				d := on(l.image("amd64", good...), "amd64", "")
				d.Platform.OS = "windows"
				l.index(d)
			}, `"windows/amd64"`},
			"two that fit": {func(l *layoutDir) { l.index(l.image("amd64", good...), l.image("amd64", good[0])) }, "2 images for linux/amd64"},
			"too deep":     {func(l *layoutDir) { l.index(l.nest(l.nest(l.nest(l.nest(l.image("amd64", good...)))))) }, "nested deeper"},
			"too many": {func(l *layoutDir) {
				d := on(l.image("arm64", good...), "arm64", "")
				l.index(l.nest(slices.Repeat([]ispec.Descriptor{d}, 600)...), l.nest(slices.Repeat([]ispec.Descriptor{d}, 600)...))
			}, "more than 1000 descriptors"},
			"digest climbs": {func(l *layoutDir) {
				l.index(ispec.Descriptor{MediaType: ispec.MediaTypeImageManifest, Digest: "sha256:../../../etc/passwd"})
			}, "is not a sha256"},
			"digest of another kind": {func(l *layoutDir) {
				l.index(ispec.Descriptor{MediaType: ispec.MediaTypeImageManifest, Digest: digest.Digest("md5:" + strings.Repeat("0", 32))})
			}, "is not a sha256"},
			"manifest missing": {func(l *layoutDir) {
				l.index(ispec.Descriptor{MediaType: ispec.MediaTypeImageManifest, Digest: digest.FromString("x"), Size: 1})
			}, "is missing"},
			"manifest of another size": {func(l *layoutDir) {
				d := l.image("amd64", good...)
				d.Size++
				l.index(d)
			}, "bytes instead of"},
			"manifest of negative size": {func(l *layoutDir) {
				d := l.image("amd64", good...)
				d.Size = -1
				l.index(d)
			}, "bytes instead of -1"},
			"manifest changed": {func(l *layoutDir) {
				d := l.image("amd64", good...)
				l.write("blobs/sha256/"+d.Digest.Encoded(), bytes.Repeat([]byte(" "), int(d.Size)))
				l.index(d)
			}, "has the digest"},
			"manifest says it is an index": {func(l *layoutDir) {
				d := l.image("amd64", good...)
				d.MediaType = ispec.MediaTypeImageIndex
				l.index(d)
			}, "referred to as"},
			"layer changed": {func(l *layoutDir) {
				d, m := l.imageAndManifest(good...)
				l.write("blobs/sha256/"+m.Layers[1].Digest.Encoded(), gz(t, good[0]))
				l.index(d)
			}, "layer 2: blob"},
			"layer missing": {func(l *layoutDir) {
				d, m := l.imageAndManifest(good...)
				check(t, os.Remove(l.path+"/blobs/sha256/"+m.Layers[2].Digest.Encoded()))
				l.index(d)
			}, "layer 3: blob"},
			"layer is a directory": {func(l *layoutDir) {
				d, m := l.imageAndManifest(good...)
				path := l.path + "/blobs/sha256/" + m.Layers[2].Digest.Encoded()
				check(t, os.Remove(path))
				check(t, os.Mkdir(path, 0o755))
				l.index(d)
			}, "not a regular file"},
			"layer encrypted": {func(l *layoutDir) {
				l.index(l.changed(good, func(m *ispec.Manifest, _ *ispec.Image) { m.Layers[0].MediaType += "+encrypted" }))
			}, "encrypted"},
			"other diffID": {func(l *layoutDir) {
				l.index(l.changed(good, func(_ *ispec.Manifest, c *ispec.Image) { c.RootFS.DiffIDs[1] = digest.FromString("x") }))
			}, "layer 2: blob"},
			"diffID missing": {func(l *layoutDir) {
				l.index(l.changed(good, func(_ *ispec.Manifest, c *ispec.Image) { c.RootFS.DiffIDs = c.RootFS.DiffIDs[:2] }))
			}, "3 layers, and its configuration speaks of 2"},
			"too many layers": {func(l *layoutDir) {
				l.index(l.changed(good, func(m *ispec.Manifest, c *ispec.Image) {
					m.Layers = slices.Repeat(m.Layers[:1], 128)
					c.RootFS.DiffIDs = slices.Repeat(c.RootFS.DiffIDs[:1], 128)
				}))
			}, "128 layers"},
			"unknown root file system": {func(l *layoutDir) {
				l.index(l.changed(good, func(_ *ispec.Manifest, c *ispec.Image) { c.RootFS.Type = "disk" }))
			}, `unknown type "disk"`},
			"hostile layer": {func(l *layoutDir) { l.index(l.image("amd64", good[0], pack(t, "../x=1"))) }, `entry "../x"`},
			"no system":     {func(l *layoutDir) { l.index(l.image("amd64", pack(t, "hello=x"))) }, "holds no system"},
			"all removed":   {func(l *layoutDir) { l.index(l.image("amd64", good[0], pack(t, ".wh..wh..opq="))) }, "holds no system"},
			"no layers":     {func(l *layoutDir) { l.index(l.image("amd64")) }, "holds no system"},
		} {
			l := newLayout(t)
			c.make(l)
			done := make(chan error, 1)
			go func() {
				src, err := Open(l.path)
				if err == nil {
					_, err = src.Unpack(context.Background(), t.TempDir(), "amd64")
				}
				done <- err
			}()
			select {
			case err := <-done:
				if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), l.path) {
					t.Errorf("%s: error %v", name, err)
				}
			case <-time.After(time.Minute):
				t.Fatalf("%s: it hangs", name)
			}
		}
	})
}

func (l *layoutDir) imageAndManifest(layers ...[]byte) (d ispec.Descriptor, m ispec.Manifest) {
	d = l.image("amd64", layers...)
	b, err := os.ReadFile(l.path + "/blobs/sha256/" + d.Digest.Encoded())
	check(l.t, err)
	check(l.t, json.Unmarshal(b, &m))
	return d, m
}

func (l *layoutDir) changed(layers [][]byte, change func(*ispec.Manifest, *ispec.Image)) ispec.Descriptor {
	_, m := l.imageAndManifest(layers...)
	b, err := os.ReadFile(l.path + "/blobs/sha256/" + m.Config.Digest.Encoded())
	check(l.t, err)
	var config ispec.Image
	check(l.t, json.Unmarshal(b, &config))
	change(&m, &config)
	m.Config = l.json(ispec.MediaTypeImageConfig, config)
	return l.json(ispec.MediaTypeImageManifest, m)
}

// packed is the layout as a tar.
func (l *layoutDir) packed() []byte {
	var all []string
	check(l.t, filepath.WalkDir(l.path, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			b, _ := os.ReadFile(p)
			rel, _ := filepath.Rel(l.path, p)
			all = append(all, rel+"="+string(b))
		}
		return err
	}))
	return pack(l.t, all...)
}

func TestPackedImages(t *testing.T) {
	nstest.Root(t, func(t *testing.T) {
		layers := threeLayers(t)
		l := newLayout(t)
		l.index(l.image("amd64", layers...))
		_, m := l.imageAndManifest(layers...)
		config, err := os.ReadFile(l.path + "/blobs/sha256/" + m.Config.Digest.Encoded())
		check(t, err)
		docker := func(manifest string) []byte {
			return pack(t, "manifest.json="+manifest, "c.json="+string(config), "1/layer.tar="+string(layers[0]), "2/layer.tar="+string(layers[1]), "3/layer.tar=-> ../4/layer.tar", "4/layer.tar="+string(layers[2]))
		}
		const manifest = `[{"Config":"c.json","RepoTags":["x:y"],"Layers":["1/layer.tar","2/layer.tar","3/layer.tar"]}]`
		for name, b := range map[string][]byte{"OCI": l.packed(), "docker": docker(manifest)} {
			path := save(t, b)
			root, base, err := unpack(t, path, "amd64")
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if got := tree(t, root); !slices.Equal(got, flattened) {
				t.Errorf("%s: %q", name, got)
			}
			if base.Digest != digest.FromBytes(b) || base.Newest != 1000 || len(base.Env) != 3 {
				t.Errorf("%s: %+v", name, base)
			}
		}
		for bad, want := range map[string]string{
			`x`:    "invalid character",
			`[]`:   "it holds 0 images",
			`[{}]`: "no such",
			strings.Replace(manifest, "c.json", "../c", 1):               "file does not exist",
			strings.Replace(manifest, "1/layer", "2/layer", 1):           "layer 1: 2/layer.tar is the archive",
			strings.Replace(manifest, `,"3/layer.tar"`, "", 1):           "2 layers, and its configuration speaks of 3",
			strings.Replace(manifest, "3/layer.tar", "manifest.json", 1): "layer 3: manifest.json",
		} {
			_, _, err := unpack(t, save(t, docker(bad)), "amd64")
			if err == nil || !strings.Contains(err.Error(), want) && want != "no such" {
				t.Errorf("%s: error %v", bad, err)
			}
		}
		if _, _, err := unpack(t, save(t, docker(manifest)), "arm64"); err == nil || !strings.Contains(err.Error(), "no image for linux/arm64") {
			t.Errorf("error %v", err)
		}
	})
}

// What skopeo makes of an image is the same base in all its forms.
func TestSkopeoForms(t *testing.T) {
	nstest.Root(t, func(t *testing.T) {
		skopeo, err := exec.LookPath("skopeo")
		if err != nil {
			t.Skip("no skopeo")
		}
		l := newLayout(t)
		l.index(l.image("amd64", threeLayers(t)...))
		dir := t.TempDir()
		var want string
		for _, form := range []string{"oci:" + dir + "/layout:latest", "oci-archive:" + dir + "/oci.tar", "docker-archive:" + dir + "/docker.tar:x:latest"} {
			out, err := exec.Command(skopeo, "copy", "--override-arch", "amd64", "--insecure-policy", "oci:"+l.path, form).CombinedOutput()
			if err != nil {
				t.Fatalf("skopeo: %v\n%s", err, out)
			}
			path := strings.SplitN(form, ":", 3)[1]
			root, _, err := unpack(t, path, "amd64")
			if err != nil {
				t.Errorf("%s: %v", form, err)
				continue
			}
			check(t, fstree.Normalise(context.Background(), root, fstree.NormaliseOptions{Epoch: 1000}))
			d, _, err := fstree.Digest(context.Background(), root)
			check(t, err)
			if want == "" {
				want = fmt.Sprint(d)
			}
			if fmt.Sprint(d) != want {
				t.Errorf("%s: %s, want %s", form, d, want)
			}
		}
	})
}

package simplestreams_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro"
	"github.com/karapace/karapace/manifest/distro/aptrepo/aptrepotest"
	"github.com/karapace/karapace/manifest/distro/pgp"
	"github.com/karapace/karapace/storage/fetch"
	"github.com/karapace/karapace/storage/images/simplestreams"
)

// site is an image server: what is served by path.
type site map[string]string

func (s site) serve(t *testing.T) string {
	t.Helper()
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, ok := s[strings.TrimPrefix(r.URL.Path, "/")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		io.WriteString(w, body)
	}))
	t.Cleanup(h.Close)
	return h.URL
}

type object map[string]any

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const sum = "1111111111111111111111111111111111111111111111111111111111111111"

// version has a tar and a squashfs.
func version(path string) object {
	return object{"items": object{
		"lxd.tar.xz":    object{"ftype": "lxd.tar.xz", "path": path + "/lxd.tar.xz", "sha256": sum, "size": 10},
		"root.squashfs": object{"ftype": "squashfs", "path": path + "/rootfs.squashfs", "sha256": sum, "size": 200},
		"root.tar.xz":   object{"ftype": "root.tar.xz", "path": path + "/rootfs.tar.xz", "sha256": sum, "size": 100},
	}}
}

func lxcProduct(os, release, arch, variant string, aliases string, versions ...string) (string, object) {
	vs := object{}
	for _, v := range versions {
		vs[v] = version(fmt.Sprintf("images/%s/%s/%s/%s/%s", strings.ToLower(os), release, arch, variant, v))
	}
	return strings.ToLower(os) + ":" + release + ":" + arch + ":" + variant,
		object{"aliases": aliases, "arch": arch, "os": os, "release": release, "variant": variant, "versions": vs}
}

func index(path string) object {
	return object{"format": "index:1.0", "index": object{
		"images": object{"datatype": "image-downloads", "format": "products:1.0", "path": path, "products": []string{"a", "b"}},
		"clouds": object{"datatype": "image-ids", "format": "products:1.0", "path": "../not/followed"},
	}}
}

// lxc is a server as LXC's is.
func lxc(t *testing.T) site {
	products := object{}
	add := func(name string, p object) { products[name] = p }
	for _, p := range [][3]string{
		{"Debian", "bookworm", "debian/bookworm/default,debian/bookworm,debian/12"}, {"Debian", "trixie", "debian/trixie,debian/13"},
		{"Debian", "sid", "debian/sid"}, {"Debian", "duke", "debian/duke,debian/15"},
		{"Ubuntu", "noble", "ubuntu/noble,ubuntu/24.04"}, {"Ubuntu", "jammy", "ubuntu/jammy"}, {"Ubuntu", "focal", "ubuntu/focal"},
		{"Fedora", "9", ""}, {"Fedora", "41", "fedora/41"}, {"Fedora", "42", "fedora/42"}, {"Fedora", "rawhide", ""},
		{"Opensuse", "tumbleweed", ""}, {"Opensuse", "15.6", ""}, {"Opensuse", "15.10", ""}, {"Archlinux", "current", "archlinux"},
	} {
		for _, arch := range []string{"amd64", "arm64", "i386"} {
			add(lxcProduct(p[0], p[1], arch, "default", p[2], "20260301_05:24", "20260302_05:24", "20251231_23:59", "broken"))
			add(lxcProduct(p[0], p[1], arch, "cloud", p[2]+",", "20270101_00:00"))
		}
	}
	return site{
		"streams/v1/index.json":  text(t, index("streams/v1/images.json")),
		"streams/v1/images.json": text(t, object{"content_id": "images", "datatype": "image-downloads", "products": products, "format": "products:1.0"}),
	}
}

func resolve(t *testing.T, keys pgp.KeyRing, alias, arch string, urls ...string) (*simplestreams.Item, error) {
	t.Helper()
	f, err := fetch.New(fetch.Options{Vault: filepath.Join(t.TempDir(), "vault"), Retries: -1})
	if err != nil {
		t.Fatal(err)
	}
	ref, err := manifest.ParseBaseRef(alias)
	if err != nil {
		t.Fatal(err)
	}
	s := &simplestreams.Servers{URLs: urls, Keys: keys, Fetcher: f}
	return s.Resolve(t.Context(), simplestreams.Query{Distro: ref.Distro, Release: ref.Release, Arch: arch})
}

// Every name that a manifest may have leads to the newest version of the default variant.
func TestAliases(t *testing.T) {
	base := lxc(t).serve(t)
	for alias, want := range map[string]string{
		"rolling": "opensuse/tumbleweed", "opensuse": "opensuse/tumbleweed", "opensuse/tumbleweed": "opensuse/tumbleweed", "tumbleweed": "opensuse/tumbleweed",
		"opensuse/leap": "opensuse/15.10", "leap": "opensuse/15.10", "opensuse/15.6": "opensuse/15.6",
		"ubuntu": "ubuntu/noble", "ubuntu/24.04": "ubuntu/noble", "ubuntu/22.04": "ubuntu/jammy", "ubuntu/20.04": "ubuntu/focal",
		"ubuntu/noble": "ubuntu/noble", "ubuntu/jammy": "ubuntu/jammy", "ubuntu/focal": "ubuntu/focal",
		"debian": "debian/bookworm", "debian/bookworm": "debian/bookworm", "debian/12": "debian/bookworm", "debian/trixie": "debian/trixie",
		"debian/13": "debian/trixie", "debian/sid": "debian/sid", "debian/15": "debian/duke", "DEBIAN": "debian/bookworm",
		"fedora": "fedora/42", "fedora/41": "fedora/41", "arch": "archlinux/current", "archlinux": "archlinux/current",
	} {
		for goarch, arch := range map[string]string{"amd64": "amd64", "arm64": "arm64", "386": "i386"} {
			item, err := resolve(t, pgp.KeyRing{}, alias, goarch, base+"/")
			if err != nil {
				t.Errorf("%s: %v", alias, err)
				continue
			}
			url := fmt.Sprintf("%s/images/%s/%s/default/20260302_05:24/rootfs.tar.xz", base, want, arch)
			if item.URL != url || item.SHA256 != sum || item.Size != 100 || item.Version != "20260302_05:24" {
				t.Errorf("%s: %+v", alias, item)
			}
		}
	}
	for alias, want := range map[string]string{
		"debian/forky": `no image of debian/forky for amd64; of debian there are "bookworm, duke, sid, trixie"`, "fedora/99": "fedora/99",
	} {
		if item, err := resolve(t, pgp.KeyRing{}, alias, "amd64", base); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v", alias, item, err)
		}
	}
	if item, err := resolve(t, pgp.KeyRing{}, "debian", "s390x", base); err == nil || !strings.Contains(err.Error(), "debian/bookworm for s390x") {
		t.Errorf("%+v, %v", item, err)
	}
}

// Ubuntu's own server names products and lists otherwise.
func TestUbuntuCloud(t *testing.T) {
	item := func(path, ftype string) object {
		return object{"ftype": ftype, "path": "server/releases/" + path, "sha256": sum, "size": 7}
	}
	const list = "streams/v1/com.ubuntu.cloud:released:download.json"
	s := site{"streams/v1/index.json": text(t, object{"format": "index:1.0", "index": object{
		"com.ubuntu.cloud:released:download": object{"datatype": "image-downloads", "format": "products:1.0", "path": list},
		"com.ubuntu.cloud:released:aws":      object{"datatype": "image-ids", "format": "products:1.0", "path": "streams/v1/aws.json"},
	}}), list: text(t, object{"format": "products:1.0", "products": object{
		"com.ubuntu.cloud:server:24.04:amd64": object{"aliases": "24.04,n,noble,default", "arch": "amd64", "os": "ubuntu", "release": "noble", "version": "24.04", "versions": object{
			"20240523":   object{"items": object{"root.tar.xz": item("a-root.tar.xz", "root.tar.xz")}},
			"20240523.9": object{"items": object{"squashfs": item("b.squashfs", "squashfs")}},
			"20240523.10": object{"items": object{
				"squashfs": item("c.squashfs", "squashfs"), "root.tar.xz": item("c-root.tar.xz", "root.tar.xz"), "disk1.img": item("c.img", "disk1.img"),
			}},
			"20240601": object{"items": object{"disk1.img": item("d.img", "disk1.img")}},
		}},
		"com.ubuntu.cloud:server:22.04:amd64": object{"aliases": "22.04,j,jammy", "versions": object{
			"20240101": object{"items": object{"squashfs": item("j.squashfs", "squashfs")}},
		}},
	}})}
	base := s.serve(t)
	for alias, want := range map[string]string{"ubuntu": "c-root.tar.xz", "ubuntu/24.04": "c-root.tar.xz", "ubuntu/jammy": "j.squashfs"} {
		got, err := resolve(t, pgp.KeyRing{}, alias, "amd64", base)
		if err != nil || got.URL != base+"/server/releases/"+want {
			t.Errorf("%s: %+v, %v", alias, got, err)
		}
	}
}

func TestServersInOrder(t *testing.T) {
	good, empty, broken := lxc(t).serve(t), site{}.serve(t), site{"streams/v1/index.json": "<html>"}.serve(t)
	item, err := resolve(t, pgp.KeyRing{}, "debian", "amd64", empty, broken, good, lxc(t).serve(t))
	if err != nil || !strings.HasPrefix(item.URL, good+"/images/") {
		t.Errorf("%+v, %v", item, err)
	}
	_, err = resolve(t, pgp.KeyRing{}, "debian", "amd64", empty, broken)
	for _, want := range []string{empty, "404", broken, "it is not JSON"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}

// What a hostile server says is refused, and the sentence names it.
func TestHostile(t *testing.T) {
	const list = "streams/v1/images.json"
	indexWith := func(path string) site { return site{"streams/v1/index.json": text(t, index(path))} }
	catalog := func(body string) site {
		s := indexWith(list)
		s[list] = body
		return s
	}
	withItem := func(i object) site {
		name, p := lxcProduct("debian", "bookworm", "amd64", "default", "")
		p["versions"] = object{"20260301_05:24": object{"items": object{"root.tar.xz": i}}}
		return catalog(text(t, object{"format": "products:1.0", "products": object{name: p}}))
	}
	for name, c := range map[string]struct {
		site site
		want string
	}{
		"no index":        {site{}, "404"},
		"not JSON":        {site{"streams/v1/index.json": "<html>"}, "it is not JSON"},
		"cut short":       {catalog(`{"format":"products:1.0","products":{"debian:bookworm:amd64:default":{"arch":"amd`), "cut short"},
		"a list":          {catalog(`[]`), "an object is something else"},
		"more behind":     {catalog(`{"format":"products:1.0","products":{}} {}`), "after the end"},
		"other format":    {site{"streams/v1/index.json": `{"format":"index:9.0"}`}, "index:9.0"},
		"no lists":        {site{"streams/v1/index.json": `{"format":"index:1.0"}`}, "0 lists"},
		"products format": {catalog(`{"format":"products:2.0"}`), "products:2.0"},
		"wrong type":      {catalog(`{"products":{"debian:bookworm:amd64:default":{"arch":7}}}`), "a number stands where another value belongs"},
		"twice":           {catalog(`{"products":{"debian:bookworm:amd64:default":{},"debian:bookworm:amd64:default":{}}}`), "stands there twice"},
		"deep":            {catalog(`{"x":` + strings.Repeat("[", 1<<20)), "it is not JSON"},
		"huge":            {catalog(`{"x":"` + strings.Repeat("x", 17<<20) + `"}`), "more than 16.0 MiB"},
		"index dotdot":    {indexWith("streams/../../x.json"), `"streams/../../x.json" is not a path`},
		"index host":      {indexWith("//evil.example/x.json"), "is not a path"},
		"index scheme":    {indexWith("http://evil.example/x.json"), "is not a path"},
		"no versions":     {catalog(`{"products":{"debian:bookworm:amd64:default":{}}}`), "no version with a root file system"},
		"control characters": {catalog(`{"products":{"debian:\u001b[2Jbookworm:amd64:default":{"os":"debian","arch":"amd64","release":"\u001b[2J","versions":{}}}}`),
			`\x1b[2j`},
		"no digest":    {withItem(object{"ftype": "root.tar.xz", "path": "a", "size": 5}), "has no sha256"},
		"upper case":   {withItem(object{"ftype": "root.tar.xz", "path": "a", "size": 5, "sha256": strings.Repeat("A", 64)}), "has no sha256"},
		"no size":      {withItem(object{"ftype": "root.tar.xz", "path": "a", "sha256": sum}), "0 is no size"},
		"negative":     {withItem(object{"ftype": "root.tar.xz", "path": "a", "sha256": sum, "size": -1}), "-1 is no size"},
		"enormous":     {withItem(object{"ftype": "root.tar.xz", "path": "a", "sha256": sum, "size": 1 << 40}), "is no size"},
		"fraction":     {withItem(object{"ftype": "root.tar.xz", "path": "a", "sha256": sum, "size": 1.5}), "another value"},
		"path":         {withItem(object{"ftype": "root.tar.xz", "path": "../a", "sha256": sum, "size": 5}), `"../a" is not a path`},
		"absolute":     {withItem(object{"ftype": "root.tar.xz", "path": "/a", "sha256": sum, "size": 5}), `"/a" is not a path`},
		"other host":   {withItem(object{"ftype": "root.tar.xz", "path": "https://evil.example/a", "sha256": sum, "size": 5}), "is not a path"},
		"percent":      {withItem(object{"ftype": "root.tar.xz", "path": "%2e%2e/a", "sha256": sum, "size": 5}), "is not a path"},
		"query":        {withItem(object{"ftype": "root.tar.xz", "path": "a?b", "sha256": sum, "size": 5}), "is not a path"},
		"backslash":    {withItem(object{"ftype": "root.tar.xz", "path": `..\a`, "sha256": sum, "size": 5}), "is not a path"},
		"line feed":    {withItem(object{"ftype": "root.tar.xz", "path": "a\nb", "sha256": sum, "size": 5}), `a\nb`},
		"empty path":   {withItem(object{"ftype": "root.tar.xz", "sha256": sum, "size": 5}), "is not a path"},
		"other ftypes": {withItem(object{"ftype": "disk.qcow2", "path": "a", "sha256": sum, "size": 5}), "no version with a root file system"},
	} {
		t.Run(name, func(t *testing.T) {
			item, err := resolve(t, pgp.KeyRing{}, "debian", "amd64", c.site.serve(t))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%+v, %v", item, err)
			}
			if strings.ContainsAny(err.Error(), "\x1b\n") || len(err.Error()) > 1000 {
				t.Errorf("the message is not fit to be shown: %q", err)
			}
		})
	}
}

// With a key ring every document must be signed by one of its keys, in either of the two ways.
func TestSignatures(t *testing.T) {
	key, other := aptrepotest.NewKey(t), aptrepotest.NewKey(t)
	ring, err := pgp.ReadKeyRing(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	detached := func(k1, k2 *aptrepotest.Key) site {
		s := lxc(t)
		s["streams/v1/index.json.gpg"] = string(k1.Detach([]byte(s["streams/v1/index.json"])))
		s["streams/v1/images.json.gpg"] = string(k2.Detach([]byte(s["streams/v1/images.json"])))
		return s
	}
	inline := func(k1, k2 *aptrepotest.Key) site {
		s := lxc(t)
		return site{
			"streams/v1/index.sjson":  string(k1.Sign([]byte(text(t, index("streams/v1/images.sjson"))))),
			"streams/v1/images.sjson": string(k2.Sign([]byte(s["streams/v1/images.json"]))),
		}
	}
	for name, s := range map[string]site{"detached": detached(key, key), "inline": inline(key, key)} {
		if item, err := resolve(t, ring, "debian", "amd64", s.serve(t)); err != nil || item.SHA256 != sum {
			t.Errorf("%s: %+v, %v", name, item, err)
		}
	}
	tampered := detached(key, key)
	tampered["streams/v1/images.json"] = strings.Replace(tampered["streams/v1/images.json"], sum[:8], "22222222", 1)
	half := detached(key, key)
	delete(half, "streams/v1/images.json.gpg")
	around := inline(key, key)
	around["streams/v1/images.sjson"] = "{}\n" + around["streams/v1/images.sjson"]
	for name, c := range map[string]struct {
		site site
		want string
	}{
		"unsigned": {lxc(t), "it is not signed"}, "list unsigned": {half, "images.json: it is not signed"},
		"other key": {detached(other, other), "no signature is good"}, "other key of the list": {detached(key, other), "images.json: no signature is good"},
		"other key, inline": {inline(other, key), "no signature is good"}, "other key of the list, inline": {inline(key, other), "no signature is good"},
		"tampered": {tampered, "no signature is good"}, "text around": {around, "not one signed message"},
	} {
		if item, err := resolve(t, ring, "debian", "amd64", c.site.serve(t)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %+v, %v", name, item, err)
		}
	}
}

func TestRedirects(t *testing.T) {
	for _, to := range []string{"file:///etc/passwd", "http://192.0.2.1/streams/v1/index.json", "ftp://127.0.0.1/x"} {
		h := httptest.NewServer(http.RedirectHandler(to, http.StatusFound))
		defer h.Close()
		if item, err := resolve(t, pgp.KeyRing{}, "debian", "amd64", h.URL); err == nil || !strings.Contains(err.Error(), "redirect refused") {
			t.Errorf("%s: %+v, %v", to, item, err)
		}
	}
}

// A list that has not changed is not sent again, and offline nothing kept is used.
func TestUnchanged(t *testing.T) {
	s, sent := lxc(t), 0
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := s[strings.TrimPrefix(r.URL.Path, "/")]
		tag := fmt.Sprintf("%q", fmt.Sprint(len(body)))
		w.Header().Set("Etag", tag)
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		sent++
		io.WriteString(w, body)
	}))
	defer h.Close()
	vault := filepath.Join(t.TempDir(), "vault")
	ask := func(offline bool) error {
		f, err := fetch.New(fetch.Options{Vault: vault, Offline: offline})
		if err != nil {
			t.Fatal(err)
		}
		servers := &simplestreams.Servers{URLs: []string{h.URL}, Fetcher: f}
		_, err = servers.Resolve(t.Context(), simplestreams.Query{Distro: "debian", Release: "bookworm", Arch: "amd64"})
		return err
	}
	for range 3 {
		if err := ask(false); err != nil {
			t.Fatal(err)
		}
	}
	if sent != 2 {
		t.Errorf("%d documents were sent", sent)
	}
	var missing *fetch.MissingError
	if err := ask(true); !errors.As(err, &missing) || !strings.Contains(err.Error(), "index.json") {
		t.Errorf("offline: %v", err)
	}
	s["streams/v1/images.json"] += "  "
	if err := ask(false); err != nil || sent != 3 {
		t.Errorf("%v, %d documents were sent", err, sent)
	}
}

// FuzzIndex has a server say anything: whatever is chosen lies below the server and has a digest and a size.
func FuzzIndex(f *testing.F) {
	name, p := lxcProduct("Debian", "bookworm", "amd64", "default", "debian/12", "20260301_05:24")
	body, _ := json.Marshal(object{"format": "products:1.0", "products": object{name: p}})
	list, _ := json.Marshal(index("l.json"))
	f.Add(list, body)
	f.Add([]byte(`{"format":"index:1.0","index":{"a":{"datatype":"image-downloads","path":"l.json"}}}`), []byte(`{"products":{"debian":{"versions":{"::::::::":{}}}}}`))
	f.Fuzz(func(t *testing.T, index, products []byte) {
		s := &simplestreams.Servers{URLs: []string{"https://h"}, Fetcher: &documents{index: index, products: products}}
		item, err := s.Resolve(t.Context(), simplestreams.Query{Distro: "debian", Release: "bookworm", Arch: "amd64"})
		if err != nil {
			return
		}
		if !strings.HasPrefix(item.URL, "https://h/") || strings.Contains(item.URL+"/", "/../") || strings.ContainsAny(item.URL, "%?#\\ \n@") ||
			len(item.SHA256) != 64 || item.Size <= 0 {
			t.Errorf("%+v", item)
		}
	})
}

// documents is a server for the fuzzer, without a network.
type documents struct {
	distro.Fetcher
	index, products []byte
}

func (d *documents) Get(_ context.Context, doc distro.Document) ([]byte, error) {
	if strings.HasSuffix(doc.URL, "/streams/v1/index.json") {
		return d.index, nil
	}
	return d.products, nil
}

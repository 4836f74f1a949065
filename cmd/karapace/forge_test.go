package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/rogpeppe/go-internal/testscript"
)

// forge REPOSITORY TAG HOW pushes what the tag means anew, as HOST/REPOSITORY:HOW, changed as HOW says: see forgeries.
func forge(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 || forgeries[args[2]] == nil {
		ts.Fatalf("usage: forge REPOSITORY TAG HOW")
	}
	f := &forgery{base: "http://" + ts.Getenv("REGISTRY") + "/v2/" + args[0]}
	ts.Check(json.Unmarshal(f.get("/manifests/"+args[1]), &f.manifest))
	ts.Check(json.Unmarshal(f.get("/blobs/"+f.part("config")["digest"].(string)), &f.config))
	forgeries[args[2]](f)
	text, err := json.Marshal(f.config)
	ts.Check(err)
	if !f.keepConfig {
		f.describe(f.part("config"), text)
	}
	text, err = json.Marshal(f.manifest)
	ts.Check(err)
	f.put("/manifests/"+args[2], "application/vnd.oci.image.manifest.v1+json", text)
	ts.Check(f.err)
}

type forgery struct {
	base       string
	manifest   map[string]any
	config     ispec.Image // with its fields in the order that karapace writes them
	keepConfig bool        // its bytes are those that were pushed
	err        error
}

const lockNote = "dev.karapace.lock"

// forgeries are what somebody might do to an environment in a registry.
var forgeries = map[string]func(*forgery){
	"mount": func(f *forgery) { // the same identity over another lock
		f.lock(func(s string) string {
			return strings.Replace(s, "mounts = []", "mounts = [\n  { label = \"home\", host = \"/etc\", container = \"/mnt\" },\n]", 1)
		})
	},
	"label": func(f *forgery) {
		f.config.Config.Labels = map[string]string{"dev.karapace.env-id": strings.Repeat("a", 64)}
	},
	"nolock": func(f *forgery) { delete(f.part("config"), "annotations") },
	"user":   func(f *forgery) { f.config.Config.User = "0" },
	"env":    func(f *forgery) { f.config.Config.Env = []string{"NOEQUALS"} },
	"twice":  func(f *forgery) { f.manifest["layers"] = append(f.layers(), f.layers()[0]) },
	"diffid": func(f *forgery) {
		f.config.RootFS.DiffIDs = []digest.Digest{digest.Digest("sha256:" + strings.Repeat("b", 64))}
	},
	"odd":   func(f *forgery) { f.layer(oddLayer("bin/b", "bin/a")) },
	"climb": func(f *forgery) { f.layer(oddLayer("bin/", "../../evil")) },
	"size":  func(f *forgery) { f.layers()[0].(map[string]any)["size"] = 10 },
	"cut": func(f *forgery) {
		b := f.get("/blobs/" + f.layers()[0].(map[string]any)["digest"].(string))
		f.layer(b[:len(b)/2])
	},
}

func (f *forgery) part(name string) map[string]any { return f.manifest[name].(map[string]any) }
func (f *forgery) layers() []any                   { return f.manifest["layers"].([]any) }

func (f *forgery) lock(change func(string) string) {
	f.keepConfig = true
	notes := f.part("config")["annotations"].(map[string]any)
	was := notes[lockNote].(string)
	if notes[lockNote] = change(was); notes[lockNote] == was {
		f.err = fmt.Errorf("the lock did not change")
	}
}

// layer puts another tar in the place of the base layer, and says so everywhere.
func (f *forgery) layer(body []byte) {
	f.describe(f.layers()[0].(map[string]any), body)
	f.config.RootFS.DiffIDs = []digest.Digest{digest.FromBytes(body)}
}

// oddLayer is a tar of empty files in an order that no layer has.
func oddLayer(names ...string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range names {
		h := &tar.Header{Name: name, Mode: 0o755, Typeflag: tar.TypeReg}
		if strings.HasSuffix(name, "/") {
			h.Typeflag = tar.TypeDir
		}
		w.WriteHeader(h)
	}
	w.Close()
	return b.Bytes()
}

func sum(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

// describe sends a blob and makes a descriptor name it.
func (f *forgery) describe(d map[string]any, body []byte) {
	d["digest"], d["size"] = sum(body), len(body)
	resp, err := http.Post(f.base+"/blobs/uploads/", "", nil)
	if err != nil {
		f.err = err
		return
	}
	resp.Body.Close()
	f.do(http.MethodPut, resp.Header.Get("Location")+"&digest="+sum(body), "application/octet-stream", body)
}

func (f *forgery) put(path, kind string, body []byte) { f.do(http.MethodPut, f.base+path, kind, body) }

func (f *forgery) get(path string) []byte { return f.do(http.MethodGet, f.base+path, "", nil) }

func (f *forgery) do(method, url, kind string, body []byte) []byte {
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		f.err = err
		return nil
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		f.err = err
		return nil
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, out)
	}
	if err != nil && f.err == nil {
		f.err = err
	}
	return out
}

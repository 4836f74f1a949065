package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/karapace/karapace/cmd/internal/testground"
)

// What operations send out of a store and bring into it.

func (b *faultBench) out() string { return filepath.Join(b.dir, "out") }

// exported tells whether the layout is whole.
func (b *faultBench) exported() bool { return b.layout() == nil }

func (b *faultBench) layout() error {
	text, err := os.ReadFile(filepath.Join(b.out(), "index.json"))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &struct{}{}); err != nil {
		return err
	}
	blobs, err := filepath.Glob(filepath.Join(b.out(), "blobs/sha256/*"))
	if err != nil || len(blobs) < 3 {
		return fmt.Errorf("%d blobs, %v", len(blobs), err)
	}
	for _, blob := range blobs {
		f, err := os.Open(blob)
		if err != nil {
			return err
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		f.Close()
		if err != nil {
			return err
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != filepath.Base(blob) {
			return fmt.Errorf("%s has the digest %s", blob, got)
		}
	}
	return nil
}

// registry starts one, once for the bench.
func (b *faultBench) registry() string {
	b.t.Helper()
	if b.server == "" {
		dir, err := os.MkdirTemp("", "registry-")
		must(b.t, err)
		addr, stop, err := testground.ServeRegistry(dir)
		must(b.t, err)
		b.server = addr
		b.own.Cleanup(func() {
			stop()
			os.RemoveAll(dir)
		})
	}
	return b.server
}

// sendable has an environment for a repository that has nothing of it.
func (b *faultBench) sendable() {
	b.changed()
	b.ref = fmt.Sprintf("%s/round%d/t:1", b.registry(), b.round)
}

func (b *faultBench) pushed() bool {
	b.t.Helper()
	name := strings.TrimSuffix(strings.TrimPrefix(b.ref, b.server+"/"), ":1")
	req, err := http.NewRequest(http.MethodHead, "http://"+b.server+"/v2/"+name+"/manifests/1", nil)
	must(b.t, err)
	req.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
	resp, err := http.DefaultClient.Do(req)
	must(b.t, err)
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// sent has an environment in the registry, and nothing of it in the store.
func (b *faultBench) sent() {
	b.ref = b.registry() + "/kept/t:1"
	if !b.pushed() {
		b.ready()
		b.karapace("push", "t", b.ref)
	}
	b.emptied()
}

package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
)

// QuickOptions are what a manifest would say.
type QuickOptions struct {
	Image      string
	Packages   []string // each may hold several, separated by commas
	GPU, Audio bool
	Name       string
	Offline    bool
}

const quickImage = "bootstrap:debian/bookworm"

// Quick builds an environment without a project: its manifest and lock are kept in the store, so that asking for the
// same again finds it built.
func (e *Engine) Quick(ctx context.Context, o QuickOptions) (*storage.Record, error) {
	text := quickManifest(o)
	m, err := manifest.Parse("quick", []byte(text))
	if err != nil {
		return nil, failure.New(failure.Manifest, err, "")
	}
	s, err := e.newStore()
	if err != nil {
		return nil, err
	}
	file := s.Path("quick", string(m.PreliminaryID())+".toml")
	if err := storage.WriteFile(file, []byte(text), 0o644); err != nil {
		return nil, storeFailure(err)
	}
	res, err := e.Build(ctx, BuildOptions{Manifest: file, Name: o.Name, Offline: o.Offline})
	if err != nil {
		return nil, err
	}
	return res.Record, nil
}

func quickManifest(o QuickOptions) string {
	image := o.Image
	if image == "" {
		image = quickImage
	} else if strings.HasPrefix(image, ".") {
		if abs, err := filepath.Abs(image); err == nil {
			image = abs
		}
	}
	var names []string
	for _, p := range o.Packages {
		for n := range strings.SplitSeq(p, ",") {
			if n = strings.TrimSpace(n); n != "" {
				names = append(names, strconv.Quote(n))
			}
		}
	}
	return fmt.Sprintf("manifest_version = 1\n\n[base]\nimage = %q\n\n[system]\npackages = [%s]\n\n[hardware]\ngpu = %t\naudio = %t\n",
		image, strings.Join(names, ", "), o.GPU, o.Audio)
}

// ofQuick tells an environment whose manifest is in the store: it has no project.
func (e *Engine) ofQuick(r *storage.Record) bool {
	quick := storage.At(e.StoreRoot).Path("quick")
	if filepath.Base(r.ManifestDir) != filepath.Base(quick) {
		return false
	}
	dir, err := os.Stat(r.ManifestDir)
	ours, oursErr := os.Stat(quick)
	return err == nil && oursErr == nil && os.SameFile(dir, ours)
}

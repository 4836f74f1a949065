package engine

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/storage"
)

// BaseImage is one base system in the store.
type BaseImage struct {
	Image  string   `json:"image"`
	Digest string   `json:"digest"` // of what was fetched
	Layer  string   `json:"base_layer"`
	Size   int64    `json:"size"` // bytes of the layer's tar
	UsedBy []string `json:"used_by"`
}

// Images lists the base systems in the store and who uses them.
func (e *Engine) Images() ([]BaseImage, error) {
	s, err := e.store()
	if errors.Is(err, storage.ErrNoStore) {
		return []BaseImage{}, nil
	}
	if err != nil {
		return nil, err
	}
	bases, err := s.Bases()
	if err != nil {
		return nil, storeFailure(err)
	}
	records, _ := s.Records()
	out := []BaseImage{}
	for _, b := range bases {
		img := BaseImage{Image: b.Image, Digest: string(b.Input), Layer: string(b.Layer), Size: b.Size, UsedBy: []string{}}
		for _, r := range records {
			if r.BaseLayer == b.Layer {
				img.UsedBy = append(img.UsedBy, displayName(r))
			}
		}
		out = append(out, img)
	}
	slices.SortFunc(out, func(a, b BaseImage) int { return strings.Compare(a.Image+a.Digest, b.Image+b.Digest) })
	return out, nil
}

// RemoveImage removes the base systems that ref names, by image or digest. One that is in use is refused.
func (e *Engine) RemoveImage(ctx context.Context, ref string) ([]BaseImage, error) {
	all, err := e.Images()
	if err != nil {
		return nil, err
	}
	var doomed []BaseImage
	for _, b := range all {
		if b.Image == ref || b.Digest == ref || b.Layer == ref {
			doomed = append(doomed, b)
		}
	}
	if len(doomed) == 0 {
		return nil, failure.New(failure.General, errors.New("there is no base image "+quoted(ref)), "karapace images shows what there is")
	}
	req := &wire.Images{}
	for _, b := range doomed {
		if len(b.UsedBy) > 0 {
			return nil, failure.New(failure.General, errors.New("base image "+b.Image+" is used by "+strings.Join(b.UsedBy, ", ")), "karapace destroy "+b.UsedBy[0])
		}
		req.RemoveLayers = append(req.RemoveLayers, b.Layer)
	}
	s, err := e.store()
	if err != nil {
		return nil, storeFailure(err)
	}
	var none struct{}
	return doomed, e.call(ctx, s, wire.Request{Images: req}, &none)
}

package ociimage

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
)

// WriteDocker writes an image as the archive that docker save makes and docker load, podman load and skopeo take: a plain
// tar with manifest.json, the configuration and the layers, in one pass. tags are names such as "localhost/tools:1".
func WriteDocker(ctx context.Context, w io.Writer, i *Image, tags []string) error {
	m, err := i.check()
	if err != nil {
		return err
	}
	entry := struct {
		Config   string
		RepoTags []string
		Layers   []string
	}{Config: m.Config.Digest.Encoded() + ".json", RepoTags: append([]string{}, tags...), Layers: []string{}}
	for _, l := range i.Layers {
		entry.Layers = append(entry.Layers, layerFile(l))
	}
	list, err := json.Marshal([]any{entry})
	if err != nil {
		return fmt.Errorf("encode manifest.json: %w", err)
	}
	t := tar.NewWriter(w)
	for _, f := range []struct {
		name string
		body []byte
	}{{"manifest.json", list}, {entry.Config, i.Config}} {
		if err := member(t, f.name, int64(len(f.body)), func(w io.Writer) error {
			_, err := io.Copy(w, bytes.NewReader(f.body))
			return err
		}); err != nil {
			return err
		}
	}
	written := map[digest.Digest]bool{}
	for _, l := range i.Layers {
		if written[l.DiffID] {
			continue
		}
		written[l.DiffID] = true
		if err := member(t, layerFile(l), l.Size, func(w io.Writer) error { return l.Write(ctx, w) }); err != nil {
			return fmt.Errorf("layer %s: %w", l.DiffID, err)
		}
	}
	return t.Close()
}

func layerFile(l Layer) string { return l.DiffID.Encoded() + ".tar" }

// member writes one file of the archive, about which nothing but its name and content says anything.
func member(t *tar.Writer, name string, size int64, write func(io.Writer) error) error {
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, ModTime: time.Unix(0, 0)}); err != nil {
		return err
	}
	return write(t)
}

package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
)

// ExportOptions say what of an environment goes where, and in which form.
type ExportOptions struct {
	Format      string
	Output      string   // a path that is not there yet; "-" is Stdout
	Snapshot    string   // as of when, or "built"; of a diff: whose layer
	Drift       bool     // as it is now, with its snapshots and what was changed since
	Compression string   // "" is the format's own
	Tag         string   // the image's name in what is written; "" is the format's own
	Rootless    bool     // a bundle for the calling user
	Args        []string // of a bundle or pod: what it runs; empty: a shell
	Image       string   // of a pod or devcontainer: what was pushed, REGISTRY/NAME[:TAG][@DIGEST]
	Force       bool     // replace an earlier export
	Stdout      *os.File
}

// Exported is what was written. The JSON names are a promise, see docs/cli.md.
type Exported struct {
	EnvID   manifest.EnvID `json:"env_id"`
	ShortID string         `json:"short_id"`
	Name    string         `json:"name"`
	Format  string         `json:"format"`
	Path    string         `json:"path"`
	Image   digest.Digest  `json:"image_digest"` // of the image over plain layers; empty where no image is written
	Digest  digest.Digest  `json:"digest"`       // of the image manifest that was written, or of the stream
	Size    int64          `json:"size"`         // bytes that were written; of a bundle, of its tar
}

// Export writes an environment for other programs. The environment is left as it is, and may run meanwhile unless its
// drift is wanted.
func (e *Engine) Export(ctx context.Context, ref string, o ExportOptions) (*Exported, error) {
	f, err := o.form()
	if err != nil {
		return nil, failure.New(failure.Usage, err, "")
	}
	if o.Output != "-" && !filepath.IsAbs(o.Output) {
		o.Output = filepath.Join(e.Cwd, o.Output)
	}
	s, r, err := e.find(ref)
	if err != nil {
		return nil, err
	}
	switch o.Format {
	case formatPod:
		return e.exportPod(r, o)
	case formatDevContainer:
		return e.exportDevContainer(r, o)
	}
	req, err := exportRequest(s, r, o, f)
	if err != nil {
		return nil, err
	}
	x := &exporter{Engine: e, store: s, record: r, options: &o, request: req}
	if o.Output == "-" {
		err = x.call(ctx, s, wire.Request{Export: req}, &x.result, o.Stdout)
	} else {
		err = x.toPlace(ctx, f)
	}
	if err != nil {
		return nil, err
	}
	return &Exported{
		EnvID: r.EnvID, ShortID: r.EnvID.Short(), Name: r.Name, Format: o.Format, Path: o.Output,
		Image: x.result.Image, Digest: x.result.Digest, Size: x.result.Size,
	}, nil
}

// form is what one format is like.
type form struct {
	mark        string // what a directory of it holds, when it is finished; empty: it is one file
	compression string // unless another is asked for; empty: it cannot be compressed
	tag         string // the image's name, unless another is asked for; empty: it has none
}

func (o *ExportOptions) form() (form, error) {
	f, ok := map[wire.Format]form{
		wire.FormatBundle: {mark: "config.json"},
		wire.FormatOCI:    {mark: "oci-layout", compression: "gzip", tag: "latest"},
		wire.FormatDocker: {tag: dockerTag},
		wire.FormatRootFS: {compression: "none"},
		wire.FormatDiff:   {compression: "none"},
		formatPod:         {}, formatDevContainer: {},
	}[wire.Format(o.Format)]
	bundle, pod := wire.Format(o.Format) == wire.FormatBundle, o.Format == formatPod
	named := pod || o.Format == formatDevContainer
	switch {
	case o.Format == "":
		return f, errors.New("--format is needed: bundle, oci, docker-archive, rootfs, diff, pod or devcontainer")
	case !ok:
		return f, fmt.Errorf("format %s is unknown: it is bundle, oci, docker-archive, rootfs, diff, pod or devcontainer", quoted(o.Format))
	case o.Output == "":
		return f, errors.New("-o PATH is needed; -o - is standard output")
	case o.Output == "-" && f.mark != "":
		return f, fmt.Errorf("format %s is a directory and cannot go to standard output", o.Format)
	case o.Compression != "" && f.compression == "":
		return f, fmt.Errorf("format %s is not compressed", o.Format)
	case o.Tag != "" && f.tag == "":
		return f, fmt.Errorf("format %s has no place for --tag", o.Format)
	case o.Rootless && !bundle:
		return f, errors.New("--rootless is for --format bundle")
	case len(o.Args) > 0 && !bundle && !pod:
		return f, errors.New("a command is for --format bundle and pod")
	case o.Image != "" && !named, named && (o.Drift || o.Snapshot != ""):
		return f, errors.New("a pod or a devcontainer names an image with --image, and nothing else does; push says what is in it")
	case o.Snapshot != "" && o.Drift:
		return f, errors.New("--with-drift is the environment as it is now, --snapshot as it was: give one of them")
	}
	return f, nil
}

// exportRequest is what karapace-store is asked for.
func exportRequest(s *storage.Store, r *storage.Record, o ExportOptions, f form) (*wire.Export, error) {
	req := &wire.Export{EnvID: r.EnvID, Format: wire.Format(o.Format), Drift: o.Drift, Compression: "none"}
	for _, c := range []string{f.compression, o.Compression} {
		if c != "" {
			req.Compression = c
		}
	}
	if o.Snapshot != "" && (o.Snapshot != builtRef || req.Format == wire.FormatDiff) {
		found, err := snapshotOf(s, r, o.Snapshot)
		if err != nil {
			return nil, err
		}
		req.Snapshot = found.ID
	}
	if f.tag == "" {
		return req, nil
	}
	var err error
	req.Tag, err = imageName(o.Tag, f.tag, req.Format, r)
	return req, failure.New(failure.Usage, err, "")
}

// imageName is the name of an image in a layout (image specification, annotations.md) or in a docker archive.
func imageName(tag, otherwise string, format wire.Format, r *storage.Record) (string, error) {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:@/+"
	docker := format == wire.FormatDocker
	if tag == "" {
		if docker {
			otherwise += ":" + r.EnvID.Short()
		}
		return otherwise, nil
	}
	if len(tag) > 255 || strings.Trim(tag, allowed) != "" || strings.ContainsAny(tag[:1], "-._:@/+") || strings.ContainsAny(tag[len(tag)-1:], "-._:@/+") {
		return "", fmt.Errorf("tag %s is no name of an image", quoted(tag))
	}
	if !docker {
		return tag, nil
	}
	colon := strings.LastIndexByte(tag, ':')
	if colon <= strings.LastIndexByte(tag, '/') {
		colon, tag = len(tag), tag+":latest"
	}
	if repo := tag[:colon]; repo != strings.ToLower(repo) || strings.ContainsAny(tag, "@+") {
		return "", fmt.Errorf("tag %s is no REPOSITORY:TAG, in which the repository is of small letters", quoted(tag))
	}
	return tag, nil
}

// exporter is one export on its way.
type exporter struct {
	*Engine
	store   *storage.Store
	record  *storage.Record
	options *ExportOptions
	request *wire.Export
	result  wire.ExportResult
}

// toPlace writes to a path. Whatever goes wrong, nothing new is left.
func (x *exporter) toPlace(ctx context.Context, f form) (err error) {
	p, err := newPlace(x.options.Output, f.mark, x.options.Force)
	if err != nil {
		return err
	}
	x.sweep(ctx, filepath.Dir(p.path))
	defer func() { err = errors.Join(err, x.tidy(ctx, p)) }()
	out, err := p.open()
	if err != nil {
		return err
	}
	defer out.Close()
	if x.request.Format == wire.FormatBundle {
		err = x.bundle(ctx, p.temp)
	} else {
		err = x.call(ctx, x.store, wire.Request{Export: x.request}, &x.result, out)
	}
	if err != nil {
		return err
	}
	return p.publish(x.options.Force)
}

// tidy removes what was made and has got no name, and what was replaced. The user's own rights may not be enough for
// what is in a bundle.
func (x *exporter) tidy(ctx context.Context, p *place) error {
	for _, path := range []string{p.temp, p.old} {
		if path == "" {
			continue
		}
		if err := x.remove(ctx, path); err != nil {
			return failure.New(failure.General, fmt.Errorf("remove what is no longer needed: %w", err), "")
		}
	}
	return nil
}

func (x *exporter) remove(ctx context.Context, path string) error {
	if err := os.RemoveAll(path); err == nil {
		return nil
	}
	dir, err := openOwn(path)
	if err != nil {
		return err
	}
	err = x.call(context.WithoutCancel(ctx), x.store, wire.Request{Clear: &wire.Clear{}}, &struct{}{}, dir)
	return errors.Join(err, dir.Close(), os.Remove(path))
}

// sweep removes what exports to the same directory have left that were killed. What cannot be removed may be somebody else's.
func (x *exporter) sweep(ctx context.Context, dir string) {
	left, err := storage.AbandonedIn(dir, makingPrefix)
	if err != nil {
		return
	}
	for _, s := range left {
		x.remove(ctx, s.Dir)
		s.Release()
	}
}

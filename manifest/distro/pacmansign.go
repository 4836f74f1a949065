package distro

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro/pacmanrepo"
)

func (p *pacmanPlan) checkDatabase(ctx context.Context, r *pacmanRepository, name string, db []byte) error {
	level := r.Level.Database
	sig, err := p.signature(ctx, name, level)
	if err == nil && sig != nil {
		err = p.verify(bytes.NewReader(db), sig, level)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

const maxSignature = 64 << 10 // bytes

// signature fetches the detached signature of a file; none when none counts, or there is none and none is required.
func (p *pacmanPlan) signature(ctx context.Context, of string, level pacmanrepo.Check) ([]byte, error) {
	if !level.On {
		return nil, nil
	}
	sig, err := p.fetch.Get(ctx, Document{URL: of + ".sig", Limit: maxSignature, Signed: true})
	switch {
	case errors.Is(err, fs.ErrNotExist) && level.Required:
		return nil, errors.New("it is not signed, and the base's SigLevel requires that")
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	}
	return sig, err
}

func (p *pacmanPlan) verify(signed io.ReadSeeker, sig []byte, level pacmanrepo.Check) error {
	if p.keys == nil {
		keys, err := pacmanrepo.ReadKeys(p.sb)
		if err != nil {
			return err
		}
		p.keys = keys
	}
	keys := *p.keys
	keys.All = level.TrustAll
	return keys.VerifyDetached(signed, sig)
}

// pacmanSigned is a package with the signature its repository has for it.
type pacmanSigned struct {
	manifest.Package
	signature []byte
	level     pacmanrepo.Check
}

func (p *pacmanPlan) checkSignatures(ctx context.Context, list []pacmanSigned) error {
	if len(list) == 0 {
		return nil
	}
	var pkgs []manifest.Package
	for _, s := range list {
		pkgs = append(pkgs, s.Package)
	}
	if err := p.fetch.Fetch(ctx, "packages", PackageFiles(pkgs)); err != nil {
		return err
	}
	for _, s := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		r := &reopened{open: func() (io.ReadCloser, error) { return p.fetch.Open(s.SHA256) }}
		err := p.verify(r, s.signature, s.level)
		r.close()
		if err != nil {
			return fmt.Errorf("package %s %s: %w", s.Name, s.Version, err)
		}
	}
	return nil
}

// reopened reads what cannot seek, again from its start.
type reopened struct {
	open func() (io.ReadCloser, error)
	file io.ReadCloser
}

func (r *reopened) Read(b []byte) (int, error) {
	if r.file == nil {
		file, err := r.open()
		if err != nil {
			return 0, err
		}
		r.file = file
	}
	return r.file.Read(b)
}

func (r *reopened) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != io.SeekStart {
		return 0, errors.ErrUnsupported
	}
	r.close()
	return 0, nil
}

func (r *reopened) close() {
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
}

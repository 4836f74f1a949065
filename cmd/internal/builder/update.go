package builder

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro"
	"github.com/karapace/karapace/storage/fetch"
)

// startFromEarlier takes over what an update of single packages leaves alone: the base.
func (b *build) startFromEarlier() error {
	u := b.req.Update
	if u == nil {
		return nil
	}
	old, err := manifest.ParseLock(b.req.LockFile, u.Lock)
	if err != nil {
		return failure.New(failure.Lock, err, "")
	}
	b.earlier = old
	for _, name := range u.Packages {
		if !slices.ContainsFunc(old.Packages, func(p manifest.Package) bool { return p.Name == name }) {
			return failure.New(failure.Usage, fmt.Errorf("package %s is not in %s", name, b.req.LockFile), "karapace lock --update without a name updates all")
		}
	}
	if u.Some() && old.BaseImage == b.lock.BaseImage && old.Arch == b.lock.Arch {
		b.lock.BaseImageLocation, b.lock.BaseImageDigest, b.lock.BasePackages = old.BaseImageLocation, old.BaseImageDigest, old.BasePackages
		b.lock.Repositories, b.lock.BuildEnvironment = old.Repositories, old.BuildEnvironment
	}
	return nil
}

// ask has the manager resolve. In an update of single packages it may first change no other one; if they do not go
// together, those that nobody asked for by name may change too.
func (b *build) ask(ctx context.Context, m distro.Manager, sb *sandbox, req distro.Request) (*distro.Plan, error) {
	if b.earlier == nil || !b.req.Update.Some() {
		return m.Plan(ctx, sb, b.remote(), req)
	}
	for _, p := range b.earlier.Packages {
		if !slices.Contains(b.req.Update.Packages, p.Name) {
			req.Hold = append(req.Hold, p)
		}
	}
	plan, err := m.Plan(ctx, sb, b.remote(), req)
	var missing *fetch.MissingError
	if err == nil || errors.As(err, &missing) || ctx.Err() != nil {
		return plan, err
	}
	req.Hold = slices.DeleteFunc(req.Hold, func(p manifest.Package) bool { return !p.Requested })
	return m.Plan(ctx, sb, b.remote(), req)
}

// keepVolatile takes over which paths were left out, after review, of packages that are still there.
func (b *build) keepVolatile() {
	if b.earlier == nil {
		return
	}
	for _, v := range b.earlier.Volatile {
		there := func(p manifest.Package) bool { return p.Name == v.Package }
		if v.Package == "" || slices.ContainsFunc(b.lock.Packages, there) || slices.ContainsFunc(b.lock.BasePackages, there) {
			b.lock.Volatile = append(b.lock.Volatile, v)
		}
	}
}

package builder

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/manifest"
)

// twice builds the lock, and again under other circumstances. When both give the same bytes, but for paths that may
// differ and are left out, the lock promises them.
func (b *build) twice(ctx context.Context) (*wire.BuildResult, error) {
	promised := len(b.lock.Volatile)
	if err := b.allow(b.req.Twice.Volatile); err != nil {
		return nil, err
	}
	res := &wire.BuildResult{}
	out, err := b.agree(ctx, res)
	if err != nil {
		return nil, err
	}
	if len(res.Differences) > 0 && b.req.Twice.Accept {
		if err := b.allow(pathsOf(res.Differences)); err != nil {
			return nil, err
		}
		if out, err = b.agree(ctx, res); err != nil {
			return nil, err
		}
	}
	if res.Timings = b.timings; len(res.Differences) > 0 {
		return res, nil
	}
	if promised == len(b.lock.Volatile) {
		if err := b.compareOutput(ctx, out); err != nil {
			return nil, err
		}
	}
	if err := b.nameVolatile(ctx); err != nil {
		return nil, err
	}
	if promised != len(b.lock.Volatile) { // it is another lock now, and its image names it
		if out.ImageDigest, err = b.image(ctx); err != nil {
			return nil, err
		}
	}
	b.lock.Output = out
	res.Lock = b.lock.Encode()
	return res, nil
}

// checkVolatile refuses what a user cannot mean, before anything is built.
func checkVolatile(paths []string) error {
	for _, p := range paths {
		if path.Clean(p) != p || !path.IsAbs(p) || p == "/" {
			return failure.New(failure.Usage, fmt.Errorf("the volatile path %q is not absolute, clean and below /", p), "write it as the environment has it: --volatile /var/lib/NAME")
		}
	}
	return nil
}

// allow makes paths volatile.
func (b *build) allow(paths []string) error {
	for _, p := range paths {
		if !slices.ContainsFunc(b.lock.Volatile, func(v manifest.VolatilePath) bool { return v.Path == p }) {
			b.lock.Volatile = append(b.lock.Volatile, manifest.VolatilePath{Path: p})
		}
	}
	slices.SortFunc(b.lock.Volatile, func(x, y manifest.VolatilePath) int { return strings.Compare(x.Path, y.Path) })
	if err := b.lock.Validate(); err != nil {
		return failure.New(failure.Lock, err, "name a directory above it with --volatile")
	}
	return nil
}

func pathsOf(all []wire.Difference) []string {
	var paths []string
	for _, d := range all {
		paths = append(paths, d.Path)
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// agree makes the layers, and again, and tells res in what the two differ.
func (b *build) agree(ctx context.Context, res *wire.BuildResult) (out manifest.Output, err error) {
	b.base, b.packages = layer{}, layer{} // what they are made of may have changed
	if out, err = b.make(ctx); err != nil {
		return out, err
	}
	a, err := b.newAside()
	if err != nil {
		return out, err
	}
	defer a.end(b.worker)
	c := b.again(a)
	if b.ref.Kind != manifest.BaseBootstrap { // nothing ran to make it
		c.base = b.base
	}
	if _, res.Varied, err = c.otherwise(ctx, b.size()); err != nil {
		return out, err
	}
	res.Differences, err = c.differences(ctx, [2]layer{b.base, b.packages}, [2]layer{c.base, c.packages})
	return out, err
}

// size is how many bytes another build takes while it goes on, about: what it unpacks, once more in a canonical layer,
// and the package files.
func (b *build) size() int64 {
	total := 2 * (b.base.Size + b.packages.Size)
	for _, p := range slices.Concat(b.lock.BasePackages, b.lock.Packages) {
		total += p.Size
	}
	return total + 256<<20
}

// otherwise makes the layers under other circumstances, and tells which.
func (b *build) otherwise(ctx context.Context, size int64) (out manifest.Output, varied []string, err error) {
	varied = []string{"time", "path", "number of processors"}
	if memoryFor(size) && b.aside.inMemory(size) {
		varied = append(varied, "order of directories")
	}
	clock := b.aside.odd.moveClock()
	defer oneProcessor()()
	b.tell.Step("build it again, under other circumstances")
	if out, err = b.make(ctx); err != nil {
		return out, nil, fmt.Errorf("the second build, under other circumstances: %w", err)
	}
	if clock && b.clockMoved(ctx) {
		varied = append(varied, "clock, 400 days ahead")
	}
	return out, varied, nil
}

func (b *build) clockMoved(ctx context.Context) (moved bool) {
	err := b.onBase("clock", func(sb *sandbox, _ string) error { moved = clockMoves(ctx, sb); return nil })
	return err == nil && moved
}

// nameVolatile finds the packages that volatile paths belong to.
func (b *build) nameVolatile(ctx context.Context) error {
	unnamed := make([]wire.Difference, len(b.lock.Volatile))
	for i, v := range b.lock.Volatile {
		unnamed[i].Path = v.Path
	}
	if err := b.addOwners(ctx, [2]layer{b.base, b.packages}, unnamed); err != nil {
		return err
	}
	for i := range unnamed {
		if b.lock.Volatile[i].Package == "" {
			b.lock.Volatile[i].Package = unnamed[i].Package
		}
	}
	return nil
}

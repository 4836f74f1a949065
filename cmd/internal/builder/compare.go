package builder

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro"
	"github.com/karapace/karapace/storage/fstree"
)

// differences explains in which paths the layers of two builds differ. A layer that one of them has not, or whose tree is
// nowhere, is passed over.
func (b *build) differences(ctx context.Context, was, is [2]layer) ([]wire.Difference, error) {
	var all []wire.Difference
	for i, name := range [2]string{"base", "packages"} {
		if was[i].Dir == "" || is[i].Dir == "" || was[i].ID == is[i].ID {
			continue
		}
		found, err := fstree.Compare(ctx, fstree.Tree(was[i].Dir), fstree.Tree(is[i].Dir))
		if err != nil {
			return nil, failure.New(failure.Store, err, "")
		}
		for _, d := range found {
			if d.Kind == "content" && fstree.SameLines(was[i].Dir, is[i].Dir, d.Path) {
				d.Kind = "order"
			}
			all = append(all, wire.Difference{Layer: name, Path: "/" + d.Path, Kind: d.Kind, Cause: distro.Cause(d.Path, d.Kind)})
		}
	}
	return all, b.addOwners(ctx, is, all)
}

// addOwners names the packages that the paths belong to, as far as the system made of the layers knows.
func (b *build) addOwners(ctx context.Context, is [2]layer, all []wire.Difference) error {
	if len(all) == 0 {
		return nil
	}
	lower := is[0].Dir
	if is[1].Dir != "" {
		lower = is[1].Dir + ":" + lower
	}
	return b.onLayers("owners", lower, func(sb *sandbox, _ string) error {
		var names []string
		for _, d := range all {
			names = append(names, d.Path)
		}
		for _, m := range managers() {
			knows, ok := m.(distro.Owner)
			if !ok || !m.Detect(sb) {
				continue
			}
			owners, err := knows.Owners(ctx, sb, names)
			if err != nil {
				return failure.New(failure.General, err, "")
			}
			for i := range all {
				all[i].Package = owners[all[i].Path]
			}
			return nil
		}
		return nil
	})
}

// compareOutput refuses bytes other than the lock promises.
func (b *build) compareOutput(ctx context.Context, got manifest.Output) error {
	want := b.lock.Output
	if want == (manifest.Output{}) {
		return nil
	}
	if want.ImageDigest == "" { // since it was built, its base has got another name: what it gave is known, the image is another
		want.ImageDigest = got.ImageDigest
	}
	if want == got {
		return nil
	}
	var lines []string
	for _, d := range []struct {
		what      string
		want, got digest.Digest
	}{
		{"base layer", want.BaseLayer, got.BaseLayer}, {"package layer", want.PackageLayer, got.PackageLayer}, {"image", want.ImageDigest, got.ImageDigest},
	} {
		if d.want != d.got {
			lines = append(lines, fmt.Sprintf("\n  %s: the lock says %s, it became %s", d.what, orNone(d.want), orNone(d.got)))
		}
	}
	return failure.New(failure.Lock, errors.New("what was built is not what the lock promises:"+strings.Join(lines, "")+b.explain(ctx, want)),
		"the environment that was there is untouched; karapace lock --verify finds what varies, karapace lock --update makes a new lock")
}

// explained is how many differences an error message lists.
const explained = 20

// explain lists in what the layers just built differ from those the lock promises, if the store has these.
func (b *build) explain(ctx context.Context, want manifest.Output) string {
	if want.BaseLayer == b.base.ID && want.PackageLayer == b.packages.ID {
		return ""
	}
	was, err := b.promised(want)
	if err != nil {
		return "\n  their files cannot be compared: " + err.Error()
	}
	all, err := b.differences(ctx, was, [2]layer{b.base, b.packages})
	switch {
	case len(all) > 0:
		return "\n" + tell(all)
	case err != nil:
		return "\n  their files cannot be compared: " + err.Error()
	}
	return "\n  the promised layers are not in this store, so that their files cannot be compared"
}

// promised are those layers of a lock's output that the store has.
func (b *build) promised(want manifest.Output) (was [2]layer, err error) {
	store, err := b.layers()
	if err != nil {
		return was, err
	}
	for i, id := range [2]digest.Digest{want.BaseLayer, want.PackageLayer} {
		if l, ok := store.Lookup(id); ok {
			was[i] = layer{ID: id, Dir: l.Dir}
		}
	}
	return was, nil
}

// tell is a list of differences in words, a line each.
func tell(all []wire.Difference) string {
	var lines []string
	for i, d := range all {
		if i == explained {
			lines = append(lines, fmt.Sprintf("  and %d more", len(all)-i))
			break
		}
		line := fmt.Sprintf("  %s: %s", d.Path, d.Kind)
		if d.Package != "" {
			line += ", of package " + d.Package
		}
		if d.Cause != "" {
			line += "; " + d.Cause
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func orNone(d digest.Digest) string {
	if d == "" {
		return "none"
	}
	return string(d)
}

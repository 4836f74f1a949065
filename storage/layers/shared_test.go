package layers

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/storage/fstree"
	"github.com/karapace/karapace/storage/fstree/nstest"
)

// A layer that two bases have lies on the first one, and images of both are whole.
func TestSharedLayer(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		s, first, second, top := sharedLayer(t)
		clean(t, s)
		if below := s.Below(top.DiffID); !slices.Equal(below, []digest.Digest{first.DiffID}) {
			t.Errorf("it lies on %v", below)
		}
		for _, d := range []digest.Digest{"", "x", first.DiffID, digest.FromString("x")} {
			if below := s.Below(d); len(below) > 0 {
				t.Errorf("%q lies on %v", d, below)
			}
		}
		if err := s.Delete(context.Background(), first.DiffID); !errors.Is(err, ErrInUse) {
			t.Errorf("delete of what it lies on: %v", err)
		}
		check(t, os.Chmod(top.Dir+"/d", 0o700))
		check(t, os.WriteFile(top.Dir+"/d/file", []byte("other"), 0o644))
		if l := mend(t, s, "top", second.DiffID); l != top {
			t.Errorf("mended as %+v; want %+v", l, top)
		}
		clean(t, s)
		mountsLikeOverlay(t, top, second)
	})
}

// Its record is found again though only the other base is wanted, with that of the base it lies on.
func TestSharedLayerRepair(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		s, first, second, top := sharedLayer(t)
		wanted := []Wanted{{DiffID: second.DiffID, Size: second.Size}, {DiffID: top.DiffID, Parent: second.DiffID, Size: top.Size}}
		for _, lost := range [][]Layer{{top}, {first}, {first, second, top}} {
			for _, l := range lost {
				check(t, os.Remove(s.recordPath(l.DiffID)))
			}
			fresh := reopen(t, s.root)
			check(t, fresh.Repair(context.Background(), wanted, func(path string) error { return os.Remove(path) }))
			clean(t, fresh)
			for _, l := range []Layer{first, second, top} {
				if now, ok := fresh.Lookup(l.DiffID); !ok || now != l {
					t.Errorf("lost %v: looked up %+v, %v; want %+v", lost, now, ok, l)
				}
			}
		}
	})
}

// When what it lies on has no files any more it is made again on the other base, and so is the image.
func TestSharedLayerMoves(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		ctx := context.Background()
		s, first, second, top := sharedLayer(t)
		check(t, s.Empty(ctx, first.DiffID))
		found, err := s.Check(ctx, func(int64) {})
		check(t, err)
		if len(found.Findings) != 1 || !found.Findings[0].Empty || found.Findings[0].ID != string(first.DiffID) {
			t.Errorf("%+v", found.Findings)
		}
		check(t, fstree.RemoveAll(top.Dir))
		moved := mend(t, s, "top", second.DiffID)
		if moved.Parent != second.DiffID || moved.Dir == top.Dir {
			t.Errorf("made again as %+v", moved)
		}
		images, err := s.Images()
		check(t, err)
		kept := imageOf(t, s, second, top)
		if now, err := s.Images(); err != nil || !slices.Equal(now, images) {
			t.Errorf("images %v, %v; want %v", now, err, images)
		}
		for _, d := range images {
			if d != kept {
				check(t, s.DeleteImage(ctx, d))
			}
		}
		if swept, err := s.Sweep(ctx, false); err != nil || !slices.Equal(swept, []string{top.id}) {
			t.Errorf("swept %v, %v", swept, err)
		}
		check(t, s.Delete(ctx, first.DiffID))
		clean(t, s)
	})
}

// sharedLayer makes a store with two bases, a layer that both have, and an image of each.
func sharedLayer(t *testing.T) (s *Store, first, second, top Layer) {
	s = newStore(t)
	first, second = adopt(t, s, "first", ""), adopt(t, s, "second", "")
	top = adopt(t, s, "top", first.DiffID)
	if l := adopt(t, s, "top", second.DiffID); l != top {
		t.Errorf("adopted again as %+v; want %+v", l, top)
	}
	imageOf(t, s, first, top)
	imageOf(t, s, second, top)
	return s, first, second, top
}

func imageOf(t *testing.T, s *Store, stack ...Layer) digest.Digest {
	var ids []digest.Digest
	for _, l := range stack {
		ids = append(ids, l.DiffID)
	}
	i, err := s.Image(context.Background(), ids, testConfig(), nil)
	check(t, err)
	return i.Digest
}

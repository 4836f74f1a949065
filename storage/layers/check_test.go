package layers

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/storage/fstree/nstest"
)

// What finds layers can be derived again from records and trees, and records from trees and what is wanted; until then
// nothing is collected that they protect.
func TestRepair(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		s := newStore(t)
		base := adopt(t, s, "base", "")
		top := adopt(t, s, "top", base.DiffID)
		i, err := s.Image(context.Background(), []digest.Digest{base.DiffID, top.DiffID}, testConfig(), nil)
		check(t, err)
		clean(t, s)
		overlay := filepath.Join(s.graphRoot(), driverName)
		for name, path := range map[string]string{
			"list of layers": s.layerIndexPath(), "record": s.recordPath(base.DiffID), "record of the upper": s.recordPath(top.DiffID),
			"link": top.Link, "name of the link": filepath.Join(overlay, base.id, "link"), "layers below": filepath.Join(overlay, top.id, "lower"),
		} {
			for how, damage := range map[string]func() error{
				"removed": func() error { return os.RemoveAll(path) },
				"emptied": func() error { return errors.Join(os.RemoveAll(path), os.WriteFile(path, nil, 0o600)) },
			} {
				check(t, damage())
				fresh := reopen(t, s.root)
				found, err := fresh.Check(context.Background(), func(int64) {})
				check(t, err)
				if len(damages(found)) == 0 {
					t.Errorf("%s %s: nothing is found", name, how)
				}
				err = fresh.Protects(context.Background(), []digest.Digest{base.DiffID, top.DiffID}, []digest.Digest{i.Digest})
				var lost *LostError
				if strings.Contains(name, "list") || strings.Contains(name, "record") {
					if !errors.As(err, &lost) {
						t.Errorf("%s %s: nothing says that it must not be collected: %v", name, how, err)
					}
				}
				fresh = reopen(t, s.root)
				wanted := []Wanted{{DiffID: base.DiffID, Size: base.Size}, {DiffID: top.DiffID, Parent: base.DiffID, Size: top.Size}}
				check(t, fresh.Repair(context.Background(), wanted, func(path string) error { return os.Remove(path) }))
				clean(t, fresh)
				check(t, fresh.Protects(context.Background(), []digest.Digest{base.DiffID, top.DiffID}, []digest.Digest{i.Digest}))
				if removed, err := fresh.Sweep(context.Background(), false); err != nil || len(removed) > 0 {
					t.Errorf("%s %s: swept %v, %v", name, how, removed, err)
				}
				clean(t, fresh)
			}
		}
	})
}

// A record that nothing is known of goes where it is put aside, and what it was of is garbage that is mentioned.
func TestCheckIdle(t *testing.T) {
	nstest.Both(t, func(t *testing.T) {
		s := newStore(t)
		l := adopt(t, s, "one", "")
		check(t, os.Truncate(s.recordPath(l.DiffID), 10))
		var aside []string
		check(t, s.Repair(context.Background(), nil, func(path string) error { aside = append(aside, path); return os.Remove(path) }))
		if len(aside) != 1 || aside[0] != s.recordPath(l.DiffID) {
			t.Errorf("put aside: %v", aside)
		}
		found, err := s.Check(context.Background(), func(int64) {})
		check(t, err)
		if len(damages(found)) > 0 || len(found.Findings) == 0 || found.Good[l.DiffID] {
			t.Errorf("%+v", found)
		}
	})
}

func clean(t *testing.T, s *Store) {
	t.Helper()
	found, err := s.Check(context.Background(), func(int64) {})
	check(t, err)
	if len(found.Findings) > 0 {
		t.Errorf("%+v", found.Findings)
	}
}

func damages(c *Checked) (all []Finding) {
	for _, f := range c.Findings {
		if !f.Idle {
			all = append(all, f)
		}
	}
	return all
}

package simplestreams

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/karapace/karapace/manifest/distro"
)

// search goes through products and remembers the best.
type search struct {
	query Query
	best  *candidate
	seen  []string // releases of the distribution that are there for the architecture, but are not meant
}

type candidate struct {
	name string
	rank []int
	product
}

func (s *search) read(text []byte) error {
	known := map[string]bool{}
	return readProducts(text, func(name string) bool {
		return strings.Contains(strings.ToLower(name), s.query.Distro)
	}, func(name string, p *product) error {
		if known[name] {
			return fmt.Errorf("product %.80q stands there twice", name)
		}
		known[name] = true
		s.consider(name, p)
		return nil
	})
}

// consider takes a product that is meant and better than what there was.
func (s *search) consider(name string, p *product) {
	p.complete(name)
	if p.OS != s.query.Distro || p.Variant != "default" || p.Arch != distro.DebianArch(s.query.Arch) {
		return
	}
	rank, ok := p.rank(s.query)
	if !ok {
		s.seen = append(s.seen, p.Release)
		return
	}
	c := &candidate{name, rank, *p}
	if s.best == nil || cmp.Or(slices.Compare(rank, s.best.rank), strings.Compare(s.best.name, name)) > 0 {
		s.best = c
	}
}

// complete fills from a product's name what it does not say itself: DISTRO:RELEASE:ARCH:VARIANT at LXC's servers,
// com.ubuntu.cloud:server:VERSION:ARCH at Ubuntu's.
func (p *product) complete(name string) {
	part := append(strings.Split(name, ":"), "", "", "", "")
	if strings.HasPrefix(part[0], "com.ubuntu.cloud") {
		part = []string{"ubuntu", part[2], part[3], ""}
	}
	p.OS = strings.ToLower(strings.ReplaceAll(cmp.Or(p.OS, part[0]), " ", ""))
	p.Release = strings.ToLower(cmp.Or(p.Release, part[1]))
	p.Arch = cmp.Or(p.Arch, part[2])
	p.Variant = cmp.Or(p.Variant, part[3], "default")
}

// rank tells whether a product is of the release, and orders those that are.
func (p *product) rank(q Query) ([]int, bool) {
	switch q.Release {
	case "":
		n, ok := numbers(p.Release)
		return n, ok && len(n) == 1
	case "leap":
		n, ok := numbers(strings.TrimPrefix(strings.TrimPrefix(p.Release, "leap"), "-"))
		return n, ok && len(n) == 2
	case p.Release, p.Version:
		return []int{1}, true
	}
	for alias := range strings.SplitSeq(p.Aliases, ",") {
		if a := strings.ToLower(strings.TrimSpace(alias)); a == q.String() || a == q.Release {
			return []int{0}, true
		}
	}
	return nil, false
}

// numbers reads a release like 42 or 15.6.
func numbers(s string) ([]int, bool) {
	var out []int
	for part := range strings.SplitSeq(s, ".") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 || len(part) > 4 {
			return nil, false
		}
		out = append(out, n)
	}
	return out, true
}

// item is the root file system of the newest version that has one.
func (s *search) item() (*Item, error) {
	if s.best == nil {
		return nil, s.none()
	}
	versions := slices.Collect(func(yield func(string) bool) {
		for v := range s.best.Versions {
			if serial(v) != nil && !yield(v) {
				return
			}
		}
	})
	slices.SortFunc(versions, func(a, b string) int {
		return cmp.Or(slices.Compare(serial(b), serial(a)), strings.Compare(b, a))
	})
	for _, v := range versions {
		root, ok := rootItem(s.best.Versions[v].Items)
		if !ok {
			continue
		}
		if err := root.check(); err != nil {
			return nil, fmt.Errorf("product %.80q, version %.40q: %w", s.best.name, v, err)
		}
		return &Item{URL: root.Path, SHA256: root.SHA256, Size: root.Size, Product: s.best.name, Version: v}, nil
	}
	return nil, fmt.Errorf("product %.80q has no version with a root file system", s.best.name)
}

// serial gives the numbers of a version, 20260301_05:24 or 20240523.1; nil for another name.
func serial(v string) []int {
	var out []int
	for part := range strings.FieldsFuncSeq(v, func(r rune) bool { return r == '_' || r == ':' || r == '.' }) {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 || len(part) > 8 {
			return nil
		}
		out = append(out, n)
	}
	if len(v) < 8 || len(v) > 32 || len(out) == 0 || out[0] < 1e7 {
		return nil
	}
	return out
}

// rootItem is a tar if there is one: it holds every attribute of every file and streams.
func rootItem(items map[string]item) (item, bool) {
	for _, ftype := range []string{"root.tar.xz", "squashfs"} {
		var found []string
		for name, i := range items {
			if i.FType == ftype {
				found = append(found, name)
			}
		}
		if len(found) > 0 {
			return items[slices.Min(found)], true
		}
	}
	return item{}, false
}

func (i item) check() error {
	switch {
	case len(i.SHA256) != 64 || strings.Trim(i.SHA256, "0123456789abcdef") != "":
		return errors.New("the root file system has no sha256")
	case i.Size <= 0 || i.Size > maxItem:
		return fmt.Errorf("%d is no size of a root file system", i.Size)
	}
	return checkPath(i.Path)
}

func (s *search) none() error {
	err := fmt.Errorf("it has no image of %s for %s", s.query, distro.DebianArch(s.query.Arch))
	slices.Sort(s.seen)
	seen := slices.Compact(s.seen)
	if len(seen) == 0 {
		return err
	}
	if len(seen) > 12 {
		seen = append(seen[:12], "...")
	}
	return fmt.Errorf("%w; of %s there are %.200q", err, s.query.Distro, strings.Join(seen, ", "))
}

package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Difference is one thing a manifest asks for that a lock does not give, or the other way round.
type Difference struct {
	Field    string // "packages", "base.image", "mounts.work" ...
	Lock     string // as the lock has it; empty when it does not
	Manifest string // as the manifest has it; empty when it does not
}

// String says it in one sentence.
func (d Difference) String() string {
	switch {
	case d.Lock == "":
		return fmt.Sprintf("%s: the manifest asks for %s, the lock does not have it", d.Field, d.Manifest)
	case d.Manifest == "":
		return fmt.Sprintf("%s: the lock has %s, the manifest does not ask for it", d.Field, d.Lock)
	}
	return fmt.Sprintf("%s: the manifest says %s, the lock %s", d.Field, d.Manifest, d.Lock)
}

// Check gives everything in which the lock is not what the manifest asks for, in the order of the manifest's tables; none
// means that building the lock builds the manifest. A manifest without an architecture is satisfied by a lock for any:
// callers fill in the host's first. A mirror can be compared only when the lock has repositories.
func (l *Lock) Check(m *Manifest) []Difference {
	var c comparison
	c.value("base.image", l.BaseImage, m.Base.Image)
	if m.Base.Arch != "" {
		c.value("base.arch", l.Arch, m.Base.Arch)
	}
	c.mirror(l.Repositories, m.Base.Mirror)
	c.names("packages", l.Requested, m.Packages)
	c.names("apps", l.Apps, m.Apps)
	c.truth("hardware.gpu", l.Hardware.GPU, m.Hardware.GPU)
	c.truth("hardware.audio", l.Hardware.Audio, m.Hardware.Audio)
	c.named("mounts.", mountTexts(l.Mounts), mountTexts(m.Mounts))
	c.named("env.", envTexts(l.Env), envTexts(m.Env))
	c.named("integration.", settingTexts(l.Integration), settingTexts(m.Integration))
	c.value("runtime.backend", l.Backend, m.Runtime.Backend)
	c.truth("runtime.network_isolation", l.NetworkIsolation, m.Runtime.NetworkIsolation)
	c.limit("runtime.resource_limits.cpu_shares", l.CPUShares, m.Runtime.CPUShares)
	c.limit("runtime.resource_limits.memory_limit_mb", l.MemoryLimitMB, m.Runtime.MemoryLimitMB)
	return c
}

type comparison []Difference

func (c *comparison) value(field, lock, manifest string) {
	if lock != manifest {
		*c = append(*c, Difference{field, lock, manifest})
	}
}

func (c *comparison) truth(field string, lock, manifest bool) {
	c.value(field, strconv.FormatBool(lock), strconv.FormatBool(manifest))
}

func (c *comparison) limit(field string, lock, manifest int64) {
	c.value(field, limitText(lock), limitText(manifest))
}

func limitText(n int64) string {
	if n == 0 {
		return "no limit"
	}
	return strconv.FormatInt(n, 10)
}

// mirror compares where packages came from. The mirror of a bootstrap may have sister archives, for security updates, that
// lie beside it: one repository below it is enough.
func (c *comparison) mirror(used []Repository, mirror string) {
	if mirror == "" || len(used) == 0 {
		return
	}
	base := strings.TrimSuffix(mirror, "/")
	for _, r := range used {
		if rest, ok := strings.CutPrefix(r.Location, base); ok && (rest == "" || rest[0] == '/') {
			return
		}
	}
	c.value("base.mirror", used[0].Location, mirror)
}

// names compares two sets of names.
func (c *comparison) names(field string, lock, manifest []string) {
	c.named(field, asKeys(lock), asKeys(manifest))
}

// named compares two sorted lists by name. A field that ends in a dot is followed by the name, else the name is the value.
func (c *comparison) named(field string, lock, manifest [][2]string) {
	for a, b := range pairUp(lock, manifest, func(a, b [2]string) int { return cmp.Compare(a[0], b[0]) }) {
		f, inLock, inManifest := field, a[1], b[1]
		if strings.HasSuffix(field, ".") {
			f += cmp.Or(a[0], b[0])
		}
		c.value(f, inLock, inManifest)
	}
}

func asKeys(names []string) [][2]string {
	pairs := make([][2]string, len(names))
	for i, name := range sortedBy(names, cmp.Compare[string]) {
		pairs[i] = [2]string{name, name}
	}
	return pairs
}

func mountTexts(mounts []Mount) [][2]string {
	texts := make([][2]string, len(mounts))
	for i, m := range sortedBy(mounts, compareMounts) {
		texts[i] = [2]string{m.Label, m.String()}
	}
	return texts
}

func envTexts(vars []EnvVar) [][2]string {
	texts := make([][2]string, len(vars))
	for i, v := range sortedBy(vars, compareEnv) {
		texts[i] = [2]string{v.Name, quote(v.Value)}
	}
	return texts
}

// PackageChange is one line of the table that "lock --update" prints.
type PackageChange struct {
	Name, Arch string
	Old        string // version; empty when the package was added
	New        string // version; empty when it was removed
	Base       bool   // part of the bootstrapped base, not of the package layer
}

// Rebuilt reports that the version stayed while the file changed.
func (c PackageChange) Rebuilt() bool { return c.Old == c.New }

// DiffLocks gives the packages in which two locks differ: those of the base first, then by name. before is nil where there was none.
func DiffLocks(before, after *Lock) []PackageChange {
	if before == nil {
		before = &Lock{}
	}
	b, a := before.sorted(), after.sorted()
	return append(diffPackages(b.BasePackages, a.BasePackages, true), diffPackages(b.Packages, a.Packages, false)...)
}

// diffPackages pairs packages by name and architecture; several versions of one, as rpm has of kernels, pair in order.
func diffPackages(before, after []Package, base bool) []PackageChange {
	var changes []PackageChange
	gone, come := without(before, after), without(after, before)
	byName := func(x, y Package) int { return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.Arch, y.Arch)) }
	for x, y := range pairUp(gone, come, byName) {
		changes = append(changes, PackageChange{cmp.Or(x.Name, y.Name), cmp.Or(x.Arch, y.Arch), x.Version, y.Version, base})
	}
	return changes
}

// without gives the packages of list whose files are not in other. Where a package comes from and who asked for it is no change of it.
func without(list, other []Package) []Package {
	type file struct{ name, version, arch, sha256 string }
	of := func(p Package) file { return file{p.Name, p.Version, p.Arch, p.SHA256} }
	there := make(map[file]bool, len(other))
	for _, p := range other {
		there[of(p)] = true
	}
	return slices.DeleteFunc(slices.Clone(list), func(p Package) bool { return there[of(p)] })
}

// pairUp merges two sorted lists; where one has no counterpart the zero value stands.
func pairUp[T any](a, b []T, compare func(a, b T) int) func(yield func(a, b T) bool) {
	return func(yield func(a, b T) bool) {
		for len(a) > 0 || len(b) > 0 {
			var x, y T
			order := 0
			switch {
			case len(b) == 0:
				order = -1
			case len(a) == 0:
				order = 1
			default:
				order = compare(a[0], b[0])
			}
			if order <= 0 {
				x, a = a[0], a[1:]
			}
			if order >= 0 {
				y, b = b[0], b[1:]
			}
			if !yield(x, y) {
				return
			}
		}
	}
}

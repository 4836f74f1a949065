package manifest

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
)

// Domains of the canonical encodings. A change of an encoding gets a new one.
const (
	manifestDomain = "karapace manifest v1\x00"
	lockDomain     = "karapace lock v2\x00"
)

// ManifestID identifies what a manifest asks for: 64 lower-case hexadecimal digits.
type ManifestID string

// PreliminaryID is the SHA-256 of the manifest's canonical encoding. Two manifests that differ in comments, order or
// duplicates only have the same one.
func (m *Manifest) PreliminaryID() ManifestID {
	return ManifestID(hexSHA256(m.canonical()))
}

// ID is the SHA-256 of the lock's canonical encoding: everything but Output.
func (l *Lock) ID() EnvID { return EnvID(hexSHA256(l.sorted().canonical())) }

func hexSHA256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// encoder writes values so that no value's encoding is a prefix of another's: what follows cannot be mistaken.
type encoder []byte

func (e *encoder) text(s string) {
	*e = append(binary.AppendUvarint(*e, uint64(len(s))), s...)
}

func (e *encoder) number(n int64) { *e = binary.AppendVarint(*e, n) }

func (e *encoder) truth(b bool) {
	if b {
		*e = append(*e, 1)
	} else {
		*e = append(*e, 0)
	}
}

func encodeList[T any](e *encoder, list []T, each func(*encoder, T)) {
	*e = binary.AppendUvarint(*e, uint64(len(list)))
	for _, v := range list {
		each(e, v)
	}
}

func (m *Manifest) canonical() []byte {
	e := encoder(manifestDomain)
	e.text(m.Base.Image)
	e.text(m.Base.Arch)
	e.text(m.Base.Mirror)
	encodeList(&e, m.Packages, (*encoder).text)
	encodeList(&e, m.Apps, (*encoder).text)
	e.truth(m.Hardware.GPU)
	e.truth(m.Hardware.Audio)
	encodeList(&e, m.Mounts, (*encoder).mount)
	encodeList(&e, m.Env, (*encoder).envVar)
	e.text(m.Runtime.Backend)
	e.truth(m.Runtime.NetworkIsolation)
	e.number(m.Runtime.CPUShares)
	e.number(m.Runtime.MemoryLimitMB)
	e.settings(m.Integration)
	return e
}

// canonical encodes the fields in the order of the lock's text.
func (l *Lock) canonical() []byte {
	e := encoder(lockDomain)
	e.text(l.Arch)
	e.number(l.SourceDateEpoch)
	e.text(l.BaseImage)
	e.text(l.BaseImageLocation)
	e.text(string(l.BaseImageDigest))
	e.number(l.BuildEnvironment)
	e.text(l.Backend)
	e.truth(l.Hardware.GPU)
	e.truth(l.Hardware.Audio)
	e.truth(l.NetworkIsolation)
	e.number(l.CPUShares)
	e.number(l.MemoryLimitMB)
	encodeList(&e, l.Mounts, (*encoder).mount)
	encodeList(&e, l.Env, (*encoder).envVar)
	encodeList(&e, l.Requested, (*encoder).text)
	encodeList(&e, l.Apps, (*encoder).text)
	encodeList(&e, l.Repositories, (*encoder).repository)
	encodeList(&e, l.BasePackages, (*encoder).pkg)
	encodeList(&e, l.Packages, (*encoder).pkg)
	encodeList(&e, l.Volatile, (*encoder).volatile)
	e.settings(l.Integration)
	return e
}

// settings end an encoding, and are left out where there are none: so had they no part in it before there were any.
func (e *encoder) settings(list []Setting) {
	if len(list) == 0 {
		return
	}
	encodeList(e, list, func(e *encoder, s Setting) {
		e.text(s.Name)
		e.text(s.Value)
	})
}

func (e *encoder) mount(m Mount) {
	e.text(m.Label)
	e.text(m.Host)
	e.text(m.Container)
	e.truth(m.ReadOnly)
}

func (e *encoder) envVar(v EnvVar) {
	e.text(v.Name)
	e.text(v.Value)
}

func (e *encoder) pkg(p Package) {
	e.text(p.Name)
	e.text(p.Version)
	e.text(p.Arch)
	e.text(p.Location)
	e.text(p.SHA256)
	e.number(p.Size)
	if p.Signature == "" {
		e.truth(p.Requested)
		return
	}
	marks := byte(2) // a signature follows
	if p.Requested {
		marks++
	}
	*e = append(*e, marks)
	e.text(p.Signature)
}

func (e *encoder) repository(r Repository) {
	e.text(r.Location)
	e.text(r.Suite)
	e.text(r.Components)
	e.text(r.SHA256)
	e.number(r.Date)
}

func (e *encoder) volatile(v VolatilePath) {
	e.text(v.Path)
	e.text(v.Package)
}

// sorted gives the lock with its lists in canonical order, itself when they are. Repositories keep theirs: it has a meaning.
func (l *Lock) sorted() *Lock {
	s := *l
	s.Mounts = sortedBy(l.Mounts, compareMounts)
	s.Env = sortedBy(l.Env, compareEnv)
	s.Integration = sortedBy(l.Integration, compareSettings)
	s.Requested = sortedBy(l.Requested, cmp.Compare[string])
	s.Apps = sortedBy(l.Apps, cmp.Compare[string])
	s.BasePackages = sortedBy(l.BasePackages, comparePackages)
	s.Packages = sortedBy(l.Packages, comparePackages)
	s.Volatile = sortedBy(l.Volatile, compareVolatile)
	return &s
}

// sortedBy copies only what is not sorted: a lock that was read is.
func sortedBy[T any](list []T, compare func(a, b T) int) []T {
	if slices.IsSortedFunc(list, compare) {
		return list
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, compare)
	return list
}

func comparePackages(a, b Package) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Arch, b.Arch), cmp.Compare(a.Version, b.Version))
}

func compareVolatile(a, b VolatilePath) int { return cmp.Compare(a.Path, b.Path) }

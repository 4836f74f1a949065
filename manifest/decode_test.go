package manifest

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// decoder reads what encoder wrote. That every encoding can be read back, by a reader that knows nothing but the order of
// the fields, is what makes the encoding injective.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
	d.rest = nil
}

func (d *decoder) count() int {
	n, size := binary.Uvarint(d.rest)
	if size <= 0 || n > uint64(len(d.rest)) {
		d.fail("bad length")
		return 0
	}
	d.rest = d.rest[size:]
	return int(n)
}

func (d *decoder) text() string {
	n := d.count()
	if n > len(d.rest) {
		d.fail("text is cut")
		return ""
	}
	s := string(d.rest[:n])
	d.rest = d.rest[n:]
	return s
}

func (d *decoder) number() int64 {
	n, size := binary.Varint(d.rest)
	if size <= 0 {
		d.fail("bad number")
		return 0
	}
	d.rest = d.rest[size:]
	return n
}

func (d *decoder) truth() bool {
	if len(d.rest) == 0 || d.rest[0] > 1 {
		d.fail("bad truth value")
		return false
	}
	b := d.rest[0] == 1
	d.rest = d.rest[1:]
	return b
}

func decodeList[T any](d *decoder, each func() T) []T {
	var list []T
	for n := d.count(); n > 0 && d.err == nil; n-- {
		list = append(list, each())
	}
	return list
}

func (d *decoder) domain(want string) {
	if len(d.rest) < len(want) || string(d.rest[:len(want)]) != want {
		d.fail("not of the domain %q", want)
		return
	}
	d.rest = d.rest[len(want):]
}

func (d *decoder) end() error {
	if d.err == nil && len(d.rest) > 0 {
		return errors.New("something follows")
	}
	return d.err
}

func (d *decoder) mount() Mount {
	return Mount{Label: d.text(), Host: d.text(), Container: d.text(), ReadOnly: d.truth()}
}

func (d *decoder) envVar() EnvVar { return EnvVar{Name: d.text(), Value: d.text()} }

func (d *decoder) pkg() Package {
	p := Package{Name: d.text(), Version: d.text(), Arch: d.text(), Location: d.text(), SHA256: d.text(), Size: d.number()}
	if len(d.rest) == 0 || d.rest[0] < 2 || d.rest[0] > 3 {
		p.Requested = d.truth()
		return p
	}
	p.Requested, d.rest = d.rest[0] == 3, d.rest[1:]
	if p.Signature = d.text(); p.Signature == "" {
		d.fail("empty signature")
	}
	return p
}

func (d *decoder) repository() Repository {
	return Repository{Location: d.text(), Suite: d.text(), Components: d.text(), SHA256: d.text(), Date: d.number()}
}

func (d *decoder) volatile() VolatilePath { return VolatilePath{Path: d.text(), Package: d.text()} }

func decodeManifest(b []byte) (*Manifest, error) {
	d := &decoder{rest: b}
	d.domain("karapace manifest v1\x00")
	m := &Manifest{
		Base:     Base{Image: d.text(), Arch: d.text(), Mirror: d.text()},
		Packages: decodeList(d, d.text),
		Apps:     decodeList(d, d.text),
		Hardware: Hardware{GPU: d.truth(), Audio: d.truth()},
		Mounts:   decodeList(d, d.mount),
		Env:      decodeList(d, d.envVar),
		Runtime:  Runtime{Backend: d.text(), NetworkIsolation: d.truth(), CPUShares: d.number(), MemoryLimitMB: d.number()},
	}
	return m, d.end()
}

func decodeLock(b []byte) (*Lock, error) {
	d := &decoder{rest: b}
	d.domain("karapace lock v2\x00")
	l := &Lock{
		Arch: d.text(), SourceDateEpoch: d.number(),
		BaseImage: d.text(), BaseImageLocation: d.text(), BaseImageDigest: digest.Digest(d.text()),
		BuildEnvironment: d.number(), Backend: d.text(),
		Hardware: Hardware{GPU: d.truth(), Audio: d.truth()}, NetworkIsolation: d.truth(),
		CPUShares: d.number(), MemoryLimitMB: d.number(),
		Mounts: decodeList(d, d.mount), Env: decodeList(d, d.envVar),
		Requested: decodeList(d, d.text), Apps: decodeList(d, d.text),
		Repositories: decodeList(d, d.repository), BasePackages: decodeList(d, d.pkg), Packages: decodeList(d, d.pkg),
		Volatile: decodeList(d, d.volatile),
	}
	return l, d.end()
}

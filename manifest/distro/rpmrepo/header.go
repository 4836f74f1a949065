package rpmrepo

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Tags of a header (rpmtag.h of rpm).
const (
	TagName        = 1000
	TagVersion     = 1001
	TagRelease     = 1002
	TagEpoch       = 1003
	TagBuildTime   = 1006
	TagInstallTime = 1008
	TagArch        = 1022
	TagInstallTID  = 1128

	tagSummary, tagDescription, tagSize, tagVendor    = 1004, 1005, 1009, 1011
	tagLicense, tagGroup, tagURL                      = 1014, 1016, 1020
	tagFileModes, tagFileFlags, tagSourceRPM          = 1030, 1037, 1044
	tagProvideName, tagProvideFlags, tagProvideVer    = 1047, 1112, 1113
	tagRequireName, tagRequireFlags, tagRequireVer    = 1049, 1048, 1050
	tagConflictName, tagConflictFlags, tagConflictVer = 1054, 1053, 1055
	tagObsoleteName, tagObsoleteFlags, tagObsoleteVer = 1090, 1114, 1115
	tagDirIndexes, tagBasenames, tagDirnames          = 1116, 1117, 1118
	tagOldFilenames, tagSourcePackage, tagLongSize    = 1027, 1106, 5009
	tagPayloadDigest, tagPayloadDigestAlgo            = 5092, 5093

	sigDSA, sigRSA, sigOpenPGP = 267, 268, 278 // of the signature header: over the header, not the payload
)

// Bounds of a header, lower than those of rpm itself; the largest known have some megabytes.
const (
	maxEntries    = 64 << 10
	maxHeaderData = 32 << 20 // bytes
)

var headerMagic = []byte{0x8e, 0xad, 0xe8, 0x01, 0, 0, 0, 0}

// Header is a header of a package file or of rpm's database.
type Header struct {
	Raw     []byte // all of it, from its magic number on: what signatures cover
	data    []byte // the store, at the end of Raw
	entries map[uint32]entry
}

type entry struct{ kind, offset, count uint32 }

// RPM is what stands before the payload of a package file.
type RPM struct {
	Header     *Header
	Signatures [][]byte // OpenPGP packets, each over Header.Raw
	Start, End int64    // of the header, offsets in the file in bytes
}

// ReadRPM reads a package file up to its payload.
func ReadRPM(r io.Reader) (*RPM, error) {
	var lead [96]byte
	if _, err := io.ReadFull(r, lead[:]); err != nil || !bytes.HasPrefix(lead[:], []byte{0xed, 0xab, 0xee, 0xdb}) {
		return nil, errors.New("it is not an rpm package")
	}
	sig, err := ReadHeader(r)
	if err != nil {
		return nil, fmt.Errorf("read signatures: %w", err)
	}
	padding := -len(sig.Raw) & 7
	if _, err := io.ReadFull(r, lead[:padding]); err != nil {
		return nil, fmt.Errorf("read signatures: %w", err)
	}
	h, err := ReadHeader(r)
	if err != nil {
		return nil, fmt.Errorf("read header: %w", err)
	}
	p := &RPM{Header: h, Signatures: signatures(sig), Start: int64(len(lead) + len(sig.Raw) + padding)}
	p.End = p.Start + int64(len(h.Raw))
	return p, nil
}

// signatures gives those over the header, of all forms there are.
func signatures(sig *Header) (out [][]byte) {
	for _, tag := range []uint32{sigRSA, sigDSA} {
		if b := sig.bytes(tag); b != nil {
			out = append(out, b)
		}
	}
	for _, s := range sig.Strings(sigOpenPGP) {
		if b, err := base64.StdEncoding.DecodeString(s); err == nil {
			out = append(out, b)
		}
	}
	return out
}

// ReadHeader reads one header. At the end of r it returns io.EOF.
func ReadHeader(r io.Reader) (*Header, error) {
	var intro [16]byte
	if _, err := io.ReadFull(r, intro[:]); err != nil {
		return nil, err
	}
	if !bytes.Equal(intro[:8], headerMagic) {
		return nil, errors.New("it has no header where one should be")
	}
	n, size := binary.BigEndian.Uint32(intro[8:]), binary.BigEndian.Uint32(intro[12:])
	if n == 0 || n > maxEntries || size > maxHeaderData {
		return nil, fmt.Errorf("its header has %d entries and %d bytes", n, size)
	}
	all := bytes.NewBuffer(intro[:]) // grows with what is really there
	if got, err := io.CopyN(all, r, int64(n)*16+int64(size)); err != nil {
		return nil, fmt.Errorf("its header ends after %d bytes: %w", got, io.ErrUnexpectedEOF)
	}
	raw := all.Bytes()
	h := &Header{Raw: raw, data: raw[16+16*n:], entries: make(map[uint32]entry, n)}
	for i := range n {
		at := raw[16+16*i:]
		e := entry{binary.BigEndian.Uint32(at[4:]), binary.BigEndian.Uint32(at[8:]), binary.BigEndian.Uint32(at[12:])}
		tag := binary.BigEndian.Uint32(at)
		if _, twice := h.entries[tag]; twice {
			return nil, fmt.Errorf("its header has tag %d twice", tag)
		}
		if e.offset > size || e.count > size {
			return nil, fmt.Errorf("tag %d of its header lies outside of it", tag)
		}
		h.entries[tag] = e
	}
	return h, nil
}

// The types of entries.
const (
	kindInt16, kindInt32, kindInt64, kindString, kindBin, kindStrings, kindI18N = 3, 4, 5, 6, 7, 8, 9
)

func (h *Header) bytes(tag uint32) []byte {
	e, ok := h.entries[tag]
	if !ok || e.kind != kindBin || int(e.offset)+int(e.count) > len(h.data) {
		return nil
	}
	return h.data[e.offset : e.offset+e.count]
}

// Strings gives the strings of a tag; of one in several languages the first, of a tag that is not there none.
func (h *Header) Strings(tag uint32) []string {
	e, ok := h.entries[tag]
	if !ok || e.kind != kindString && e.kind != kindStrings && e.kind != kindI18N {
		return nil
	}
	count := e.count
	if e.kind != kindStrings {
		count = min(count, 1)
	}
	var out []string
	rest := h.data[e.offset:]
	for range count {
		end := bytes.IndexByte(rest, 0)
		if end < 0 {
			return out
		}
		out = append(out, string(rest[:end]))
		rest = rest[end+1:]
	}
	return out
}

// String gives the first string of a tag, or "".
func (h *Header) String(tag uint32) string {
	if s := h.Strings(tag); len(s) > 0 {
		return s[0]
	}
	return ""
}

// Numbers gives the numbers of a tag.
func (h *Header) Numbers(tag uint32) []uint64 {
	e, ok := h.entries[tag]
	width := map[uint32]int{kindInt16: 2, kindInt32: 4, kindInt64: 8}[e.kind]
	if !ok || width == 0 || int(e.offset)+int(e.count)*width > len(h.data) {
		return nil
	}
	out := make([]uint64, e.count)
	for i := range out {
		b := h.data[int(e.offset)+i*width:]
		switch width {
		case 2:
			out[i] = uint64(binary.BigEndian.Uint16(b))
		case 4:
			out[i] = uint64(binary.BigEndian.Uint32(b))
		default:
			out[i] = binary.BigEndian.Uint64(b)
		}
	}
	return out
}

// Number gives the first number of a tag, or 0.
func (h *Header) Number(tag uint32) uint64 {
	if n := h.Numbers(tag); len(n) > 0 {
		return n[0]
	}
	return 0
}

// SetNumber changes the first number of a 32 bit tag, in Raw too, and reports whether it is there.
func (h *Header) SetNumber(tag uint32, n uint32) bool {
	e, ok := h.entries[tag]
	if !ok || e.kind != kindInt32 || e.count == 0 || int(e.offset)+4 > len(h.data) {
		return false
	}
	binary.BigEndian.PutUint32(h.data[e.offset:], n)
	return true
}

// Version is [epoch:]version-release.
func (h *Header) Version() string {
	v := h.String(TagVersion) + "-" + h.String(TagRelease)
	if epoch := h.Number(TagEpoch); epoch > 0 {
		return strconv.FormatUint(epoch, 10) + ":" + v
	}
	return v
}

// Source reports whether the package is one of source code.
func (h *Header) Source() bool {
	_, ok := h.entries[tagSourcePackage]
	return ok || h.String(tagSourceRPM) == ""
}

// Payload gives the digest of the payload as it stands in the file. Older packages have none; their files have digests
// each, which rpm checks as it unpacks them.
func (h *Header) Payload() (Digest, bool) {
	value := h.String(tagPayloadDigest)
	kind := map[uint64]string{8: "sha256", 9: "sha384", 10: "sha512"}[h.Number(tagPayloadDigestAlgo)]
	return Digest{kind, value}, value != ""
}

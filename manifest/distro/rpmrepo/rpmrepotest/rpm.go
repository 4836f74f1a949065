// Package rpmrepotest makes small rpm packages for tests.
package rpmrepotest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
)

// Value is one entry of a header: a string, []string, []byte or []uint32.
type Value struct {
	Tag   uint32
	Value any
}

// Header encodes a header.
func Header(values ...Value) []byte {
	var index, store []byte
	slices.SortStableFunc(values, func(a, b Value) int { return int(a.Tag) - int(b.Tag) })
	for _, v := range values {
		kind, count := uint32(0), 1
		var data []byte
		switch x := v.Value.(type) {
		case string:
			kind, data = 6, append([]byte(x), 0)
		case []byte:
			kind, count, data = 7, len(x), x
		case []string:
			kind, count = 8, len(x)
			for _, s := range x {
				data = append(append(data, s...), 0)
			}
		case []uint32:
			kind, count = 4, len(x)
			for len(store)%4 != 0 {
				store = append(store, 0)
			}
			for _, n := range x {
				data = binary.BigEndian.AppendUint32(data, n)
			}
		}
		for _, n := range []uint32{v.Tag, kind, uint32(len(store)), uint32(count)} {
			index = binary.BigEndian.AppendUint32(index, n)
		}
		store = append(store, data...)
	}
	out := []byte{0x8e, 0xad, 0xe8, 0x01, 0, 0, 0, 0}
	out = binary.BigEndian.AppendUint32(out, uint32(len(values)))
	out = binary.BigEndian.AppendUint32(out, uint32(len(store)))
	return slices.Concat(out, index, store)
}

// Package makes a package file; sign gives the signature of its header, nil leaves it unsigned. More entries go to its
// header.
func Package(name, version, release, arch string, sign func(header []byte) []byte, more ...Value) []byte {
	payload := []byte("payload of " + name)
	sum := sha256.Sum256(payload)
	header := Header(append([]Value{
		{1000, name}, {1001, version}, {1002, release}, {1022, arch}, {1044, name + "-" + version + "-" + release + ".src.rpm"}, {1006, []uint32{1700000000}},
		{5092, []string{hex.EncodeToString(sum[:])}}, {5093, []uint32{8}},
	}, more...)...)
	signatures := []Value{{1000, []uint32{uint32(len(header) + len(payload))}}}
	if sign != nil {
		signatures = append(signatures, Value{268, sign(header)})
	}
	first := Header(signatures...)
	lead := make([]byte, 96)
	copy(lead, []byte{0xed, 0xab, 0xee, 0xdb, 3})
	padding := bytes.Repeat([]byte{0}, -len(first)&7)
	return slices.Concat(lead, first, padding, header, payload)
}

package fstree

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	paxXattr  = "SCHILY.xattr."
	paxName   = "././@PaxHeader"
	maxOctal7 = 1<<21 - 1 // largest number in a field of 8 bytes
	maxOctal  = 1<<33 - 1 // in one of 12 bytes
)

// header is one block of a tar archive: POSIX.1-2017, pax, "ustar Interchange Format".
type header struct {
	name, prefix, link string
	mode, uid, gid     uint32
	size, mtime        int64
	typeflag           byte
}

func (h *header) appendTo(b []byte) []byte {
	var blk [blockSize]byte
	copy(blk[0:100], h.name)
	octal(blk[100:108], int64(h.mode))
	octal(blk[108:116], int64(h.uid))
	octal(blk[116:124], int64(h.gid))
	octal(blk[124:136], h.size)
	octal(blk[136:148], h.mtime)
	blk[156] = h.typeflag
	copy(blk[157:257], h.link)
	copy(blk[257:265], "ustar\x0000")
	octal(blk[329:337], 0) // device numbers
	octal(blk[337:345], 0)
	copy(blk[345:500], h.prefix)
	copy(blk[148:156], "        ")
	var sum int64
	for _, c := range blk {
		sum += int64(c)
	}
	octal(blk[148:155], sum) // six digits and NUL; the space after it stays
	return append(b, blk[:]...)
}

// octal fills a field with digits and a final NUL.
func octal(field []byte, v int64) {
	last := len(field) - 1
	field[last] = 0
	for i := last - 1; i >= 0; i-- {
		field[i] = byte('0' + v&7)
		v >>= 3
	}
}

// appendHeader encodes an entry, with the PAX header it may need, but not its content.
func appendHeader(b []byte, e *Entry) ([]byte, error) {
	h := header{name: e.Path, link: e.Link, mode: e.Mode, uid: e.UID, gid: e.GID, size: e.Size, mtime: e.MTime, typeflag: byte(e.Kind)}
	switch e.Kind {
	case Dir:
		h.name += "/"
	case Whiteout, Opaque:
		h.typeflag = byte(File)
	}
	if h.mtime < 0 || h.mtime > maxOctal {
		return nil, fmt.Errorf("the modification time %d is out of range", h.mtime)
	}
	records := h.extend(e.xattrs)
	if len(records) > 0 {
		x := header{name: paxName, mode: 0o644, size: int64(len(records)), typeflag: 'x'}
		b = x.appendTo(b)
		b = pad(append(b, records...))
	}
	return h.appendTo(b), nil
}

// extend moves what does not fit into the header to PAX records, in the order of their keys.
func (h *header) extend(xattrs []xattr) string {
	var records strings.Builder
	for _, x := range xattrs {
		records.WriteString(paxRecord(paxXattr+x.name, x.value))
	}
	if h.gid > maxOctal7 {
		records.WriteString(paxRecord("gid", strconv.FormatUint(uint64(h.gid), 10)))
		h.gid = 0
	}
	if len(h.link) > 100 {
		records.WriteString(paxRecord("linkpath", h.link))
		h.link = h.link[:100]
	}
	if !h.split() {
		records.WriteString(paxRecord("path", h.name))
		h.name = h.name[:100]
	}
	if h.size > maxOctal {
		records.WriteString(paxRecord("size", strconv.FormatInt(h.size, 10)))
		h.size = 0
	}
	if h.uid > maxOctal7 {
		records.WriteString(paxRecord("uid", strconv.FormatUint(uint64(h.uid), 10)))
		h.uid = 0
	}
	return records.String()
}

// split divides a path over 100 bytes between prefix and name, at the last slash where both fit.
func (h *header) split() bool {
	if len(h.name) <= 100 {
		return true
	}
	end := min(len(h.name)-2, 155) // the slash that ends a directory's name stays with it
	i := strings.LastIndexByte(h.name[:end+1], '/')
	if i <= 0 || len(h.name)-i-1 > 100 {
		return false
	}
	h.prefix, h.name = h.name[:i], h.name[i+1:]
	return true
}

// paxRecord is "LENGTH KEY=VALUE\n", where LENGTH counts its own digits too.
func paxRecord(key, value string) string {
	rest := len(key) + len(value) + 3
	n := rest + len(strconv.Itoa(rest))
	if len(strconv.Itoa(n)) != len(strconv.Itoa(rest)) {
		n++
	}
	return strconv.Itoa(n) + " " + key + "=" + value + "\n"
}

// pad fills up to a whole block.
func pad(b []byte) []byte { return append(b, zeroBlock[:padding(int64(len(b)))]...) }

// padding is how many bytes fill up n bytes to whole blocks.
func padding(n int64) int64 { return -n & (blockSize - 1) }

package squashfs

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// walker goes through the directories and writes the tar.
type walker struct {
	*image
	ctx     context.Context
	out     *tar.Writer
	entered map[uint64]bool   // directories, by reference
	names   map[uint64]string // of files with several names, by reference
	written int64             // bytes of files
}

// dir writes what is in a directory.
func (t *walker) dir(reference uint64, i *inode, path string, depth int) error {
	if t.entered[reference] || depth > maxDepth {
		return fmt.Errorf("directory %q: it is inside itself, or in two places, or too deep", path)
	}
	t.entered[reference] = true
	return t.list(i, func(name string, reference uint64) error {
		if name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
			return fmt.Errorf("entry %q in %q: it is no file name", name, path)
		}
		name = path + name
		child, err := t.inode(reference)
		if err == nil {
			err = t.write(name, reference, child)
		}
		if err != nil {
			return naming(name, err)
		}
		if child.kind != kindDir {
			return nil
		}
		return t.dir(reference, child, name+"/", depth+1)
	})
}

// entryError is a failure that names its entry.
type entryError struct {
	name string
	err  error
}

func (e *entryError) Error() string { return fmt.Sprintf("entry %q: %v", e.name, e.err) }
func (e *entryError) Unwrap() error { return e.err }

func naming(name string, err error) error { return &entryError{name, err} }

// write writes one entry.
func (t *walker) write(name string, reference uint64, i *inode) error {
	if err := t.ctx.Err(); err != nil {
		return err
	}
	h := &tar.Header{Format: tar.FormatPAX, Name: name, Mode: int64(i.mode & 0o7777), Uid: i.uid, Gid: i.gid, ModTime: time.Unix(int64(i.mtime), 0)}
	if first, ok := t.names[reference]; ok {
		h.Typeflag, h.Linkname = tar.TypeLink, first
		return t.out.WriteHeader(h)
	}
	switch i.kind {
	case kindDir:
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case kindFile:
		h.Typeflag, h.Size = tar.TypeReg, int64(i.size)
		if i.size > 1<<62 {
			return errRange
		}
		if i.links > 1 {
			t.names[reference] = name
		}
	case kindSymlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, i.target
	case kindFifo:
		h.Typeflag = tar.TypeFifo
	case kindBlock, kindChar: // the numbers as the kernel packs them, new_encode_dev
		h.Typeflag = map[int]byte{kindBlock: tar.TypeBlock, kindChar: tar.TypeChar}[i.kind]
		h.Devmajor, h.Devminor = int64(i.device>>8&0xfff), int64(i.device&0xff|i.device>>12&0xfff00)
	default:
		return nil // a socket is nothing without the program that listens
	}
	attributes, err := t.attributes(i.xattr)
	if err != nil {
		return err
	}
	for k, v := range attributes {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords["SCHILY.xattr."+k] = v
	}
	if err := t.out.WriteHeader(h); err != nil {
		return err
	}
	if i.kind == kindFile {
		return t.content(i)
	}
	return nil
}

// content writes the blocks of a file and what of it is in a fragment.
func (t *walker) content(i *inode) error {
	block := uint64(t.super.BlockSize)
	sizes, at := i.sizes, i.start
	zeros := make([]byte, 0)
	left := i.size
	for left >= block || left > 0 && i.fragment == noIndex {
		if err := t.ctx.Err(); err != nil {
			return err
		}
		size, err := sizes.uint32s(1)
		if err != nil {
			return err
		}
		want := int(min(block, left))
		if len(zeros) == 0 && size[0] == 0 {
			zeros = make([]byte, block)
		}
		data := zeros[:min(len(zeros), want)]
		if size[0] != 0 {
			if data, err = t.block(at, size[0]); err != nil {
				return err
			}
			at += uint64(size[0] &^ (1 << 24))
		}
		if len(data) != want {
			return errors.New("a block has another size than its file needs")
		}
		if err := t.emit(data); err != nil {
			return err
		}
		left -= uint64(want)
	}
	if left == 0 {
		return nil
	}
	tail, err := t.image.fragment(i.fragment)
	if err != nil {
		return err
	}
	if uint64(i.within)+left > uint64(len(tail)) {
		return errRange
	}
	return t.emit(tail[i.within : uint64(i.within)+left])
}

// emit writes bytes of a file and stops a bomb.
func (t *walker) emit(b []byte) error {
	t.written += int64(len(b))
	if t.written > freeSize && t.written/maxRatio > t.size {
		return fmt.Errorf("the image unpacks to more than %d times its size", maxRatio)
	}
	n, err := t.out.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return err
}

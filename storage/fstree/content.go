package fstree

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	writers    = 2         // goroutines that write file contents
	pieceSize  = 128 << 10 // bytes of one write
	pieceCount = 64        // pieces that may wait to be written
)

// piece is a part of a file's content on its way to the disk.
type piece struct {
	f   *outFile
	buf []byte
	n   int
	off int64
}

// outFile is a file being written. Whoever gives up the last use gives it its owner, mode and times.
type outFile struct {
	fd   int
	name string
	size int64
	hole bool // the size must be set: the file may end in a hole
	meta meta
	uses atomic.Int32
}

// file makes a regular file and hands its content to the writers. With holes, blocks of zeros are left out.
func (x *extractor) file(name string, m meta, size int64, data io.Reader, holes bool) error {
	f := &outFile{name: name, size: size, hole: holes, meta: m}
	_, _, err := x.replace(name, func(dir int, base string) (err error) {
		f.fd, err = unix.Openat(dir, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, m.mode&0o777)
		return err
	})
	if err != nil {
		return err
	}
	f.uses.Store(1)
	err = x.content(f, data)
	// the last use carries no bytes; a writer, not this goroutine, pays for the metadata
	return cmp.Or(err, x.send(piece{f: f}))
}

func (x *extractor) content(f *outFile, data io.Reader) error {
	var off int64
	for off < f.size {
		buf, err := x.buffer()
		if err != nil {
			return err
		}
		n, err := fill(data, buf[:min(int64(len(buf)), f.size-off)])
		if err == io.EOF && off+int64(n) < f.size {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && err != io.EOF {
			x.blank <- buf
			return err
		}
		if f.hole && allZero(buf[:n]) {
			x.blank <- buf
		} else {
			f.uses.Add(1)
			if err := x.send(piece{f, buf, n, off}); err != nil {
				return err
			}
		}
		off += int64(n)
	}
	// a trailing read makes archive/tar check that the entry's data end here
	var one [1]byte
	if n, err := data.Read(one[:]); n != 0 || err != io.EOF {
		return cmp.Or(err, errors.New("the entry's data do not end at its size"))
	}
	return nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func (x *extractor) buffer() ([]byte, error) {
	select {
	case b := <-x.blank:
		if b == nil {
			b = make([]byte, pieceSize)
		}
		return b, nil
	case <-x.ctx.Done():
		return nil, context.Cause(x.ctx)
	}
}

func (x *extractor) send(p piece) error {
	select {
	case x.queue <- p:
		return nil
	case <-x.ctx.Done():
		if p.f.uses.Add(-1) == 0 {
			unix.Close(p.f.fd)
		}
		return context.Cause(x.ctx)
	}
}

// write is one writer. After a failure it goes on to close the files that wait, without writing.
func (x *extractor) write() error {
	var failed error
	for p := range x.queue {
		if failed == nil {
			failed = p.write()
		}
		if p.buf != nil {
			x.blank <- p.buf
		}
		if p.f.uses.Add(-1) == 0 {
			failed = cmp.Or(failed, p.f.finish(failed == nil))
		}
		if failed != nil && x.ctx.Err() == nil {
			failed = entryError(p.f.name, failed)
			x.fail(failed)
		}
	}
	return failed
}

func (p piece) write() error {
	b, off := p.buf[:p.n], p.off
	for len(b) > 0 {
		n, err := unix.Pwrite(p.f.fd, b, off)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		b, off = b[n:], off+int64(n)
	}
	return nil
}

// finish closes the file after it has set, if all is well, what writing would change again.
func (f *outFile) finish(well bool) (err error) {
	if well {
		err = f.settle()
	}
	if cerr := unix.Close(f.fd); err == nil && cerr != nil {
		err = fmt.Errorf("close: %w", cerr)
	}
	return err
}

func (f *outFile) settle() error {
	if f.hole {
		if err := unix.Ftruncate(f.fd, f.size); err != nil {
			return err
		}
	}
	if err := f.permit(); err != nil {
		return err
	}
	for _, x := range f.meta.xattrs {
		if err := unix.Fsetxattr(f.fd, x.name, []byte(x.value), 0); err != nil {
			return fmt.Errorf("set extended attribute %s: %w", x.name, err)
		}
	}
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: f.meta.mtime}}
	return unix.UtimesNanoAt(f.fd, "", times, unix.AT_EMPTY_PATH)
}

// permit gives the file its owner and mode, where it has not been made with them: each change is a write to the journal.
func (f *outFile) permit() error {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return err
	}
	if int(st.Uid) != f.meta.uid || int(st.Gid) != f.meta.gid {
		if err := ownerError(f.meta, unix.Fchown(f.fd, f.meta.uid, f.meta.gid)); err != nil {
			return err
		}
	}
	if st.Mode&0o7777 == f.meta.mode {
		return nil
	}
	return unix.Fchmod(f.fd, f.meta.mode)
}

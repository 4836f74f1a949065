// Package fstree makes file trees out of hostile archives and one canonical archive out of a file tree.
//
// # Vocabulary
//
// A tree is a directory whose content is the root of a system, or what a layer changes in one. A mark is how an overlay
// says that something is gone: a whiteout (a character device 0:0) hides one name of the layers below, an opaque
// directory (an extended attribute) hides everything they have in it. A tree is normalised when what it holds no longer
// depends on when, where and by whom it was made.
//
// # Life cycle
//
// Unpack fills an empty directory from an archive, or an overlay's upper directory is filled by running programs.
// Normalise then changes that directory in place until it is the layer: it can be renamed into the store as it is, and
// Digest gives the same answer for ever. WriteTar writes the bytes that Digest hashes.
//
// # The canonical archive
//
// Entries are sorted by the bytes of their path components, parents before children; there is none for the root, which
// is always 0755 and owned by 0:0. Headers are ustar; a path over 100 bytes is split at its last possible slash; what
// does not fit goes to a PAX header named "././@PaxHeader", its records sorted by key. Owners are numbers, as seen by
// this process: inside a user namespace they are the container's. Of a hard-linked file the first name carries the data.
// Kept extended attributes are security.capability of files, as version 2, access control lists (acl(5)), and user.* of
// files and directories but for those of overlays and container engines. Whiteouts and opaque marks are the OCI's ".wh.NAME" and ".wh..wh..opq" (image
// specification, layer.md) with all other fields zero. Two zero blocks end it. The sha256 of these bytes is the diffID.
//
// # Invariants
//
// Nothing outside the directory is read or written, whatever names, links or devices are in the archive or the tree:
// every name is resolved by the kernel below a directory descriptor (openat2(2)). No file content is held in memory.
// The directory must not be changed by others meanwhile; the store's scratch directories are private.
package fstree

import (
	"errors"
	"fmt"
)

// EntryError is a failure that concerns one entry of an archive or a tree.
type EntryError struct {
	Entry string // as the archive has it, or the path below the tree's root
	Err   error
}

// Error quotes the entry's name, which may hold anything.
func (e *EntryError) Error() string { return fmt.Sprintf("entry %q: %v", e.Entry, e.Err) }

func (e *EntryError) Unwrap() error { return e.Err }

// entryError names the entry, unless err names one already.
func entryError(entry string, err error) error {
	var have *EntryError
	if err == nil || errors.As(err, &have) {
		return err
	}
	return &EntryError{Entry: entry, Err: err}
}

package storage

import (
	"os"
	"path/filepath"

	"github.com/karapace/karapace/manifest"
)

// An environment keeps copies of its record and its lock, for verify-store --repair: without them nobody knows what its
// writable layers are, nor which files it needs. A copy is written after what it is of, and is not flushed: after a crash
// it may be an earlier one, or damaged, which is no harm as long as the other is whole.

const copies = "copy"

// CopyPath is where the copy of a file of an environment is.
func (s *Store) CopyPath(id manifest.EnvID, name string) string { return s.EnvDir(id, copies, name) }

// WriteCopy writes the copy of a file in the environment directory dir. That it cannot be written is no failure.
func WriteCopy(dir, name string, data []byte) {
	path := filepath.Join(dir, copies, name)
	os.Remove(path) // it may belong to another id of the user's
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return
	}
	f.Write(data)
	f.Close()
}

// RecordCopy reads the copy of an environment's record.
func (s *Store) RecordCopy(id manifest.EnvID) (*Record, error) {
	return s.readRecord(id, s.CopyPath(id, recordName))
}

const recordName = "record.json"

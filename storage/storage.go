// Package storage keeps environments on disk: light, because it is on the way of every command.
//
// # Vocabulary
//
// A store is one directory. A record is the small file that makes an environment exist; it holds everything that
// entering needs, so that nothing else is opened. A scratch directory is where something is made before one rename
// makes it visible. The vault holds package files and base images by sha256; layers holds our record of each
// read-only layer, whose bytes lie in storage, the graph root of containers/storage. A snapshot is a writable layer that
// was committed.
//
//	STORE/version             the layout's version
//	STORE/names               locked for moments by what changes names or records
//	STORE/names/NAME          symbolic link to an env_id; valid only if that record has this name
//	STORE/envs                locked: shared by builds, alone by what removes layers, files of the vault, or the store
//	STORE/envs/ID             the directory itself is locked by who changes what the environment is made of
//	STORE/envs/ID/record.json what makes the environment exist
//	STORE/envs/ID/karapace.lock the lock it was built from
//	STORE/envs/ID/copy        copies of these two, for verify-store --repair
//	STORE/envs/ID/host        lowest-cost place for host facts: mount points and the user's passwd entry, a lower directory
//	STORE/envs/ID/upper,work  the first writable layer
//	STORE/envs/ID/upper.N     others: the record names the present one and those that are snapshots; the rest is garbage
//	STORE/envs/ID/bundle      the OCI bundle; its rootfs is only ever a mount point; locked by karapace run
//	STORE/envs/ID/state       kernel locks of the running environment
//	STORE/layers, built       records of layers, and which build made which layer; built/KEY.lock is held by that build
//	STORE/fetched             locks whose files were fetched ahead: they are kept as if an environment had them
//	STORE/quick               manifests and locks of environments made without a project
//	STORE/quarantine          what verify-store --repair could not mend; a record or lock in it keeps gc from removing anything
//	STORE/backup              records as they were before a migration
//	STORE/vault, storage, tmp
//
// Records, of environments, layers and builds, are sealed: each carries a checksum of itself.
//
// # Invariants
//
// Every change becomes visible through one atomic rename, and what no record refers to is garbage. Reading never
// creates anything, and waits for nobody but who changes the very environment that is entered. Locks are the kernel's
// (flock) and end with their holder; what a directory can be locked for is, since a directory is not taken for litter. The directories belong to the user; what lies in upper, work and storage belongs to the user's
// subordinate ids and is touched inside the user namespace only.
package storage

import (
	"fmt"
	"io/fs"
	"path/filepath"
)

// Error is a store that cannot be used as it is.
type Error struct {
	Path  string
	Msg   string
	Hint  string
	Cause error // what Msg tells of, where somebody may ask for it; else nil
}

func (e *Error) Error() string { return fmt.Sprintf("store %s: %s", e.Path, e.Msg) }
func (e *Error) Unwrap() error { return e.Cause }

// Store is one store directory. It holds no open files and needs no closing.
type Store struct {
	root string

	// Waiting is told of whoever a method has to wait for; nil tells nobody. It is called by the goroutine that waits.
	Waiting Waiting
}

// Root is the store's directory.
func (s *Store) Root() string { return s.root }

// Path joins names below the store.
func (s *Store) Path(elem ...string) string {
	return filepath.Join(append([]string{s.root}, elem...)...)
}

// Size adds up the disk space of the tree at path, in bytes; what cannot be read counts nothing.
func Size(path string) int64 {
	var total int64
	filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			total += blocks(info)
		}
		return nil
	})
	return total
}

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
//	STORE/lock                held for moments by what changes names or records
//	STORE/gc.lock             shared by builds; held by what removes layers, files of the vault, or the store
//	STORE/names/NAME          symbolic link to an env_id; valid only if that record has this name
//	STORE/envs/ID             the directory itself is locked by who changes what the environment is made of
//	STORE/envs/ID/record.json what makes the environment exist
//	STORE/envs/ID/karapace.lock the lock it was built from
//	STORE/envs/ID/host        lowest-cost place for host facts: mount points and the user's passwd entry, a lower directory
//	STORE/envs/ID/upper,work  the first writable layer
//	STORE/envs/ID/upper.N     others: the record names the present one and those that are snapshots; the rest is garbage
//	STORE/envs/ID/bundle      the OCI bundle; its rootfs is only ever a mount point; locked by karapace run
//	STORE/envs/ID/state       kernel locks of the running environment
//	STORE/layers, built       records of layers, and which build made which layer
//	STORE/fetched             locks whose files were fetched ahead: they are kept as if an environment had them
//	STORE/quick               manifests and locks of environments made without a project
//	STORE/vault, storage, tmp
//
// # Invariants
//
// Every change becomes visible through one atomic rename, and what no record refers to is garbage. Reading never
// creates anything. The directories belong to the user; what lies in upper, work and storage belongs to the user's
// subordinate ids and is touched inside the user namespace only.
package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Version is the layout this package reads and writes.
const Version = "karapace store 1\n"

// ErrNoStore means that the directory holds no store yet.
var ErrNoStore = errors.New("no store")

// Error is a store that cannot be used as it is.
type Error struct {
	Path string
	Msg  string
	Hint string
}

func (e *Error) Error() string { return fmt.Sprintf("store %s: %s", e.Path, e.Msg) }

// Store is one store directory. It holds no open files and needs no closing.
type Store struct {
	root string
}

// Open checks the version of the store at root. It returns ErrNoStore when there is none, and writes nothing.
func Open(root string) (*Store, error) {
	b, err := readBounded(filepath.Join(root, "version"), 256)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open store %s: %w", root, ErrNoStore)
	}
	if err != nil {
		return nil, &Error{Path: root, Msg: fmt.Sprintf("read version: %v", err)}
	}
	if string(b) != Version {
		return nil, &Error{Path: root, Msg: fmt.Sprintf("it says it is %q, this program knows %q", strings.TrimSpace(string(b)), strings.TrimSpace(Version)),
			Hint: "use the version of karapace that wrote it, or another --store"}
	}
	return &Store{root: root}, nil
}

// Create makes a store at root, or opens the one that is there.
func Create(root string) (*Store, error) {
	if s, err := Open(root); !errors.Is(err, ErrNoStore) {
		return s, err
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, &Error{Path: root, Msg: err.Error()}
	}
	if names, err := os.ReadDir(root); err != nil {
		return nil, &Error{Path: root, Msg: err.Error()}
	} else if foreign := notOurs(names); foreign != "" {
		return nil, &Error{Path: root, Msg: fmt.Sprintf("the directory is no store and holds %q", foreign), Hint: "name an empty or a new directory"}
	}
	for _, d := range directories() {
		if err := os.Mkdir(filepath.Join(root, d), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, &Error{Path: root, Msg: err.Error()}
		}
	}
	if err := WriteFile(filepath.Join(root, "version"), []byte(Version), 0o644); err != nil {
		return nil, &Error{Path: root, Msg: err.Error()}
	}
	return &Store{root: root}, nil
}

func directories() []string {
	return []string{"names", "envs", "layers", "built", "quick", "vault", "storage", "tmp"}
}

// Names are all that the directory of a store may hold.
func Names() []string { return append(directories(), "version", "lock", "gc.lock", "fetched") }

// notOurs returns the first name that a store being created by another process would not have.
func notOurs(entries []os.DirEntry) string {
	for _, e := range entries {
		ours := e.Name() == "version" || strings.HasPrefix(e.Name(), tempPrefix)
		for _, d := range directories() {
			ours = ours || e.Name() == d
		}
		if !ours {
			return e.Name()
		}
	}
	return ""
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

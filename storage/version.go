package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Version is the layout this package reads and writes. Earlier ones are read by what migrates them only:
// 1 had records without a checksum, and none of the host layer.
const Version = 2

const versionPrefix = "karapace store "

func versionText(n int) string { return versionPrefix + strconv.Itoa(n) + "\n" }

// ErrNoStore means that the directory holds no store yet.
var ErrNoStore = errors.New("no store")

// VersionError says that a store is not of the version that was expected. It is also an *Error.
type VersionError struct {
	Found int // 0: the file is missing or damaged
	error *Error
}

func (e *VersionError) Error() string { return e.error.Error() }
func (e *VersionError) Unwrap() error { return e.error }

// VersionOf reads the version of the store at root. It returns ErrNoStore when there is none, and a *VersionError when
// the file is damaged, or missing where a store is.
func VersionOf(root string) (int, error) {
	b, err := readBounded(filepath.Join(root, "version"), 256)
	if errors.Is(err, fs.ErrNotExist) {
		if holdsSomething(root) {
			return 0, unversioned(root, "its version file is missing")
		}
		return 0, fmt.Errorf("open store %s: %w", root, ErrNoStore)
	}
	if err != nil && !errors.Is(err, errUnfit) {
		return 0, &Error{Path: root, Msg: fmt.Sprintf("read version: %v", err)}
	}
	n, found := strings.CutPrefix(string(b), versionPrefix)
	version, bad := strconv.Atoi(strings.TrimSuffix(n, "\n"))
	if err != nil || !found || bad != nil || version < 1 || string(b) != versionText(version) {
		return 0, unversioned(root, "its version file is damaged")
	}
	return version, nil
}

func unversioned(root, msg string) error {
	return &VersionError{error: &Error{Path: root, Msg: msg, Hint: "karapace verify-store --repair finds out what it was"}}
}

// holdsSomething tells whether a directory without a version has what only a store has. One that is being created, or
// removed, has none of it.
func holdsSomething(root string) bool {
	for _, d := range []string{"envs", "layers"} {
		if empty, err := IsEmptyDir(filepath.Join(root, d)); err == nil && !empty {
			return true
		}
	}
	return false
}

// Open checks the version of the store at root. It returns ErrNoStore when there is none, a *VersionError when it is of
// another version, and writes nothing.
func Open(root string) (*Store, error) {
	if !utf8.ValidString(root) { // nor could a request to karapace-store name it
		return nil, &Error{Path: strconv.Quote(root), Msg: "its path is not UTF-8", Hint: "name another directory with --store or KARAPACE_STORE"}
	}
	n, err := VersionOf(root)
	if err != nil {
		return nil, err
	}
	e := &VersionError{Found: n, error: &Error{Path: root, Msg: fmt.Sprintf("it is of version %d, and this program knows version %d", n, Version)}}
	switch {
	case n > Version:
		e.error.Hint = "use the version of karapace that wrote it, or a newer one, or another --store"
	case n < Version:
		e.error.Hint = "karapace migrate brings it to version " + strconv.Itoa(Version) + " and keeps a copy of its records"
	default:
		return &Store{root: root}, nil
	}
	return nil, e
}

// At is the store at root, of whatever version it may be: for what migrates and repairs.
func At(root string) *Store { return &Store{root: root} }

// SetVersion makes the store one of version n.
func (s *Store) SetVersion(n int) error {
	return WriteFile(s.Path("version"), []byte(versionText(n)), 0o644)
}

// Create makes a store at root, or opens the one that is there.
func Create(root string) (*Store, error) {
	if s, err := Open(root); !errors.Is(err, ErrNoStore) {
		return s, err
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, &Error{Path: root, Msg: err.Error(), Cause: err}
	}
	if names, err := os.ReadDir(root); err != nil {
		return nil, &Error{Path: root, Msg: err.Error(), Cause: err}
	} else if foreign := notOurs(names); foreign != "" {
		return nil, &Error{Path: root, Msg: fmt.Sprintf("the directory is no store and holds %q", foreign), Hint: "name an empty or a new directory"}
	}
	s := &Store{root: root}
	if err := s.MakeDirectories(); err != nil {
		return nil, err
	}
	if err := s.SetVersion(Version); err != nil {
		return nil, &Error{Path: root, Msg: err.Error(), Cause: err}
	}
	return s, nil
}

// MakeDirectories makes those of a store's directories that are missing.
func (s *Store) MakeDirectories() error {
	for _, d := range Directories() {
		if err := os.Mkdir(s.Path(d), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return &Error{Path: s.root, Msg: err.Error(), Cause: err}
		}
	}
	return nil
}

// Directories are those that every store has.
func Directories() []string {
	return []string{"names", "envs", "layers", "built", "quick", "vault", "storage", "tmp"}
}

// Names are all that the directory of a store may hold.
func Names() []string {
	return append(Directories(), "version", "fetched", "quarantine", "backup", "transit", "pushed", summariesName, startedName, runningName)
}

// notOurs returns the first name that a store which is being created, or was not removed to the end, would not have.
func notOurs(entries []os.DirEntry) string {
	for _, e := range entries {
		ours := strings.HasPrefix(e.Name(), tempPrefix)
		for _, d := range Names() {
			ours = ours || e.Name() == d
		}
		if !ours {
			return e.Name()
		}
	}
	return ""
}

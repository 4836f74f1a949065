package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/manifest"
)

// Snapshot is a writable layer that was committed: it stays where it was written and does not change any more.
//
// Its identity says what it changes and of what. It is the digest of its layer where that lies on the built state, and on
// another snapshot what the OCI image specification (config.md, Layer ChainID) makes of the two: the same changes of
// another state are another snapshot.
type Snapshot struct {
	ID        digest.Digest `json:"id"`
	Layer     digest.Digest `json:"layer"`            // of the canonical tar of what it changes
	Parent    digest.Digest `json:"parent,omitempty"` // the snapshot it lies on; empty is the built state
	Message   string        `json:"message,omitempty"`
	CreatedAt time.Time     `json:"created_at"`
	Size      int64         `json:"size"`           // bytes of that tar
	Dir       string        `json:"dir"`            // below the environment's directory
	Auto      bool          `json:"auto,omitempty"` // kept by a command that would else have lost it
}

// SnapshotID is the identity of a layer on a parent.
func SnapshotID(parent, layer digest.Digest) digest.Digest {
	if parent == "" {
		return layer
	}
	return digest.FromString(string(parent) + " " + string(layer))
}

// Short is as much of a snapshot's identity as people are shown.
func (s *Snapshot) Short() string { return s.ID.Encoded()[:12] }

// Snapshot returns the snapshot with an id, nil when there is none.
func (r *Record) Snapshot(id digest.Digest) *Snapshot {
	for i := range r.Snapshots {
		if r.Snapshots[i].ID == id {
			return &r.Snapshots[i]
		}
	}
	return nil
}

// Chain is what the writable layer lies on: the current snapshot, its parent, and so on down to the built state.
func (r *Record) Chain() []Snapshot { return r.ChainOf(r.Current) }

// ChainOf is a snapshot, its parent, and so on down to the built state, which as an empty id has none.
func (r *Record) ChainOf(id digest.Digest) []Snapshot {
	var chain []Snapshot
	for s := r.Snapshot(id); s != nil; s = r.Snapshot(s.Parent) {
		chain = append(chain, *s)
	}
	return chain
}

// Match returns the snapshots whose id begins with ref, with or without "sha256:".
func (r *Record) Match(ref string) []Snapshot {
	hex := strings.TrimPrefix(ref, "sha256:")
	if hex == "" || !isHex(hex) {
		return nil
	}
	var found []Snapshot
	for _, s := range r.Snapshots {
		if strings.HasPrefix(s.ID.Encoded(), hex) {
			found = append(found, s)
		}
	}
	return found
}

// Add lists a snapshot and makes it the current one. When it is there already, what was to be added is garbage.
func (r *Record) Add(s Snapshot) {
	if r.Snapshot(s.ID) == nil {
		r.Snapshots = append(slices.Clip(r.Snapshots), s)
	}
	r.Current = s.ID
}

// Children are the snapshots that lie on the one with an id.
func (r *Record) Children(id digest.Digest) []Snapshot {
	var all []Snapshot
	for _, s := range r.Snapshots {
		if s.Parent == id {
			all = append(all, s)
		}
	}
	return all
}

// Lowers are the directories below the writable layer, top first: the snapshots, what the host adds, the built layers.
func (s *Store) Lowers(r *Record) []string {
	var dirs []string
	for _, snap := range r.Chain() {
		dirs = append(dirs, s.EnvDir(r.EnvID, snap.Dir))
	}
	dirs = append(dirs, s.HostDir(r))
	for _, l := range r.Lower {
		dirs = append(dirs, s.Path(l))
	}
	return dirs
}

// checkSnapshots says what is wrong with the snapshots of a record that was read. A parent is listed before its children,
// so that no chain is endless.
func (r *Record) checkSnapshots() string {
	known := map[digest.Digest]bool{"": true}
	for _, s := range r.Snapshots {
		switch {
		case !isDigest(s.Layer) || s.ID != SnapshotID(s.Parent, s.Layer):
			return fmt.Sprintf("%q is not the id of a snapshot", s.ID)
		case !filepath.IsLocal(s.Dir):
			return fmt.Sprintf("the snapshot directory %q leaves the environment", s.Dir)
		case known[s.ID]:
			return fmt.Sprintf("snapshot %s is listed twice", s.ID)
		case !known[s.Parent]:
			return fmt.Sprintf("snapshot %s lies on one that is not there", s.ID)
		}
		known[s.ID] = true
	}
	if !known[r.Current] {
		return fmt.Sprintf("the current snapshot %s is not there", r.Current)
	}
	return ""
}

// GoTo makes a snapshot, or with "" the built state, what the writable layer lies on.
func (r *Record) GoTo(id digest.Digest) error {
	if id != "" && r.Snapshot(id) == nil {
		return fmt.Errorf("environment %s has no snapshot %s", r.Title(), id)
	}
	r.Current = id
	return nil
}

// InUseError says why a snapshot cannot go.
type InUseError struct{ Reason string }

func (e *InUseError) Error() string { return e.Reason }

// Remove takes a snapshot off the list and returns its directory, which is garbage then. The current one, and one that
// others lie on, gives an InUseError that names them.
func (r *Record) Remove(id digest.Digest) (dir string, err error) {
	s := r.Snapshot(id)
	switch {
	case s == nil:
		return "", fmt.Errorf("environment %s has no snapshot %s", r.Title(), id)
	case r.Current == id:
		return "", &InUseError{fmt.Sprintf("snapshot %s is what environment %s is at", s.Short(), r.Title())}
	}
	if on := r.Children(id); len(on) > 0 {
		names := make([]string, len(on))
		for i, c := range on {
			names[i] = c.Short()
		}
		return "", &InUseError{fmt.Sprintf("snapshot %s is what others lie on: %s", s.Short(), strings.Join(names, ", "))}
	}
	dir = s.Dir
	r.Snapshots = slices.DeleteFunc(slices.Clone(r.Snapshots), func(s Snapshot) bool { return s.ID == id })
	return dir, nil
}

// UpperPrefix begins the names of writable layers, in an environment's directory, after the first one.
const UpperPrefix = "upper."

// HostPrefix begins the names of what the host adds, after the first one.
const HostPrefix = "host."

// Uppers are the names of all writable layers in an environment's directory, none when that is not there.
func (s *Store) Uppers(id manifest.EnvID) ([]string, error) {
	return s.within(id, func(name string) bool { return name == firstUpper || strings.HasPrefix(name, UpperPrefix) })
}

// within are the names in an environment's directory that a function picks.
func (s *Store) within(id manifest.EnvID, pick func(string) bool) ([]string, error) {
	entries, err := os.ReadDir(s.EnvDir(id))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list environment: %w", err)
	}
	var names []string
	for _, e := range entries {
		if pick(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Unnamed are the writable and host layers in an environment's directory that its record does not name: left behind by
// restore --discard, rebuild and commands that ended early, some in the middle of a removal, which moves what lies deep in a tree
// to beside it, under its name behind a dot (fstree.RemoveAll). The caller is alone in the environment.
func (s *Store) Unnamed(r *Record) ([]string, error) {
	all, err := s.within(r.EnvID, func(name string) bool {
		name = strings.TrimLeft(name, ".")
		return name == firstUpper || name == firstHost || strings.HasPrefix(name, UpperPrefix) || strings.HasPrefix(name, HostPrefix)
	})
	return slices.DeleteFunc(all, func(name string) bool {
		return name == r.UpperName() || name == r.HostName() || slices.ContainsFunc(r.Snapshots, func(snap Snapshot) bool { return snap.Dir == name })
	}), err
}

// IsEmptyDir tells whether a directory holds nothing.
func IsEmptyDir(dir string) (bool, error) {
	d, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	defer d.Close()
	_, err = d.Readdirnames(1)
	if err == io.EOF {
		return true, nil
	}
	return false, err
}

// MessageLimit bounds what people write about a snapshot, in bytes: it is read at every start of the environment.
const MessageLimit = 4096

// WorkError says that an environment which is to go holds what cannot be built again.
type WorkError struct {
	Name      string
	Snapshots int
	Drift     bool
	Home      bool // of its own has files
}

func (e *WorkError) Error() string {
	var what []string
	if e.Drift {
		what = append(what, "changes in its writable layer")
	}
	if e.Snapshots > 0 {
		what = append(what, fmt.Sprintf("%d of its snapshots", e.Snapshots))
	}
	if e.Home {
		what = append(what, "the files in its own home")
	}
	return fmt.Sprintf("environment %s would go, and with it %s", e.Name, strings.Join(what, " and "))
}

// Hint is how to keep it, and how not to.
func (e *WorkError) Hint() string {
	return fmt.Sprintf("karapace rename %s OTHER keeps it; --force lets it go (karapace snapshots %s and diff %s show what that is)", e.Name, e.Name, e.Name)
}

// Expendable returns a *WorkError when an environment holds snapshots, or anything in its writable layer or in a home of its own.
func (s *Store) Expendable(r *Record) error {
	empty, err := IsEmptyDir(s.EnvDir(r.EnvID, "home"))
	e := &WorkError{Name: r.Title(), Snapshots: len(r.Snapshots), Drift: !s.Pristine(r), Home: !empty && !errors.Is(err, fs.ErrNotExist)}
	if e.Snapshots == 0 && !e.Drift && !e.Home {
		return nil
	}
	return e
}

// Pristine tells whether nothing at all was written to an environment's writable layer, as far as this process can see.
func (s *Store) Pristine(r *Record) bool {
	dir := s.UpperDir(r)
	info, err := os.Stat(dir)
	if err != nil || info.Mode() != fs.ModeDir|0o755 {
		return false
	}
	empty, err := IsEmptyDir(dir)
	return err == nil && empty
}

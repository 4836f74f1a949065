package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/karapace/karapace/manifest"
)

// NameTakenError says that another environment has the name, or that it would be mistaken for that one's id.
type NameTakenError struct {
	Name string
	By   manifest.EnvID
	ID   bool // it is the id, full or short
}

func (e *NameTakenError) Error() string {
	if e.ID {
		return fmt.Sprintf("the name %q is the id of another environment", e.Name)
	}
	return fmt.Sprintf("the name %q is taken by environment %s", e.Name, e.By.Short())
}

// ChangeNames runs f while no other process changes names.
func (s *Store) ChangeNames(ctx context.Context, f func() error) error {
	l, err := s.Lock(ctx, s.Path("names")+"/.")
	if err != nil {
		return err
	}
	defer l.Unlock()
	return f()
}

// NameFree returns a NameTakenError when an environment other than id has the name, another error when one may have it.
func (s *Store) NameFree(name string, id manifest.EnvID) error {
	if holder, err := os.Readlink(s.Path("names", name)); err == nil && holder == string(id) {
		return nil
	}
	r, err := s.named(name)
	if err != nil || r == nil || r.EnvID == id {
		return errors.Join(err, s.notID(name, id))
	}
	return &NameTakenError{Name: name, By: r.EnvID}
}

// notID keeps a name from being the id, as lists show it, of an environment other than id.
func (s *Store) notID(name string, id manifest.EnvID) error {
	if !isHex(name) || name == "" {
		return nil
	}
	ids, err := s.ids()
	if err != nil {
		return err
	}
	for _, other := range ids {
		if other != id && (name == string(other) || name == string(other.Short())) {
			return &NameTakenError{Name: name, By: other, ID: true}
		}
	}
	return nil
}

// LinkName points name at id. It counts once the record of id has the name. Call it within ChangeNames.
func (s *Store) LinkName(name string, id manifest.EnvID) error {
	if name == "" {
		return nil
	}
	path := s.Path("names", name)
	tmp := s.Path("names", tempPrefix+name)
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("name environment: %w", err)
	}
	if err := os.Symlink(string(id), tmp); err != nil {
		return fmt.Errorf("name environment: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("name environment: %w", err)
	}
	return SyncDir(s.Path("names"))
}

// Linked tells whether the name of a record, if it has one, leads to it: a command that was killed may have left it without.
func (s *Store) Linked(r *Record) bool {
	if r.Name == "" {
		return true
	}
	id, err := os.Readlink(s.Path("names", r.Name))
	return err == nil && id == string(r.EnvID)
}

// UnlinkName forgets a name that no record has any more.
func (s *Store) UnlinkName(name string) {
	if name == "" {
		return
	}
	if r, err := s.named(name); r == nil && err == nil {
		os.Remove(s.Path("names", name))
	}
}

// UnusedNames returns the names that no record has. Call it within ChangeNames.
func (s *Store) UnusedNames() ([]string, error) {
	records, bad := s.Records()
	if len(bad) > 0 { // one that cannot be read may have any
		return nil, bad[0]
	}
	entries, err := os.ReadDir(s.Path("names"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list names: %w", err)
	}
	var unused []string
	for _, e := range entries {
		name := e.Name()
		if e.Type()&fs.ModeSymlink == 0 || IsTemporary(name) || slices.ContainsFunc(records, func(r *Record) bool { return r.Name == name }) {
			continue
		}
		unused = append(unused, name)
	}
	return unused, nil
}

// DropUnusedName removes a name. One that a record has by now is as one that is not there.
func (s *Store) DropUnusedName(ctx context.Context, name string) error {
	return s.ChangeNames(ctx, func() error {
		unused, err := s.UnusedNames()
		if err != nil {
			return err
		}
		if !slices.Contains(unused, name) {
			return fs.ErrNotExist
		}
		return os.Remove(s.Path("names", name))
	})
}

// Rename gives an environment a new name.
func (s *Store) Rename(ctx context.Context, r *Record, name string) error {
	return s.ChangeNames(ctx, func() error {
		if err := s.NameFree(name, r.EnvID); err != nil {
			return err
		}
		renamed, err := s.Record(r.EnvID) // as it is now
		if err != nil {
			return err
		}
		old := renamed.Name
		if err := s.LinkName(name, r.EnvID); err != nil {
			return err
		}
		renamed.Name = name
		if err := s.WriteRecord(renamed); err != nil {
			return err
		}
		*r = *renamed
		s.UnlinkName(old)
		return nil
	})
}

package storage

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/manifest"
)

// Version 1 had the same records without seals, and none of the digest of what the host adds, and no
// copies.

// SealRecords seals the records of environments, within a migration, and makes the copies. host tells the digest of what the host adds to one. A
// record that cannot be read stays as it is, for verify-store to find; lost is told of it.
func (s *Store) SealRecords(host func(*Record) (digest.Digest, error), lost func(path string)) error {
	ids, err := s.ids()
	if err != nil {
		return err
	}
	for _, id := range ids {
		path := s.EnvDir(id, "record.json")
		b, err := readBounded(path, recordLimit)
		if Starved(err) {
			return err
		}
		if err != nil {
			lost(path)
			continue
		}
		if Unseal(b, &Record{}) == nil {
			continue
		}
		r, err := s.unsealed(id, b)
		if err != nil {
			lost(path)
			continue
		}
		if r.HostLayer, err = host(r); err != nil {
			return err
		}
		if err := os.Mkdir(s.EnvDir(id, copies), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if b, err := readBounded(s.EnvDir(id, "karapace.lock"), manifest.MaxLockSize); err == nil {
			WriteCopy(s.EnvDir(id), "karapace.lock", b)
		}
		if err := s.WriteRecord(r); err != nil {
			return err
		}
	}
	return nil
}

// unsealed reads a record of version 1.
func (s *Store) unsealed(id manifest.EnvID, b []byte) (*Record, error) {
	r := &Record{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, err
	}
	if why := r.check(id); why != "" {
		return nil, errors.New(why)
	}
	return r, nil
}

// SealBuilt seals what is remembered of builds, within a migration.
func (s *Store) SealBuilt() error {
	entries, err := os.ReadDir(s.Path("built"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") {
			continue
		}
		data, err := readBounded(s.Path("built", e.Name()), recordLimit)
		b := &Built{}
		if err != nil || Unseal(data, b) == nil || json.Unmarshal(data, b) != nil || b.Key.Encoded()+".json" != e.Name() {
			continue
		}
		if err := s.RememberBuilt(b); err != nil {
			return fmt.Errorf("seal %s: %w", e.Name(), err)
		}
	}
	return nil
}

// GuessVersion finds out of which version a store is whose version file is lost, by its records: that of those it can read,
// the present one without any.
func (s *Store) GuessVersion() (int, error) {
	ids, err := s.ids()
	if err != nil {
		return 0, err
	}
	for _, id := range ids {
		b, err := readBounded(s.EnvDir(id, "record.json"), recordLimit)
		if err != nil {
			continue
		}
		if _, err := s.unsealed(id, b); err != nil {
			continue
		}
		if Unseal(b, &Record{}) != nil && !strings.Contains(string(b), sealBegin) {
			return 1, nil
		}
		return Version, nil
	}
	return Version, nil
}

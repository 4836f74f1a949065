package layers

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	cstorage "github.com/containers/storage"

	"github.com/karapace/karapace/storage"
)

// Seal makes records of version 1 of the store such of version 2: sealed, and with the time that containers/storage has. A
// record that cannot be read stays as it is, for verify-store to find; lost is told of it.
func (s *Store) Seal(ctx context.Context, lost func(path string)) error {
	lock, err := storage.WaitLock(ctx, s.records()+"/.", nil)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	created := map[string]time.Time{}
	list, err := readIndex[cstorage.Layer](s.layerIndexPath())
	if err != nil {
		lost(s.layerIndexPath())
	}
	for _, l := range list {
		created[l.ID] = l.Created
	}
	all, err := s.List()
	if err != nil {
		return err
	}
	for _, d := range all {
		path := s.recordPath(d)
		data, err := readSmall(path, recordLimit)
		r := &record{}
		if storage.Starved(err) {
			return err
		}
		if err == nil && storage.Unseal(data, r) == nil {
			continue
		}
		if err != nil || json.Unmarshal(data, r) != nil || r.check(d) != nil {
			lost(path)
			continue
		}
		r.Created = created[r.ID]
		if data, err = storage.Seal(r); err != nil {
			return err
		}
		if err := storage.WriteFile(path, data, 0o644); err != nil {
			return fmt.Errorf("seal record of layer %s: %w", d, err)
		}
	}
	return nil
}

package engine

import (
	"os"

	"github.com/karapace/karapace/integration"
	"github.com/karapace/karapace/storage"
)

const authorityLimit = 1 << 20 // bytes of an X authority file

// authority puts the keys of one display beside the environment and gives the file. Sessions before may hold the file of
// before, which stays as it was.
func (e *Engine) authority(s *storage.Store, r *storage.Record, source, display string) (string, error) {
	text, err := readFile(source, authorityLimit)
	if err != nil {
		return "", err
	}
	keys, err := integration.Authority(text, display)
	if err != nil {
		return "", err
	}
	file := s.EnvDir(r.EnvID, "xauthority")
	if have, err := readFile(file, authorityLimit); err == nil && string(have) == string(keys) {
		return file, nil
	}
	f, err := os.CreateTemp(s.EnvDir(r.EnvID), ".tmp-xauthority-*") // mode 0600; nothing is lost with it
	if err != nil {
		return "", err
	}
	_, err = f.Write(keys)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return file, err
}

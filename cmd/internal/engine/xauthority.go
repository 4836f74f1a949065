package engine

import (
	"github.com/karapace/karapace/integration"
	"github.com/karapace/karapace/storage"
)

const authorityLimit = 1 << 20 // bytes of an X authority file

// authority puts the keys of one display beside the environment and gives the file.
func (e *Engine) authority(s *storage.Store, r *storage.Record, source, display string) (string, error) {
	text, err := readFile(source, authorityLimit)
	if err != nil {
		return "", err
	}
	keys, err := integration.Authority(text, display)
	if err != nil {
		return "", err
	}
	return beside(s, r, "xauthority", keys, 0o600)
}

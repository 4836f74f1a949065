package pacmanrepo

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"strings"

	"github.com/karapace/karapace/manifest/distro/aptrepo"
	"github.com/karapace/karapace/manifest/distro/pgp"
)

const (
	keyringDir = "/usr/share/pacman/keyrings"
	maxKeyring = 64 << 20 // bytes
)

// ReadKeys reads the key rings that "pacman-key --populate" would: NAME.gpg with the keys, NAME-trusted with the master
// keys and how far they are trusted, NAME-revoked with those that are no longer good.
func ReadKeys(t aptrepo.Tree) (*pgp.Web, error) {
	names, err := t.ReadDir(keyringDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read key rings: %w", err)
	}
	w := &pgp.Web{Trust: make(map[string]int), Revoked: make(map[string]bool)}
	for _, n := range names {
		if name, ok := strings.CutSuffix(n, ".gpg"); ok {
			if err := addRing(t, w, name); err != nil {
				return nil, fmt.Errorf("read key ring %s/%s: %w", keyringDir, name, err)
			}
		}
	}
	if w.Ring.Empty() {
		return nil, fmt.Errorf("the base wants signed packages and has no key in %s: install its distribution's keyring package in the base image", keyringDir)
	}
	return w, nil
}

func addRing(t aptrepo.Tree, w *pgp.Web, name string) error {
	b, err := aptrepo.ReadFile(t, path.Join(keyringDir, name+".gpg"), maxKeyring)
	if err != nil {
		return err
	}
	ring, err := pgp.ReadKeyRing(b)
	if err != nil {
		return err
	}
	w.Ring = w.Ring.Join(ring)
	b, err = optional(t, name+"-trusted")
	if err != nil {
		return err
	}
	trust, err := pgp.ParseOwnerTrust(b)
	if err != nil {
		return err
	}
	maps.Copy(w.Trust, trust)
	if b, err = optional(t, name+"-revoked"); err != nil {
		return err
	}
	revoked, err := pgp.ParseFingerprints(b)
	for _, r := range revoked {
		w.Revoked[r] = true
	}
	return err
}

func optional(t aptrepo.Tree, name string) ([]byte, error) {
	b, err := aptrepo.ReadFile(t, path.Join(keyringDir, name), maxConf)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

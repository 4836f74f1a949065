package images

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro"
)

// NewestDeb is the time of the newest of the package files, which the vault must have, in seconds since the epoch. It is
// the time in the header of the archive's first member, which is when the package was built; no file in a package is
// younger. See deb(5).
func NewestDeb(f distro.Fetcher, pkgs []manifest.Package) (int64, error) {
	var newest int64
	for _, p := range pkgs {
		t, err := debTime(f.Path(p.SHA256))
		if err != nil {
			return 0, fmt.Errorf("read the time of package %s: %w", p.Name, err)
		}
		newest = max(newest, t)
	}
	return newest, nil
}

func debTime(file string) (int64, error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	const magic, timeAt, timeLen = "!<arch>\n", 16, 12
	head := make([]byte, len(magic)+timeAt+timeLen)
	if _, err := io.ReadFull(f, head); err != nil {
		return 0, err
	}
	if string(head[:len(magic)]) != magic {
		return 0, errors.New("it is no archive")
	}
	t, err := strconv.ParseInt(strings.TrimSpace(string(head[len(magic)+timeAt:])), 10, 64)
	if err != nil || t < 0 || t > 1<<40 {
		return 0, errors.New("its first member has no time")
	}
	return t, nil
}

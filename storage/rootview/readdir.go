package rootview

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ReadDir lists the names in a directory, sorted, as overlayfs shows them; more than limit are an error. A missing directory
// gives fs.ErrNotExist.
func (v View) ReadDir(name string, limit int) ([]string, error) {
	_, rel, st, err := v.resolve(name)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		err = unix.ENOTDIR
	}
	if err != nil {
		return nil, fmt.Errorf("list %s in the environment: %w", name, err)
	}
	layers := v.dirs
	for at, rest := "", strings.Split(rel, "/"); len(rest) > 0 && rel != "."; rest = rest[1:] {
		at = path.Join(at, rest[0])
		if _, layers, _, err = lookup(layers, at); err != nil {
			return nil, fmt.Errorf("list %s in the environment: %w", name, err)
		}
	}
	seen := map[string]bool{}
	for _, l := range layers {
		if err := names(l, rel, limit, seen); err != nil {
			return nil, fmt.Errorf("list %s in the environment: %w", name, err)
		}
	}
	var out []string
	for n := range seen {
		if _, _, _, err := lookup(layers, path.Join(rel, n)); err == nil {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}

func names(layer, rel string, limit int, seen map[string]bool) error {
	fd, err := openBeneath(layer, rel, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), rel)
	defer f.Close()
	list, err := f.Readdirnames(limit + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	for _, n := range list {
		seen[n] = true
	}
	if len(seen) > limit {
		return fmt.Errorf("it has more than %d entries", limit)
	}
	return nil
}

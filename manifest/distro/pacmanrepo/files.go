package pacmanrepo

import (
	"bufio"
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/karapace/karapace/manifest/distro/aptrepo"
)

const maxPath = 64 << 10 // bytes a line of a list of files

// LocalFiles calls use with each file and directory that pacman has installed, and the package it is of. Paths are
// absolute.
func LocalFiles(ctx context.Context, t aptrepo.Tree, use func(pkg, file string)) error {
	dirs, err := localEntries(t)
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := ctx.Err(); err != nil {
			return err
		}
		p, err := readInstalled(t, dir)
		if err == nil {
			err = readFiles(t, dir, func(file string) { use(p.Name, file) })
		}
		if err != nil {
			return fmt.Errorf("read pacman's database: %s: %w", dir, err)
		}
	}
	return nil
}

func readFiles(t aptrepo.Tree, dir string, use func(file string)) error {
	f, err := t.Open(path.Join(localDir, dir, "files"))
	if err != nil {
		return err
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, maxPath)
	inside := false
	for sc.Scan() {
		line := sc.Text()
		switch {
		case line == "%FILES%":
			inside = true
		case line == "":
			inside = false
		case inside:
			use("/" + strings.TrimSuffix(line, "/"))
		}
	}
	return sc.Err()
}

package pacmanrepo

import (
	"bufio"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/karapace/karapace/manifest/distro/aptrepo"
)

const maxPath = 64 << 10 // bytes a line of a list of files

// Owners gives the package that each absolute path belongs to, the first by name of several. One that no package has
// belongs to whom its nearest parent directory belongs to, if that is one package alone; else it is left out.
func Owners(t aptrepo.Tree, paths []string) (map[string]string, error) {
	owners := make(map[string][]string) // of the paths and their parents
	for _, p := range paths {
		for p := path.Clean(p); p != "/" && p != "."; p = path.Dir(p) {
			owners[p] = nil
		}
	}
	dirs, err := LocalEntries(t)
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		p, err := readInstalled(t, dir)
		if err == nil {
			err = addFiles(t, dir, p.Name, owners)
		}
		if err != nil {
			return nil, fmt.Errorf("read pacman's database: %s: %w", dir, err)
		}
	}
	out := make(map[string]string)
	for _, original := range paths {
		for p := path.Clean(original); p != "/" && p != "."; p = path.Dir(p) {
			if len(owners[p]) == 0 {
				continue
			}
			if len(owners[p]) == 1 || p == path.Clean(original) {
				out[original] = slices.Min(owners[p])
			}
			break
		}
	}
	return out, nil
}

// addFiles notes a package as the owner of those of its files that somebody asked for.
func addFiles(t aptrepo.Tree, dir, name string, owners map[string][]string) error {
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
			p := "/" + strings.TrimSuffix(line, "/")
			if have, ok := owners[p]; ok {
				owners[p] = append(have, name)
			}
		}
	}
	return sc.Err()
}

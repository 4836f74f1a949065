package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Place is where a container of a runtime document has its control groups (config-linux.md, Control Groups).
type Place struct {
	// Dirs are the groups that its processes enter, one for each hierarchy.
	Dirs []string `json:"dirs,omitempty"`
	// Made are the directories that were made for it, parents before children. They go when the container does.
	Made []string `json:"made,omitempty"`
}

// Request says what a container's groups are to be.
type Request struct {
	Path      string // an absolute one begins at the hierarchy's root, a relative one at the caller's own group; empty: none was asked for
	Name      string // of the group, when no path was asked for
	Resources *rspec.LinuxResources
	// Rootless says that the caller is not root of the machine. Where such a caller may make no groups, a container that
	// limits nothing has none, and rules about devices are left to the kernel, which lets nobody make one there.
	Rootless bool
}

// Place makes the groups and sets their limits. When that fails, nothing is left of them.
func (h Host) Place(q Request) (Place, error) {
	unified := h.unified()
	settings, err := placeSettings(q, unified)
	if err != nil {
		return Place{}, err
	}
	if q.Path == "" && len(settings) == 0 {
		return Place{}, nil
	}
	var p Place
	if unified {
		err = h.placeV2(&p, q, settings)
	} else {
		err = h.placeV1(&p, q, settings)
	}
	if err == nil {
		return p, nil
	}
	p.Remove()
	if q.Rootless && len(settings) == 0 && (errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) || errors.Is(err, ErrUnavailable)) {
		return Place{}, nil
	}
	return Place{}, err
}

func placeSettings(q Request, unified bool) ([]setting, error) {
	if q.Resources == nil {
		return nil, nil
	}
	r := *q.Resources
	if q.Rootless {
		r.Devices = nil
	}
	if unified {
		return resourcesV2(&r)
	}
	return resourcesV1(&r)
}

func (q *Request) under(own string) string {
	switch {
	case filepath.IsAbs(q.Path):
		return filepath.Clean(q.Path)
	case q.Path != "":
		return filepath.Join(own, filepath.Join("/", q.Path))
	}
	return filepath.Join(own, q.Name)
}

// hierarchy is one of version 1: its controllers, and the caller's own group.
type hierarchy struct {
	controllers []string
	dir, own    string
}

func (h Host) hierarchies() ([]hierarchy, error) {
	text, err := os.ReadFile(h.Self)
	if err != nil {
		return nil, fmt.Errorf("read own cgroup: %w", err)
	}
	var list []hierarchy
	for line := range strings.Lines(string(text)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 || f[1] == "" || !filepath.IsAbs(f[2]) {
			continue
		}
		dir := filepath.Join(h.Root, strings.TrimPrefix(f[1], "name="))
		if _, err := os.Stat(filepath.Join(dir, procs)); err == nil {
			list = append(list, hierarchy{strings.Split(f[1], ","), dir, filepath.Clean(f[2])})
		}
	}
	return list, nil
}

func (h Host) placeV1(p *Place, q Request, settings []setting) error {
	list, err := h.hierarchies()
	if err != nil {
		return err
	}
	for _, s := range settings {
		if !slices.ContainsFunc(list, func(y hierarchy) bool { return slices.Contains(y.controllers, s.controller) }) {
			return fmt.Errorf("%w: it has no cgroup controller %s", ErrUnavailable, s.controller)
		}
	}
	for _, y := range list {
		mine := slices.DeleteFunc(slices.Clone(settings), func(s setting) bool { return !slices.Contains(y.controllers, s.controller) })
		if q.Path == "" && len(mine) == 0 {
			continue
		}
		own := y.own
		if _, err := os.Stat(filepath.Join(y.dir, own)); err != nil {
			own = "/" // the caller sees less of the hierarchy than where it is
		}
		dir, err := p.mkdirs(y.dir, q.under(own), y.prepare)
		if err != nil {
			return err
		}
		for _, s := range mine {
			if err := write(filepath.Join(dir, s.file), s.value); err != nil {
				return err
			}
		}
	}
	return nil
}

// prepare gives a new group the processors and memory of its parent, without which nothing can enter it.
func (y *hierarchy) prepare(parent, dir string) error {
	if !slices.Contains(y.controllers, "cpuset") {
		return nil
	}
	for _, file := range [...]string{"cpuset.cpus", "cpuset.mems"} {
		text, err := os.ReadFile(filepath.Join(parent, file))
		if err != nil {
			return fmt.Errorf("prepare cgroup: %w", err)
		}
		if err := write(filepath.Join(dir, file), strings.TrimSpace(string(text))); err != nil {
			return err
		}
	}
	return nil
}

// mkdirs makes a group and those above it, and enters it into the place.
func (p *Place) mkdirs(root, path string, prepare func(parent, dir string) error) (string, error) {
	dir := root
	for _, part := range strings.Split(strings.Trim(filepath.Clean("/"+path), "/"), "/") {
		parent := dir
		dir = filepath.Join(dir, part)
		err := unix.Mkdir(dir, 0o755)
		if err == unix.EEXIST {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("make cgroup %s: %w", dir, err)
		}
		p.Made = append(p.Made, dir)
		if err := prepare(parent, dir); err != nil {
			return "", err
		}
	}
	p.Dirs = append(p.Dirs, dir)
	return dir, nil
}

func (h Host) placeV2(p *Place, q Request, settings []setting) error {
	own, err := h.own("")
	if err != nil {
		return err
	}
	base := own
	if !filepath.IsAbs(q.Path) && own != "/" { // a group with processes has no children with controllers
		base = filepath.Dir(own)
	}
	var wanted []string
	for _, s := range settings {
		if s.controller != "" && !slices.Contains(wanted, s.controller) {
			wanted = append(wanted, s.controller)
		}
	}
	enable := func(parent, _ string) error { return enableControllers(parent, wanted) }
	path := q.under(base)
	if err := enable(h.Root, ""); err != nil && len(wanted) > 0 {
		return err
	}
	dir, err := p.mkdirs(h.Root, path, enable)
	if err != nil {
		return err
	}
	for _, s := range settings {
		if err := write(filepath.Join(dir, s.file), s.value); err != nil {
			return err
		}
	}
	return nil
}

func enableControllers(dir string, names []string) error {
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
	if err != nil {
		return fmt.Errorf("read cgroup: %w", err)
	}
	have := strings.Fields(string(text))
	for _, name := range names {
		if slices.Contains(have, name) {
			continue
		}
		if err := write(filepath.Join(dir, "cgroup.subtree_control"), "+"+name); err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
	return nil
}

// Own are the groups that the container's processes enter and nobody else has made, after those that have been made below them.
func (p Place) Own() []string {
	var own []string
	for _, dir := range p.Dirs {
		if slices.Contains(p.Made, dir) {
			own = append(own, withBelow(dir)...)
		}
	}
	return own
}

// withBelow is a group after those below it.
func withBelow(dir string) []string {
	var all []string
	below, _ := os.ReadDir(dir)
	for _, entry := range below {
		if entry.IsDir() {
			all = append(all, withBelow(filepath.Join(dir, entry.Name()))...)
		}
	}
	return append(all, dir)
}

// Remove removes what was made, with what is below the container's own groups. What is left has processes, or groups that others have
// made below it.
func (p Place) Remove() (left []string) {
	for _, dir := range slices.Backward(p.Made) {
		removed := unix.Rmdir
		if slices.Contains(p.Dirs, dir) {
			removed = remove
		}
		if err := removed(dir); err != nil && err != unix.ENOENT {
			left = append(left, dir)
		}
	}
	return left
}

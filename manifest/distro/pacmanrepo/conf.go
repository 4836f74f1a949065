package pacmanrepo

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/karapace/karapace/manifest/distro/aptrepo"
)

// Bounds of a configuration.
const (
	maxConf     = 1 << 20 // bytes a file
	maxIncludes = 64      // files
)

// Conf is pacman's configuration: the options, and the repositories in the order in which they are searched.
type Conf struct {
	Options map[string][]string // values of each option, in order; an option without a value has an empty one
	Repos   []Repo
}

// Repo is one repository of a configuration.
type Repo struct {
	Name    string
	Servers []string // URLs with $repo and $arch still in them
	Usage   []string
	Level   SigLevel
}

// Check says which signatures are looked at.
type Check struct {
	On       bool // a signature that is there must be good
	Required bool // it must be there
	TrustAll bool // any key that is known may sign, not only one that is trusted
}

// SigLevel is what a repository wants to be signed (pacman.conf(5), "PACKAGE AND DATABASE SIGNATURE CHECKING").
type SigLevel struct{ Package, Database Check }

// ReadConf reads /etc/pacman.conf with all that it includes.
func ReadConf(t aptrepo.Tree) (*Conf, error) {
	r := confReader{tree: t, conf: &Conf{Options: make(map[string][]string)}, left: maxIncludes,
		level: SigLevel{Package: Check{On: true}, Database: Check{On: true}}}
	if err := r.file("/etc/pacman.conf"); err != nil {
		return nil, err
	}
	if err := r.levels(); err != nil {
		return nil, err
	}
	return r.conf, nil
}

type confReader struct {
	tree    aptrepo.Tree
	conf    *Conf
	section string
	left    int
	level   SigLevel            // of the options
	words   map[string][]string // SigLevel by section
}

func (r *confReader) file(name string) error {
	if r.left--; r.left < 0 {
		return fmt.Errorf("pacman's configuration includes more than %d files", maxIncludes)
	}
	b, err := aptrepo.ReadFile(r.tree, name, maxConf)
	if err != nil {
		return fmt.Errorf("read pacman's configuration: %w", err)
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if err := r.line(line); err != nil {
			return fmt.Errorf("%s:%d: %w", name, n, err)
		}
	}
	return nil
}

func (r *confReader) line(line string) error {
	if line[0] == '[' {
		name, ok := strings.CutSuffix(line[1:], "]")
		if !ok || !validRepo(name) {
			return fmt.Errorf("%q is not the name of a repository", line)
		}
		return r.begin(name)
	}
	key, value, _ := strings.Cut(line, "=")
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	switch {
	case key == "Include":
		return r.include(value)
	case r.section == "":
		return fmt.Errorf("%s stands before any section", key)
	case key == "SigLevel":
		r.words[r.section] = append(r.words[r.section], strings.Fields(value)...)
	case r.section == "options":
		r.conf.Options[key] = append(r.conf.Options[key], value)
	default:
		repo := &r.conf.Repos[slices.IndexFunc(r.conf.Repos, func(x Repo) bool { return x.Name == r.section })]
		switch key {
		case "Server":
			repo.Servers = append(repo.Servers, strings.TrimRight(value, "/"))
		case "Usage":
			repo.Usage = append(repo.Usage, strings.Fields(value)...)
		}
	}
	return nil
}

func validRepo(name string) bool {
	return name != "" && name != "local" && len(name) < 256 && name[0] != '.' && name[0] != '-' && !strings.ContainsFunc(name, notRepo)
}

func notRepo(c rune) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("._@+-", c)
}

func (r *confReader) begin(name string) error {
	r.section = name
	if r.words == nil {
		r.words = make(map[string][]string)
	}
	if name != "options" && !slices.ContainsFunc(r.conf.Repos, func(x Repo) bool { return x.Name == name }) {
		r.conf.Repos = append(r.conf.Repos, Repo{Name: name})
	}
	return nil
}

// include reads the files that a pattern matches; the section goes on in them.
func (r *confReader) include(pattern string) error {
	if !path.IsAbs(pattern) {
		return fmt.Errorf("the included %s is not an absolute path", pattern)
	}
	dir, last := path.Split(pattern)
	if !strings.ContainsAny(pattern, "*?[") {
		return r.file(path.Clean(pattern))
	}
	if strings.ContainsAny(dir, "*?[") {
		return fmt.Errorf("the included %s has a pattern in a directory's name, which is not understood here", pattern)
	}
	names, err := r.tree.ReadDir(path.Clean(dir))
	if err != nil {
		return fmt.Errorf("the included %s: %w", pattern, err)
	}
	for _, name := range names {
		if ok, err := path.Match(last, name); err != nil || !ok {
			continue
		}
		if err := r.file(path.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// levels gives every repository its own level, which changes that of the options.
func (r *confReader) levels() error {
	if err := r.level.change(r.words["options"]); err != nil {
		return err
	}
	for i, repo := range r.conf.Repos {
		level := r.level
		if err := level.change(r.words[repo.Name]); err != nil {
			return fmt.Errorf("[%s]: %w", repo.Name, err)
		}
		r.conf.Repos[i].Level = level
	}
	return nil
}

func (l *SigLevel) change(words []string) error {
	for _, word := range words {
		checks := []*Check{&l.Package, &l.Database}
		rest := word
		if r, ok := strings.CutPrefix(word, "Package"); ok {
			checks, rest = checks[:1], r
		} else if r, ok := strings.CutPrefix(word, "Database"); ok {
			checks, rest = checks[1:], r
		}
		for _, c := range checks {
			switch rest {
			case "Never":
				c.On, c.Required = false, false
			case "Optional":
				c.On, c.Required = true, false
			case "Required":
				c.On, c.Required = true, true
			case "TrustedOnly":
				c.TrustAll = false
			case "TrustAll":
				c.TrustAll = true
			default:
				return fmt.Errorf("SigLevel %q is not known", word)
			}
		}
	}
	return nil
}

// Words gives all words of an option, of which there may be several lines.
func (c *Conf) Words(option string) []string {
	var out []string
	for _, v := range c.Options[option] {
		out = append(out, strings.Fields(v)...)
	}
	return out
}

// URLs gives a repository's servers with their variables replaced.
func (r Repo) URLs(arch string) []string {
	var out []string
	for _, s := range r.Servers {
		out = append(out, strings.NewReplacer("$repo", r.Name, "$arch", arch).Replace(s))
	}
	return out
}

package distro

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"

	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro/rpmrepo"
)

// Dnf is the package manager of Fedora, the family of Red Hat Enterprise Linux, Amazon Linux and others: dnf 4 and dnf 5.
//
// Karapace fetches and verifies the repositories that the base's configuration names and hands them to dnf as local
// ones. What dnf decides stays dnf's. Its caches, logs and, of dnf 4, its history are not part of the base.
type Dnf struct{}

var (
	_ Manager = Dnf{}
	_ Owner   = Dnf{}
)

// Name is "dnf".
func (Dnf) Name() string { return "dnf" }

// Detect reports whether the base has dnf and a database of rpm, and is no system of zypper.
func (Dnf) Detect(sb Sandbox) bool {
	if !exists(sb, "/usr/bin/dnf") && !exists(sb, "/usr/bin/dnf5") || !hasRPM(sb) {
		return false
	}
	return !exists(sb, "/usr/bin/zypper") || hasRepoFiles(sb, "/etc/yum.repos.d")
}

func hasRepoFiles(sb Sandbox, dir string) bool {
	names, err := sb.ReadDir(dir)
	return err == nil && slices.ContainsFunc(names, func(n string) bool { return strings.HasSuffix(n, ".repo") })
}

// dnf is the dnf of a base with what its configuration says.
type dnf struct {
	sb    Sandbox
	five  bool
	main  rpmrepo.Section
	vars  map[string]string
	repos []rpmrepo.Repo // that are enabled
}

// newDnf reads the configuration of a base whose GOARCH name is arch.
func newDnf(ctx context.Context, sb Sandbox, arch string) (*dnf, error) {
	d := &dnf{sb: sb, five: isDnf5(sb), main: rpmrepo.Section{Keys: map[string]string{}}}
	if err := d.variables(ctx, arch); err != nil {
		return nil, err
	}
	configs := slices.Concat(confFiles(sb, "/usr/share/dnf5/libdnf.conf.d"), confFiles(sb, "/etc/dnf/libdnf5.conf.d"), []string{"/etc/dnf/dnf.conf"})
	var own []rpmrepo.Repo
	for _, name := range configs {
		sections, err := readSections(sb, name)
		if err != nil {
			return nil, err
		}
		for _, s := range sections {
			if s.Name == "main" {
				for k, v := range s.Keys {
					d.main.Keys[k] = d.expand(v)
				}
			}
		}
		list, err := rpmrepo.Repos(name, sections, d.expand)
		if err != nil {
			return nil, err
		}
		own = append(own, list...)
	}
	list, err := d.files()
	if err != nil {
		return nil, err
	}
	for _, r := range append(own, list...) {
		if r.Enabled {
			d.repos = append(d.repos, r)
		}
	}
	return d, nil
}

// isDnf5 tells by the program: that of dnf 4 is a script.
func isDnf5(sb Sandbox) bool {
	f, err := sb.Open("/usr/bin/dnf")
	if err != nil {
		return true
	}
	defer f.Close()
	var head [2]byte
	_, err = io.ReadFull(f, head[:])
	return err == nil && string(head[:]) != "#!"
}

// program is how dnf is called.
func (d *dnf) program() string {
	if d.five && exists(d.sb, "/usr/bin/dnf5") {
		return "dnf5"
	}
	return "dnf"
}

func confFiles(sb Sandbox, dir string) []string {
	names, err := sb.ReadDir(dir)
	if err != nil {
		return nil
	}
	var out []string
	for _, n := range names {
		if strings.HasSuffix(n, ".conf") {
			out = append(out, path.Join(dir, n))
		}
	}
	return out
}

func (d *dnf) files() ([]rpmrepo.Repo, error) {
	var overrides []rpmrepo.Section
	for _, dir := range []string{"/usr/share/dnf5/repos.override.d", "/etc/dnf/repos.override.d"} {
		names, err := d.sb.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read %s: %w", dir, err)
		}
		for _, n := range names {
			sections, err := readSections(d.sb, path.Join(dir, n))
			if err != nil {
				return nil, err
			}
			overrides = append(overrides, sections...)
		}
	}
	dirs := []string{"/usr/share/dnf5/repos.d", "/etc/distro.repos.d", "/etc/yum/repos.d", "/etc/yum.repos.d"}
	if own := d.main.Keys["reposdir"]; own != "" {
		dirs = strings.FieldsFunc(own, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' })
	}
	return readRepos(d.sb, dirs, overrides, d.expand)
}

func (d *dnf) expand(s string) string { return rpmrepo.Expand(s, d.vars) }

// variables are those of dnf.conf(5), and those that files of the base define.
func (d *dnf) variables(ctx context.Context, arch string) error {
	release, err := releaseVersion(ctx, d.sb)
	if err != nil {
		return err
	}
	d.vars = map[string]string{"releasever": release}
	d.vars["arch"], d.vars["basearch"] = RPMArch(arch)
	for _, dir := range []string{"/usr/share/dnf5/vars.d", "/etc/yum/vars", "/etc/dnf/vars"} {
		if err := readVars(d.sb, dir, d.vars); err != nil {
			return err
		}
	}
	d.vars["releasever_major"], d.vars["releasever_minor"], _ = strings.Cut(d.vars["releasever"], ".")
	return nil
}

// releaseVersion asks rpm as dnf does: for the version of what provides the release of the system, or of the provision
// itself where it says so.
func releaseVersion(ctx context.Context, sb Sandbox) (string, error) {
	const script = `for p in 'system-release(releasever)' system-release 'distribution-release(releasever)' distribution-release redhat-release suse-release; do
	rpm -q --whatprovides "$p" --qf "of $p %{VERSION}\n[is %{PROVIDENAME} %{PROVIDEVERSION}\n]" 2>/dev/null && break || :
done`
	out := limited{most: maxRPMList}
	if err := sb.Run(ctx, Command{Argv: []string{"sh", "-c", script}, Stdout: &out}); err != nil {
		return "", fmt.Errorf("ask rpm for the release: %w", err)
	}
	return parseRelease(out.String()), nil
}

func parseRelease(text string) string {
	version, wanted := "", ""
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		switch {
		case len(f) == 3 && f[0] == "of" && version == "":
			wanted, version = f[1], f[2]
		case len(f) == 3 && f[0] == "is" && f[1] == wanted && strings.HasSuffix(wanted, "(releasever)"):
			return f[2]
		}
	}
	return version
}

// Install installs pkgs with the dnf of the base, from a repository of exactly these files.
func (Dnf) Install(ctx context.Context, sb Sandbox, f Fetcher, pkgs []manifest.Package) error {
	if len(pkgs) == 0 {
		return nil
	}
	d, err := newDnf(ctx, sb, runtime.GOARCH)
	if err != nil {
		return err
	}
	keys, err := rpmKeys(ctx, sb, d.repos)
	if err != nil {
		return err
	}
	dir, err := newRPMDir(sb, "dnf-install")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir.host)
	trust := rpmTrust{keys: keys, repos: d.repos, check: func(r rpmrepo.Repo) bool {
		return r.PkgCheck.Or(r.GPGCheck.Or(d.mainSwitch("pkg_gpgcheck", d.mainSwitch("gpgcheck", d.five))))
	}}
	return installRPMs(ctx, sb, f, pkgs, trust, dir, func() error {
		repo := "[lock]\nname=lock\nbaseurl=file://" + dir.inside + "/lock\nenabled=1\ngpgcheck=0\nrepo_gpgcheck=0\nmodule_hotfixes=1\nmetadata_expire=-1\n"
		if err := dir.write("repos/lock.repo", repo); err != nil {
			return err
		}
		args := append(d.options(dir), "-y", "--setopt=best=True")
		if d.five {
			args = append(args, "--no-plugins", "install", "--allow-downgrade")
		} else {
			args = append(args, "--noplugins", "install")
		}
		specs := requestedRPMs(pkgs, func(p manifest.Package) string { return dnfSpec(p) })
		return sb.Run(ctx, Command{Argv: slices.Concat([]string{d.program()}, args, specs)})
	})
}

// dnfSpec is name-[epoch:]version-release.arch.
func dnfSpec(p manifest.Package) string { return p.Name + "-" + p.Version + "." + p.Arch }

// mainSwitch gives a boolean of dnf.conf.
func (d *dnf) mainSwitch(key string, otherwise bool) bool {
	return rpmrepo.ParseSwitch(d.main.Keys[key]).Or(otherwise)
}

// options keep everything that dnf reads and writes beside packages in dir. They stand on the command line, where
// nothing of the base's own configuration overrides them.
func (d *dnf) options(dir rpmDir) []string {
	out := []string{"--color=never"}
	set := []string{"reposdir=" + dir.inside + "/repos", "cachedir=" + dir.inside + "/cache", "logdir=" + dir.inside + "/log",
		"install_weak_deps=False", "keepcache=False", "assumeno=False"}
	if d.five {
		set = append(set, "system_cachedir="+dir.inside+"/cache")
	} else {
		set = append(set, "persistdir="+dir.inside+"/state")
	}
	for _, s := range set {
		out = append(out, "--setopt="+s)
	}
	return out
}

// Owners implements Owner.
func (Dnf) Owners(ctx context.Context, sb Sandbox, paths []string) (map[string]string, error) {
	return rpmOwners(ctx, sb, paths)
}

package distro

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"

	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro/aptrepo"
	"github.com/karapace/karapace/manifest/distro/rpmrepo"
)

// Zypper is the package manager of openSUSE and SUSE Linux Enterprise.
//
// Karapace fetches and verifies the repositories that the base's configuration names and hands them to zypper as local
// ones. What zypper decides stays zypper's. Its caches, logs and history are not part of the base.
type Zypper struct{}

var (
	_ Manager = Zypper{}
	_ Owner   = Zypper{}
)

// Name is "zypper".
func (Zypper) Name() string { return "zypper" }

// Detect reports whether the base has zypper and a database of rpm.
func (Zypper) Detect(sb Sandbox) bool { return exists(sb, "/usr/bin/zypper") && hasRPM(sb) }

// zypper is the zypper of a base with what its configuration says.
type zypper struct {
	sb    Sandbox
	conf  map[string]string // of zypp.conf
	vars  map[string]string
	repos []rpmrepo.Repo // that are enabled, the preferred ones first
}

// newZypper reads the configuration of a base whose GOARCH name is arch.
func newZypper(sb Sandbox, arch string) (*zypper, error) {
	z := &zypper{sb: sb, conf: make(map[string]string), vars: make(map[string]string)}
	configs := slices.Concat([]string{"/usr/etc/zypp/zypp.conf"}, confFiles(sb, "/usr/etc/zypp/zypp.conf.d"), []string{"/etc/zypp/zypp.conf"}, confFiles(sb, "/etc/zypp/zypp.conf.d"))
	for _, name := range configs {
		sections, err := readSections(sb, name)
		if err != nil {
			return nil, err
		}
		for _, s := range sections {
			if s.Name == "main" {
				for k, v := range s.Keys {
					z.conf[k] = v
				}
			}
		}
	}
	z.vars["arch"], z.vars["basearch"] = RPMArch(arch)
	version, err := productVersion(sb)
	if err != nil {
		return nil, err
	}
	z.vars["releasever"] = version
	z.vars["releasever_major"], z.vars["releasever_minor"], _ = strings.Cut(version, ".")
	if err := readVars(sb, "/etc/zypp/vars.d", z.vars); err != nil {
		return nil, err
	}
	list, err := readRepos(sb, []string{"/etc/zypp/repos.d"}, nil, z.expand)
	if err != nil {
		return nil, err
	}
	services, err := z.services()
	if err != nil {
		return nil, err
	}
	for _, r := range append(list, services...) {
		known := slices.ContainsFunc(z.repos, func(k rpmrepo.Repo) bool { return k.ID == r.ID })
		if r.Enabled && !known {
			z.repos = append(z.repos, r)
		}
	}
	slices.SortStableFunc(z.repos, func(a, b rpmrepo.Repo) int { return zyppPriority(a) - zyppPriority(b) })
	return z, nil
}

// zyppPriority is 99 where nothing is said; lower comes first.
func zyppPriority(r rpmrepo.Repo) int {
	if r.Priority == 0 {
		return 99
	}
	return r.Priority
}

func (z *zypper) expand(s string) string { return rpmrepo.Expand(s, z.vars) }

// productVersion is the version of the base product, by its own file, else by os-release.
func productVersion(sb Sandbox) (string, error) {
	b, err := aptrepo.ReadFile(sb, "/etc/products.d/baseproduct", 1<<20)
	if err == nil {
		var product struct {
			Version string `xml:"version"`
		}
		if xml.Unmarshal(b, &product) == nil && product.Version != "" {
			return product.Version, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the base's product: %w", err)
	}
	release, err := osRelease(sb)
	return release.version, err
}

// services reads the repositories of services that have their index in the base itself; those of the network have left
// theirs in repos.d when they were last refreshed.
func (z *zypper) services() ([]rpmrepo.Repo, error) {
	var out []rpmrepo.Repo
	for _, dir := range []string{"/usr/share/zypp/services.d", "/etc/zypp/services.d"} {
		names, err := z.sb.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read %s: %w", dir, err)
		}
		for _, n := range names {
			if !strings.HasSuffix(n, ".service") {
				continue
			}
			sections, err := readSections(z.sb, path.Join(dir, n))
			if err != nil {
				return nil, err
			}
			for _, s := range sections {
				list, err := z.service(s)
				if err != nil {
					return nil, fmt.Errorf("%s/%s of the base: %w", dir, n, err)
				}
				out = append(out, list...)
			}
		}
	}
	return out, nil
}

func (z *zypper) service(s rpmrepo.Section) ([]rpmrepo.Repo, error) {
	scheme, place, _ := strings.Cut(z.expand(s.Keys["url"]), ":")
	if !rpmrepo.ParseSwitch(s.Keys["enabled"]).Or(true) || scheme != "file" && scheme != "dir" {
		return nil, nil
	}
	place = path.Clean("/" + strings.TrimLeft(place, "/"))
	for _, name := range []string{place + "/repo/repoindex.xml", place + "/repoindex.xml"} {
		b, err := aptrepo.ReadFile(z.sb, name, rpmrepo.MaxRepoFile)
		if err == nil {
			return rpmrepo.ParseRepoindex(b, s.Name, z.expand)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return nil, nil
}

// signedMetadata is zypper's rule: gpgcheck, which is on unless something turns it off, is about metadata first.
func (z *zypper) signedMetadata(r rpmrepo.Repo) bool {
	return r.RepoGPGCheck.Or(r.GPGCheck.Or(rpmrepo.ParseSwitch(z.conf["repo_gpgcheck"]).Or(z.gpgcheck())))
}

// signedPackages is stricter than zypper, which is content with signed metadata when it installs: a lock may have been
// made anywhere.
func (z *zypper) signedPackages(r rpmrepo.Repo) bool {
	return r.PkgCheck.Or(r.GPGCheck.Or(rpmrepo.ParseSwitch(z.conf["pkg_gpgcheck"]).Or(z.gpgcheck())))
}

func (z *zypper) gpgcheck() bool { return rpmrepo.ParseSwitch(z.conf["gpgcheck"]).Or(true) }

// Install installs pkgs with the zypper of the base, from a repository of exactly these files.
func (Zypper) Install(ctx context.Context, sb Sandbox, f Fetcher, pkgs []manifest.Package) error {
	if len(pkgs) == 0 {
		return nil
	}
	z, err := newZypper(sb, runtime.GOARCH)
	if err != nil {
		return err
	}
	keys, err := rpmKeys(ctx, sb, z.repos)
	if err != nil {
		return err
	}
	dir, err := newRPMDir(sb, "zypper-install")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir.host)
	trust := rpmTrust{keys: keys, repos: z.repos, check: z.signedPackages}
	return installRPMs(ctx, sb, f, pkgs, trust, dir, func() error {
		if err := z.prepare(dir, zyppRepo("lock", dir.inside+"/lock", 99)); err != nil {
			return err
		}
		if err := z.run(ctx, dir, nil, "refresh"); err != nil {
			return err
		}
		args := []string{"--no-refresh", "install", "-y", "--no-recommends", "--auto-agree-with-licenses", "--oldpackage", "--"}
		specs := requestedRPMs(pkgs, func(p manifest.Package) string { return p.Name + "." + p.Arch + "=" + p.Version })
		return z.run(ctx, dir, nil, append(args, specs...)...)
	})
}

// zyppRepo is the .repo file of a repository on disk that was verified already.
func zyppRepo(id, dir string, priority int) string {
	return fmt.Sprintf("[%s]\nname=%[1]s\nenabled=1\nautorefresh=0\nbaseurl=dir://%s\ntype=rpm-md\ngpgcheck=0\nrepo_gpgcheck=0\npkg_gpgcheck=0\nkeeppackages=0\npriority=%d\n", id, dir, priority)
}

// prepare writes the configuration: the base's, but for where caches and history are.
func (z *zypper) prepare(dir rpmDir, repos string) error {
	var text strings.Builder
	text.WriteString("[main]\n")
	for _, k := range slices.Sorted(maps.Keys(z.conf)) {
		switch {
		case k == "history.logfile" || k == "configdir" || strings.HasSuffix(k, "cachedir") || strings.HasSuffix(k, "reposdir") || strings.HasSuffix(k, "servicesdir"):
		default:
			fmt.Fprintf(&text, "%s = %s\n", k, strings.ReplaceAll(z.conf[k], "\n", " "))
		}
	}
	fmt.Fprintf(&text, "history.logfile = %s/log/history\n", dir.inside)
	return errors.Join(dir.write("zypp.conf", text.String()), dir.write("repos/karapace.repo", repos))
}

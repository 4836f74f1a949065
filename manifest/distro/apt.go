package distro

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/karapace/karapace/manifest/distro/aptrepo"
	"github.com/karapace/karapace/manifest/distro/pgp"
)

// Apt is the package manager of Debian, Ubuntu and their kin.
//
// Its own methods for transport and trust are not used: Karapace fetches and verifies the indexes with the base's own
// key rings and hands them to apt as local repositories, so that resolving needs no network inside, no download program
// and no key program in the base. What apt decides stays apt's: the base's pinning is honoured, by everything but the
// host a repository comes from.
type Apt struct{}

var _ Manager = Apt{}

// Name is "apt".
func (Apt) Name() string { return "apt" }

// Detect reports whether the base has apt and a database of dpkg.
func (Apt) Detect(sb Sandbox) bool {
	for _, name := range []string{"/usr/bin/apt-get", "/var/lib/dpkg/status"} {
		f, err := sb.Open(name)
		if err != nil {
			return false
		}
		f.Close()
	}
	return true
}

// aptDir is one use of apt: its directory in Sandbox.Shared, and its options.
type aptDir struct {
	host    string // the directory
	inside  string // the same, in the base
	options []string
}

// newAptDir names a directory of Sandbox.Shared; lists, caches and logs of apt go there and not to the base. The
// options stand on the command line, where nothing of the base's own configuration overrides them.
func newAptDir(host, name string, options ...string) aptDir {
	d := aptDir{host: path.Join(host, name), inside: path.Join(SharedDir, name)}
	for _, o := range append([]string{
		"Dir::Etc::sourcelist=" + d.inside + "/sources.list",
		"Dir::Etc::sourceparts=/dev/null",
		"Dir::State::lists=" + d.inside + "/lists",
		"Dir::Cache=" + d.inside + "/cache",
		"Dir::Cache::pkgcache=pkgcache.bin",
		"Dir::Cache::srcpkgcache=srcpkgcache.bin",
		"Dir::Log=" + d.inside + "/log",
		"Dir::Log::Planner=/dev/null",
		"Dir::Log::Solver=/dev/null",
		"APT::Install-Recommends=false",
		"APT::Install-Suggests=false",
		"APT::Sandbox::User=root",
		"Acquire::Languages=none",
		"Acquire::GzipIndexes=false",
		"Acquire::Check-Valid-Until=false", // both were checked when the indexes were fetched
		"Acquire::Check-Date=false",
		"Dpkg::Use-Pty=0",
		"APT::Get::Always-Include-Phased-Updates=true", // else the machine's id decides
	}, options...) {
		d.options = append(d.options, "-o", o)
	}
	return d
}

// prepare makes the directories that apt wants to find, and its configuration for update.
func (d aptDir) prepare() error {
	for _, sub := range []string{"lists/partial", "cache/archives/partial", "log"} {
		if err := os.MkdirAll(path.Join(d.host, sub), 0o755); err != nil {
			return fmt.Errorf("prepare for apt: %w", err)
		}
	}
	const conf = "Dir::Etc::main \"/dev/null\";\nDir::Etc::parts \"/dev/null\";\n"
	if err := os.WriteFile(path.Join(d.host, "update.conf"), []byte(conf), 0o644); err != nil {
		return fmt.Errorf("prepare for apt: %w", err)
	}
	return nil
}

// update reads the local repositories, without the base's configuration, whose hooks may write anywhere.
func (d aptDir) update(ctx context.Context, sb Sandbox) error {
	err := sb.Run(ctx, Command{
		Argv: slices.Concat([]string{"apt-get"}, d.options, []string{"update", "-qq"}),
		Env:  []string{"APT_CONFIG=" + d.inside + "/update.conf"},
	})
	if err != nil {
		return fmt.Errorf("read package indexes with apt: %w", err)
	}
	return nil
}

// get runs apt-get with the directory's options.
func (d aptDir) get(ctx context.Context, sb Sandbox, out io.Writer, args ...string) error {
	return sb.Run(ctx, Command{Argv: slices.Concat([]string{"apt-get"}, d.options, args), Stdout: out})
}

// aptSources reads the base's sources, with its archive's own replaced by mirror when there is one.
func aptSources(sb aptrepo.Tree, native, mirror string) ([]aptrepo.Source, error) {
	list, err := aptrepo.ReadSources(sb)
	if err != nil {
		return nil, fmt.Errorf("read the base's apt sources: %w", err)
	}
	if mirror != "" {
		if list, err = mirrored(sb, list, mirror); err != nil {
			return nil, err
		}
	}
	var out []aptrepo.Source
	for _, s := range list {
		s = s.For(native)
		scheme, _, _ := strings.Cut(s.URI, ":")
		switch {
		case scheme == "http" || scheme == "https" || (scheme == "file" && mirror != "" && strings.HasPrefix(s.URI, mirror)):
			out = append(out, s)
		case scheme == "cdrom":
		default:
			return nil, fmt.Errorf("%s:%d of the base: %q cannot be locked, as others could not fetch from it; only http and https can", s.File, s.Line, s.URI)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("the base has no apt sources: name a mirror in the manifest ([base] mirror)")
	}
	return out, nil
}

// mirrored puts mirror in the place of the distribution's own archive; other repositories stay.
func mirrored(sb aptrepo.Tree, list []aptrepo.Source, mirror string) ([]aptrepo.Source, error) {
	release, err := osRelease(sb)
	if err != nil {
		return nil, err
	}
	found := false
	out := slices.Clone(list)
	for i, s := range out {
		if OwnArchive(s, release.codename) {
			found = true
			out[i].URI = MirrorFor(mirror, s.Suite)
		}
	}
	if found {
		return out, nil
	}
	if release.codename == "" {
		return nil, errors.New("the base does not say which release it is (VERSION_CODENAME in /etc/os-release), so its mirror cannot be replaced")
	}
	return append(out, aptrepo.Source{URI: mirror, Suite: release.codename, Components: []string{"main"}, File: "[base] mirror"}), nil
}

// MirrorFor gives the place of a suite on a mirror. Debian keeps its security suites in an archive of their own, beside
// the main one on mirrors as in snapshot archives: .../debian and .../debian-security.
func MirrorFor(mirror, suite string) string {
	if !strings.HasSuffix(suite, "-security") {
		return mirror
	}
	part := strings.Split(mirror, "/")
	for i := len(part) - 1; i > 0; i-- {
		if part[i] == "debian" {
			part[i] = "debian-security"
			return strings.Join(part, "/")
		}
	}
	return mirror
}

// AdditionalSuite reports whether a suite only adds to a release, so that an archive without it may still be complete.
func AdditionalSuite(suite string) bool {
	for _, end := range []string{"-updates", "-security", "-backports", "-proposed-updates", "-proposed", "/updates"} {
		if strings.HasSuffix(suite, end) {
			return true
		}
	}
	return false
}

// OwnArchive reports whether a source is the distribution's own archive, by its suite and component.
func OwnArchive(s aptrepo.Source, codename string) bool {
	u, err := url.Parse(s.URI)
	if err != nil || !slices.Contains(s.Components, "main") || strings.HasPrefix(u.Hostname(), "ppa.launchpad") {
		return false
	}
	base := s.Suite
	for _, more := range []string{"-updates", "-security", "-backports", "-proposed-updates", "-proposed", "/updates"} {
		base = strings.TrimSuffix(base, more)
	}
	return base == codename || slices.Contains([]string{"sid", "unstable", "testing", "stable", "oldstable", "oldoldstable"}, base)
}

type osReleaseFields struct{ id, codename, version string }

// osRelease reads os-release(5) as far as it is needed here.
func osRelease(t aptrepo.Tree) (osReleaseFields, error) {
	b, err := aptrepo.ReadFile(t, "/etc/os-release", 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		b, err = aptrepo.ReadFile(t, "/usr/lib/os-release", 1<<20)
	}
	if err != nil {
		return osReleaseFields{}, fmt.Errorf("read the base's os-release: %w", err)
	}
	var out osReleaseFields
	for line := range strings.SplitSeq(string(b), "\n") {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.Trim(value, `"'`)
		switch name {
		case "ID":
			out.id = value
		case "VERSION_CODENAME":
			out.codename = value
		case "VERSION_ID":
			out.version = value
		}
	}
	return out, nil
}

// AptKeys gives who may sign for a source, as apt on the system of tree decides it: the keys or files the source names,
// else every key the system trusts.
func AptKeys(tree aptrepo.Tree) func(aptrepo.Source) (pgp.KeyRing, error) {
	return func(s aptrepo.Source) (pgp.KeyRing, error) {
		if len(s.Key) > 0 {
			return pgp.ReadKeyRing(s.Key)
		}
		var ring pgp.KeyRing
		var prints []string
		for _, name := range s.SignedBy {
			if !path.IsAbs(name) {
				prints = append(prints, name)
				continue
			}
			keys, err := readKeys(tree, name)
			if err != nil {
				return pgp.KeyRing{}, fmt.Errorf("key ring %s (%s:%d): %w", name, s.File, s.Line, err)
			}
			ring = ring.Join(keys)
		}
		if len(s.SignedBy) > len(prints) {
			return ring, nil
		}
		ring, err := trustedKeys(tree)
		if len(prints) > 0 {
			ring = ring.Only(prints)
		}
		return ring, err
	}
}

const maxKeyRing = 16 << 20 // bytes

func readKeys(tree aptrepo.Tree, name string) (pgp.KeyRing, error) {
	b, err := aptrepo.ReadFile(tree, name, maxKeyRing)
	if err != nil {
		return pgp.KeyRing{}, err
	}
	return pgp.ReadKeyRing(b)
}

// trustedKeys reads every key that apt trusts for any repository. Files that are no key rings are passed over, as apt does.
func trustedKeys(tree aptrepo.Tree) (pgp.KeyRing, error) {
	const parts = "/etc/apt/trusted.gpg.d"
	names, err := tree.ReadDir(parts)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return pgp.KeyRing{}, fmt.Errorf("read %s: %w", parts, err)
	}
	files := []string{"/etc/apt/trusted.gpg"}
	for _, n := range names {
		if ext := path.Ext(n); ext == ".gpg" || ext == ".asc" {
			files = append(files, parts+"/"+n)
		}
	}
	var ring pgp.KeyRing
	for _, name := range files {
		if keys, err := readKeys(tree, name); err == nil {
			ring = ring.Join(keys)
		}
	}
	if !ring.Empty() {
		return ring, nil
	}
	for _, name := range []string{"/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp",
		"/usr/share/keyrings/ubuntu-archive-keyring.gpg", "/usr/share/keyrings/ubuntu-archive-keyring.pgp"} {
		if keys, err := readKeys(tree, name); err == nil {
			ring = ring.Join(keys)
		}
	}
	if ring.Empty() {
		return ring, errors.New("the base trusts no key: its apt has no key ring")
	}
	return ring, nil
}

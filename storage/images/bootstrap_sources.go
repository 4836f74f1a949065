package images

import (
	"embed"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/karapace/karapace/manifest/distro"
	"github.com/karapace/karapace/manifest/distro/aptrepo"
	"github.com/karapace/karapace/manifest/distro/pgp"
)

//go:embed keyrings/*.pgp
var keyrings embed.FS

// Bootstrap asks for a base that is assembled from a distribution's own archive.
type Bootstrap struct {
	Distro  string       // "debian" or "ubuntu"
	Release string       // code name
	Arch    string       // a GOARCH name
	Mirrors []string     // the first that is not empty is used: the manifest's, then the configured one
	Keyring string       // file with the keys that may sign; empty: those of the host's entry, else those that come with Karapace
	Host    aptrepo.Tree // the host's files, for its apt sources; nil: they are not looked at
	Now     time.Time    // zero: now
}

// distroArchive is what is known of a distribution's archive.
type distroArchive struct {
	snapshot   string // a state of it: this, a time, and "/"
	suffix     string
	components []string
}

func (b *Bootstrap) archive() (distroArchive, error) {
	switch b.Distro {
	case "debian":
		return distroArchive{"https://snapshot.debian.org/archive/debian/", "/", []string{"main"}}, nil
	case "ubuntu":
		return distroArchive{"https://snapshot.ubuntu.com/ubuntu/", "/", []string{"main", "universe"}}, nil
	}
	return distroArchive{}, fmt.Errorf("%q cannot be bootstrapped: debian and ubuntu can", b.Distro)
}

// Snapshot is the place of a distribution's archive as it was at a time, "" where there is no such service. Only Debian
// and Ubuntu, whose archives keep one version of a package, have one that mirrors the archive's own paths.
func Snapshot(name, suite string, at time.Time) string {
	a, err := (&Bootstrap{Distro: name}).archive()
	if err != nil {
		return ""
	}
	place := a.snapshot + at.UTC().Format(snapshotTime) + a.suffix
	if name == "debian" {
		place = distro.MirrorFor(place, suite)
	}
	return place
}

const snapshotTime = "20060102T150405Z"

// sources gives the suites to assemble the base from: of the mirror that is asked for, else as the host's own apt has
// them where it is of the same release, else of the distribution's dated archive as it was at the last midnight (UTC),
// a time whose state does not change any more.
func (b *Bootstrap) sources() ([]aptrepo.Source, error) {
	a, err := b.archive()
	if err != nil {
		return nil, err
	}
	for _, m := range b.Mirrors {
		if m != "" {
			return b.suites(m, a.components), nil
		}
	}
	if b.Host != nil {
		list, err := b.hostSources()
		if err != nil || len(list) > 0 {
			return list, err
		}
	}
	day := b.Now.UTC().Truncate(24 * time.Hour).Format(snapshotTime)
	return b.suites(a.snapshot+day+a.suffix, a.components), nil
}

// suites lists the release and what is added to it. Debian's development releases have no additions.
func (b *Bootstrap) suites(mirror string, components []string) []aptrepo.Source {
	names := []string{b.Release, b.Release + "-updates", b.Release + "-security"}
	if slices.Contains([]string{"sid", "unstable", "experimental"}, b.Release) {
		names = names[:1]
	}
	var out []aptrepo.Source
	for _, n := range names {
		uri := mirror
		if b.Distro == "debian" {
			uri = distro.MirrorFor(mirror, n)
		}
		out = append(out, aptrepo.Source{URI: strings.TrimSuffix(uri, "/"), Suite: n, Components: components, File: "mirror"})
	}
	return out
}

// hostSources are the host's own entries for the release; none when it is of another, or has only a part of it.
func (b *Bootstrap) hostSources() ([]aptrepo.Source, error) {
	list, err := aptrepo.ReadSources(b.Host)
	if err != nil {
		return nil, fmt.Errorf("read this machine's apt sources: %w", err)
	}
	var out []aptrepo.Source
	ignored := aptrepo.IgnoresValidUntil(b.Host)
	complete := false
	for _, s := range list {
		s = s.For(distro.DebianArch(b.Arch))
		if !strings.HasPrefix(s.URI, "http") || !distro.OwnArchive(s, b.Release) || b.otherDistro(s) {
			continue
		}
		switch strings.TrimPrefix(s.Suite, b.Release) {
		case "":
			complete = true
		case "-updates", "-security", "/updates":
		default:
			continue // backports and the like are not what a release is made of
		}
		s.Trusted, s.Architectures = false, nil // a base is only made of what is signed
		s.NeverExpires = s.NeverExpires || ignored
		s.URI = strings.TrimSuffix(s.URI, "/")
		out = append(out, s)
	}
	if !complete {
		return nil, nil
	}
	return out, nil
}

// otherDistro catches a code name that two distributions share, by the archive's path.
func (b *Bootstrap) otherDistro(s aptrepo.Source) bool {
	other := map[string]string{"debian": "/ubuntu", "ubuntu": "/debian"}[b.Distro]
	return strings.Contains(s.URI, other)
}

// keys says who may sign for a source.
func (b *Bootstrap) keys(s aptrepo.Source) (pgp.KeyRing, error) {
	if b.Keyring != "" {
		data, err := os.ReadFile(b.Keyring)
		if err != nil {
			return pgp.KeyRing{}, fmt.Errorf("read the configured key ring: %w", err)
		}
		ring, err := pgp.ReadKeyRing(data)
		if err != nil {
			err = fmt.Errorf("%s: %w", b.Keyring, err)
		}
		return ring, err
	}
	if b.Host != nil && (len(s.SignedBy) > 0 || len(s.Key) > 0) {
		return distro.AptKeys(b.Host)(s)
	}
	data, err := keyrings.ReadFile("keyrings/" + b.Distro + ".pgp")
	if err != nil {
		return pgp.KeyRing{}, errors.New("no key ring of " + b.Distro + " comes with Karapace: name one in the configuration")
	}
	return pgp.ReadKeyRing(data)
}

package builder

import (
	"strings"
	"time"

	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro"
	"github.com/karapace/karapace/storage/images"
)

// packageFiles are the files of packages, with all places where they may be had: where they were when the lock was made,
// then the mirrors that this user and this manifest name, then the distribution's archive as it was then.
func (b *build) packageFiles(pkgs []manifest.Package) []distro.File {
	files := distro.PackageFiles(pkgs)
	for i := range files {
		for _, r := range b.lock.Repositories {
			rel, ok := strings.CutPrefix(files[i].URL, strings.TrimSuffix(r.Location, "/")+"/")
			if !ok {
				continue
			}
			for _, place := range b.mirrorsOf(r) {
				if url := strings.TrimSuffix(place, "/") + "/" + rel; url != files[i].URL {
					files[i].Mirrors = append(files[i].Mirrors, url)
				}
			}
			break
		}
	}
	return files
}

// mirrorsOf are other places of a repository with the same paths.
func (b *build) mirrorsOf(r manifest.Repository) []string {
	if b.ref.Distro != "debian" && b.ref.Distro != "ubuntu" { // elsewhere a mirror's root is not a repository's
		return nil
	}
	var all []string
	named := []string{b.config.Mirrors[b.ref.Distro]}
	if b.manifest != nil {
		named = append(named, b.manifest.Base.Mirror)
	}
	for _, m := range named {
		if m != "" {
			all = append(all, distro.MirrorFor(m, r.Suite))
		}
	}
	if place := images.Snapshot(b.ref.Distro, r.Suite, time.Unix(r.Date, 0)); place != "" {
		all = append(all, place)
	}
	return all
}

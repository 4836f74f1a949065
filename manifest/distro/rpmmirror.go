package distro

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/karapace/karapace/manifest/distro/rpmrepo"
)

// mirroredRPM puts mirror in the place of the distribution's own repositories; others stay. A mirror that is a
// repository itself replaces all of them. Else it is the mirror of a tree, and each repository is found below it by the
// path it has on its own server. Where no repository has a name that is known of distributions, all are taken for its own.
func mirroredRPM(ctx context.Context, f Fetcher, repos []rpmrepo.Repo, mirror string, signed func(rpmrepo.Repo) bool) ([]rpmrepo.Repo, error) {
	isOwn := OwnRepository
	if !slices.ContainsFunc(repos, isOwn) {
		isOwn = func(rpmrepo.Repo) bool { return true }
	}
	var own, others []rpmrepo.Repo
	for _, r := range repos {
		if isOwn(r) {
			own = append(own, r)
		} else {
			others = append(others, r)
		}
	}
	one := rpmrepo.Repo{}
	if len(own) > 0 {
		one = own[0]
	}
	one = rpmrepo.Repo{ID: "mirror", File: "[base] mirror", BaseURLs: []string{mirror}, GPGCheck: one.GPGCheck, RepoGPGCheck: one.RepoGPGCheck, PkgCheck: one.PkgCheck}
	_, err := f.Get(ctx, Document{URL: rpmrepo.Join(mirror, "repodata/repomd.xml"), Limit: rpmrepo.MaxRepomd, Signed: signed(one)})
	if err == nil {
		return append([]rpmrepo.Repo{one}, others...), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if len(own) == 0 {
		return nil, fmt.Errorf("mirror %s is no repository, and the base has none of its own that could be below it", mirror)
	}
	out := slices.Clone(repos)
	for i, r := range out {
		if !isOwn(r) {
			continue
		}
		at := r.Hint
		if len(r.BaseURLs) > 0 {
			at = r.BaseURLs[0]
		}
		place, ok := RPMMirrorFor(mirror, at)
		if !ok {
			return nil, fmt.Errorf("repository %s (%s) does not say where on a mirror it is, as it has no baseurl: give the URL of a repository itself as mirror", r.ID, r.File)
		}
		out[i].BaseURLs, out[i].Mirrorlist, out[i].Metalink = []string{place}, "", ""
	}
	return out, nil
}

// RPMMirrorFor gives the place of a repository on a mirror of its tree: what comes in its own URL after the name that
// the mirror's ends with, .../fedora/linux for example, or else its whole path.
func RPMMirrorFor(mirror, own string) (string, bool) {
	u, err := url.Parse(own)
	if err != nil || u.Path == "" {
		return "", false
	}
	tail := strings.Split(strings.Trim(u.Path, "/"), "/")
	if i := slices.Index(tail, path.Base(strings.TrimRight(mirror, "/"))); i >= 0 {
		tail = tail[i+1:]
	}
	return rpmrepo.Join(mirror, strings.Join(tail, "/")), true
}

// OwnRepository reports whether a repository is one of the distribution itself, by the names they have there, or is on
// a medium, which nobody else has.
func OwnRepository(r rpmrepo.Repo) bool {
	for _, u := range r.BaseURLs {
		if scheme, _, _ := strings.Cut(u, ":"); scheme != "http" && scheme != "https" {
			return true
		}
	}
	id := strings.ToLower(r.ID)
	if strings.HasPrefix(id, "opensuse") || strings.HasPrefix(id, "repo-") || strings.HasPrefix(id, "sle-") {
		return true
	}
	id, _, _ = strings.Cut(id, "-")
	return slices.Contains([]string{"fedora", "updates", "base", "baseos", "appstream", "extras", "crb", "powertools", "highavailability",
		"rhel", "ubi", "amazonlinux", "mageia", "openeuler", "os", "everything", "ol8_baseos_latest", "ol9_baseos_latest", "ol8_appstream", "ol9_appstream"}, id)
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/karapace/karapace/storage/fstree"
)

const (
	fetching    = "karapace fetch, 200 packages"
	downloading = "apt-get download, the same"
	installing  = "karapace build --locked --offline, packages only"
	chrooting   = "apt-get install in a chroot, the same files"
	capturing   = "normalise and digest 5,000 files, 100 MB"
	summing     = "tar | sha256 of the same"
)

// fetchRows bring package files from the machine's own mirror.
var fetchRows = []row{{What: fetching, Against: downloading, AtMost: 0.7}}

// installRows install what is there already.
var installRows = []row{{What: installing, Against: chrooting, AtMost: 1.3}}

// captureRows make a layer of what a package manager has written.
var captureRows = []row{{What: capturing, Against: summing, AtMost: 1.5}}

const (
	bigManifest = "manifest_version = 1\n[base]\nimage = \"bootstrap:debian/bookworm\"\n"
	bigPackages = "[system]\npackages = [\"build-essential\", \"dbus\", \"fontconfig\", \"git\", \"openssh-server\", \"python3\", \"rsync\", \"tmux\", \"vim\"]\n"
)

// locked is one package of a lock.
type locked struct{ name, version, arch, sha256 string }

// lockBig resolves an environment with some 200 package files, its base among them.
func (l *lab) lockBig(ctx context.Context) (all, layer []locked, err error) {
	file := l.path("home", "big.toml")
	if err := os.WriteFile(file, []byte(bigManifest+bigPackages), 0o644); err != nil {
		return nil, nil, err
	}
	lock := l.path("home", "big.lock")
	if _, err := os.Stat(lock); err != nil {
		l.progress("resolving and fetching packages")
		if _, err := l.do(ctx, l.karapace, "--store", l.path("packages"), "fetch", file); err != nil {
			return nil, nil, err
		}
	}
	text, err := os.ReadFile(lock)
	if err != nil {
		return nil, nil, err
	}
	base, rest, _ := strings.Cut(string(text), "resolved_packages = ")
	layer = lockedIn(rest)
	l.facts["packages"] = fmt.Sprintf("%d of the base, %d more", len(lockedIn(base)), len(layer))
	return append(lockedIn(base), layer...), layer, nil
}

func lockedIn(text string) (all []locked) {
	one := regexp.MustCompile(`\{ name = "([^"]+)", version = "([^"]+)", arch = "([^"]+)", .*sha256 = "([0-9a-f]{64})"`)
	for _, m := range one.FindAllStringSubmatch(text, -1) {
		all = append(all, locked{m[1], m[2], m[3], m[4]})
	}
	return all
}

func fetches(ctx context.Context, l *lab) *group {
	g := &group{name: "fetching", rounds: min(l.rounds, importRounds), cold: true}
	all, _, err := l.lockBig(ctx)
	if err != nil {
		g.missing(fetching, err)
		g.missing(downloading, err)
		return g
	}
	emptied := func() error { return errors.Join(l.remove(ctx, "fetched", "debs"), os.Mkdir(l.path("debs"), 0o755)) }
	g.add(fetching, l.karapace, "--store", l.path("fetched"), "fetch", l.path("home", "big.toml")).prepare = emptied
	get := []string{"sh", "-c", `cd "$0" && exec apt-get -qq -o APT::Sandbox::User= download "$@"`, l.path("debs")}
	for _, p := range all {
		get = append(get, p.name+":"+strings.Replace(p.arch, "all", "amd64", 1)+"="+p.version)
	}
	g.add(downloading, get...).prepare = emptied
	return g
}

func installs(ctx context.Context, l *lab) *group {
	g := &group{name: "installing", rounds: min(l.rounds, importRounds), cold: true}
	if err := l.addInstalls(ctx, g); err != nil {
		g.missing(installing, err)
		g.missing(chrooting, err)
	}
	return g
}

// addInstalls lets both start from the same base, unpacked, and the same files: the environment "big" is destroyed and
// collected before each run, and its base stays because another environment has it.
func (l *lab) addInstalls(ctx context.Context, g *group) error {
	_, layer, err := l.lockBig(ctx)
	if err != nil {
		return err
	}
	store, file := l.path("packages"), l.path("home", "big.toml")
	karapace := func(args ...string) error {
		_, err := l.do(ctx, append([]string{l.karapace, "--store", store}, args...)...)
		return err
	}
	if err := os.WriteFile(l.path("home", "base.toml"), []byte(bigManifest), 0o644); err != nil {
		return err
	}
	l.progress("building the base")
	if err := errors.Join(karapace("build", l.path("home", "base.toml"), "--name", "base"), karapace("build", file, "--name", "big")); err != nil {
		return err
	}
	lower, err := l.bottom(store, "base")
	if err != nil {
		return err
	}
	g.add(installing, l.karapace, "--store", store, "build", file, "--locked", "--offline", "--name", "big").prepare = func() error {
		return errors.Join(karapace("destroy", "big", "--force"), karapace("fetch", file), karapace("gc"), l.sync(ctx))
	}
	root := l.path("chroot")
	g.add(chrooting, l.mapped("unshare", "--mount", "--pid", "--fork", "sh", "-ec", chrootInstall, root)...).prepare = func() error {
		if err := l.remove(ctx, "chroot"); err != nil {
			return err
		}
		if _, err := l.do(ctx, l.mapped("cp", "-a", lower, root)...); err != nil {
			return err
		}
		fill := []string{"mkdir", filepath.Join(root, "debs")}
		if _, err := l.do(ctx, l.mapped(fill...)...); err != nil {
			return err
		}
		for _, p := range layer {
			from := filepath.Join(store, "vault", "sha256", p.sha256)
			if _, err := l.do(ctx, l.mapped("cp", from, filepath.Join(root, "debs", p.name+"_"+p.arch+".deb"))...); err != nil {
				return err
			}
		}
		return l.sync(ctx)
	}
	return nil
}

// chrootInstall is what one does by hand; nothing starts services, as in a build.
const chrootInstall = `
mount -t proc proc "$0/proc"
mount --rbind /dev "$0/dev"
printf '#!/bin/sh\nexit 101\n' >"$0/usr/sbin/policy-rc.d"
chmod 755 "$0/usr/sbin/policy-rc.d"
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 chroot "$0" sh -c '
	exec apt-get -qq -y --no-install-recommends -o APT::Sandbox::User=root -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=/dev/null install /debs/*.deb'
`

// bottom is the base layer of an environment.
func (l *lab) bottom(store, name string) (string, error) {
	out, err := os.Readlink(filepath.Join(store, "names", name))
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(filepath.Join(store, "envs", out, "record.json"))
	if err != nil {
		return "", err
	}
	var record struct{ Lower []string }
	if err := json.Unmarshal(text, &record); err != nil || len(record.Lower) == 0 {
		return "", fmt.Errorf("environment %s has no layers: %w", name, err)
	}
	return filepath.Join(store, record.Lower[len(record.Lower)-1]) + "/.", nil
}

func captures(ctx context.Context, l *lab) *group {
	g := &group{name: "capturing", rounds: l.rounds / 4}
	tree, work := l.path("layer"), l.path("captured")
	self, err := os.Executable()
	if err == nil {
		err = writeLayer(tree)
	}
	if err != nil {
		g.missing(capturing, err)
		g.missing(summing, err)
		return g
	}
	g.add(capturing, l.mapped(self, captureMode, work)...).prepare = func() error {
		_, err := l.do(ctx, l.mapped("sh", "-c", `rm -rf "$1" && cp -a "$0" "$1"`, tree, work)...)
		return errors.Join(err, l.sync(ctx))
	}
	g.add(summing, l.mapped("sh", "-c", `tar -C "$0" -cf - . | openssl dgst -sha256`, tree)...)
	return g
}

// captureMode has this program be the one that is measured.
const captureMode = "capture"

// capture makes the tree at dir a layer, as a build does.
func capture(ctx context.Context, dir string) error {
	if err := fstree.Normalise(ctx, dir, fstree.NormaliseOptions{Epoch: 1 << 30}); err != nil {
		return err
	}
	_, _, err := fstree.Digest(ctx, dir)
	return err
}

// writeLayer makes 5,000 files of 20 kB in 250 directories.
func writeLayer(dir string) error {
	random := rand.NewChaCha8([32]byte{})
	content := make([]byte, 20_000)
	for i := range 5000 {
		sub := filepath.Join(dir, fmt.Sprintf("usr/share/d%03d", i/20))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return err
		}
		random.Read(content)
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprintf("file%d", i%20)), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

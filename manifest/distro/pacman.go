package distro

import (
	"context"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/karapace/karapace/manifest/distro/aptrepo"
	"github.com/karapace/karapace/manifest/distro/pacmanrepo"
)

// Pacman is the package manager of Arch Linux and its kin.
//
// Its own download and its gpg are not used: Karapace fetches the databases and the packages, and checks their signatures
// with the base's own key rings as far as the base's SigLevel wants them.
type Pacman struct{}

var (
	_ Manager = Pacman{}
	_ Owner   = Pacman{}
)

// Name is "pacman".
func (Pacman) Name() string { return "pacman" }

// Detect reports whether the base has pacman and a database of it.
func (Pacman) Detect(sb Sandbox) bool {
	f, err := sb.Open("/usr/bin/pacman")
	if err != nil {
		return false
	}
	f.Close()
	_, err = sb.ReadDir("/var/lib/pacman/local")
	return err == nil
}

// Owners implements Owner by pacman's lists of files.
func (Pacman) Owners(ctx context.Context, sb Sandbox, paths []string) (map[string]string, error) {
	return pacmanOwners(ctx, sb, paths)
}

func pacmanOwners(ctx context.Context, t aptrepo.Tree, paths []string) (map[string]string, error) {
	o := newOwners(paths)
	if err := pacmanrepo.LocalFiles(ctx, t, o.add); err != nil {
		return nil, err
	}
	return o.result(), nil
}

// pacmanDir is one use of pacman: its directory in Sandbox.Shared.
type pacmanDir struct {
	host   string // the directory
	inside string // the same, in the base
}

func newPacmanDir(sb Sandbox, name string) (pacmanDir, error) {
	d := pacmanDir{host: path.Join(sb.Shared(), name), inside: path.Join(SharedDir, name)}
	for _, sub := range []string{"", "cache", "gnupg"} {
		if err := os.Mkdir(path.Join(d.host, sub), 0o755); err != nil {
			return d, fmt.Errorf("prepare for pacman: %w", err)
		}
	}
	return d, nil
}

// configure writes the configuration: those of the base's options that change what is installed, all else in the
// directory, and no signatures, which are checked outside.
func (d pacmanDir) configure(conf *pacmanrepo.Conf, keep []string, repos string, options ...string) error {
	var out strings.Builder
	out.WriteString("[options]\n")
	for _, key := range append([]string{"Architecture", "HookDir", "NoUpgrade", "NoExtract", "HoldPkg"}, keep...) {
		for _, value := range conf.Options[key] {
			fmt.Fprintf(&out, "%s = %s\n", key, value)
		}
	}
	for _, o := range append([]string{
		"CacheDir = " + d.inside + "/cache/", "LogFile = " + d.inside + "/pacman.log", "GPGDir = " + d.inside + "/gnupg/",
		"SigLevel = Never", "LocalFileSigLevel = Never",
	}, options...) {
		out.WriteString(o + "\n")
	}
	out.WriteString(repos)
	if err := os.WriteFile(path.Join(d.host, "pacman.conf"), []byte(out.String()), 0o644); err != nil {
		return fmt.Errorf("prepare for pacman: %w", err)
	}
	return nil
}

// command is a run of pacman that asks nothing.
func (d pacmanDir) command(args ...string) Command {
	return Command{Argv: append([]string{"pacman", "--config", d.inside + "/pacman.conf", "--noconfirm", "--noprogressbar", "--color", "never"}, args...)}
}

// readPacmanConf reads the base's configuration. A root or database elsewhere would need layers to be taken there too.
func readPacmanConf(t aptrepo.Tree) (*pacmanrepo.Conf, error) {
	conf, err := pacmanrepo.ReadConf(t)
	if err != nil {
		return nil, err
	}
	for key, usual := range map[string]string{"RootDir": "/", "DBPath": "/var/lib/pacman"} {
		for _, value := range conf.Options[key] {
			if path.Clean(value) != usual {
				return nil, fmt.Errorf("the base's pacman has %s = %s: only %s is supported", key, value, usual)
			}
		}
	}
	return conf, nil
}

// pacmanArch is the name of a GOARCH for "Architecture = auto", as uname -m has it.
func pacmanArch(goarch string) string {
	switch goarch {
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	case "386":
		return "i686"
	case "arm":
		return "armv7h"
	}
	return goarch
}

// architectureOf gives what $arch stands for: the first architecture the base's pacman accepts.
func architectureOf(conf *pacmanrepo.Conf, goarch string) (string, error) {
	words := conf.Words("Architecture")
	if len(words) == 0 || words[0] == "auto" {
		return pacmanArch(goarch), nil
	}
	if !strings.HasPrefix(words[0], pacmanArch(goarch)) {
		return "", fmt.Errorf("the base's pacman is of architecture %s, not %s", words[0], pacmanArch(goarch))
	}
	return words[0], nil
}

package distro

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strings"

	"github.com/karapace/karapace/manifest/distro/aptrepo"
	"github.com/karapace/karapace/manifest/distro/rpmrepo"
)

var (
	_ Lister = Dnf{}
	_ Lister = Zypper{}
)

// CompareVersions is rpm's order.
func (Dnf) CompareVersions(a, b string) int { return rpmrepo.CompareVersions(a, b) }

// CompareVersions is rpm's order.
func (Zypper) CompareVersions(a, b string) int { return rpmrepo.CompareVersions(a, b) }

// Installed asks rpm for the packages and dnf for why they are there. Of those dnf knows nothing of, those that no other
// package requires are taken for asked for.
func (Dnf) Installed(ctx context.Context, sb Sandbox) ([]Installed, error) {
	out, err := listRPMs(ctx, sb)
	if err != nil {
		return nil, err
	}
	reasons, err := dnfReasons(ctx, sb)
	if err != nil {
		return nil, err
	}
	required, err := requiredRPMs(ctx, sb)
	if err != nil {
		return nil, err
	}
	for i, p := range out {
		switch reason := reasons[instance(p.Name, p.Arch)]; reason {
		case "", "unknown", "none":
			out[i].Explicit, out[i].Guessed = !required[p.Name], true
		default:
			out[i].Explicit = strings.HasSuffix(reason, "user") // dnf 5 also says "external user"
		}
	}
	return out, nil
}

// Installed asks rpm for the packages. zypper notes which it installed only because others need them.
func (Zypper) Installed(ctx context.Context, sb Sandbox) ([]Installed, error) {
	out, err := listRPMs(ctx, sb)
	if err != nil {
		return nil, err
	}
	const name = "/var/lib/zypp/AutoInstalled"
	text, err := aptrepo.ReadFile(sb, name, maxRPMList)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	automatic := make(map[string]bool)
	for line := range strings.Lines(string(text)) {
		automatic[strings.TrimSpace(line)] = true
	}
	for i, p := range out {
		out[i].Explicit = !automatic[p.Name]
	}
	return out, nil
}

// listRPMs lists what rpm has installed, but for keys, which it keeps as if they were packages.
func listRPMs(ctx context.Context, sb Sandbox) (out []Installed, err error) {
	set, err := readRPMSet(ctx, sb)
	if err != nil {
		return nil, err
	}
	native, _ := RPMArch(runtime.GOARCH)
	for _, p := range set {
		if p.name == "gpg-pubkey" {
			continue
		}
		foreign := p.arch != "noarch" && !strings.HasPrefix(p.arch, native)
		out = append(out, Installed{Name: p.name, Version: p.version, Arch: p.arch, Foreign: foreign})
	}
	return out, nil
}

// dnfReasons asks dnf why packages are installed, by instance, in lower case.
func dnfReasons(ctx context.Context, sb Sandbox) (map[string]string, error) {
	d := &dnf{sb: sb, five: isDnf5(sb)}
	argv := []string{d.program(), "-q", "-C", "--disablerepo=*", "--noplugins", "repoquery", "--installed", "--qf", `%{name}\t%{arch}\t%{reason}\n`}
	if d.five {
		argv[4] = "--no-plugins"
	}
	out := limited{most: maxRPMList}
	err := sb.Run(ctx, Command{Argv: argv, Stdout: &out})
	if err == nil && out.over {
		err = errors.New("its answer is too long")
	}
	if err != nil {
		return nil, fmt.Errorf("ask dnf why packages are installed: %w", err)
	}
	reasons := make(map[string]string)
	for line := range strings.Lines(out.String()) {
		if f := strings.Split(strings.TrimSpace(line), "\t"); len(f) == 3 {
			reasons[instance(f[0], f[1])] = strings.ToLower(f[2])
		}
	}
	return reasons, nil
}

// requiredRPMs are the names of packages of which others require something that they provide, other than a file.
func requiredRPMs(ctx context.Context, sb Sandbox) (map[string]bool, error) {
	needs, err := rpmPairs(ctx, sb, "REQUIRENAME")
	if err != nil {
		return nil, err
	}
	by := make(map[string][]string)
	for _, n := range needs {
		by[n[1]] = append(by[n[1]], n[0])
	}
	gives, err := rpmPairs(ctx, sb, "PROVIDENAME")
	if err != nil {
		return nil, err
	}
	required := make(map[string]bool)
	for _, g := range gives {
		for _, name := range by[g[1]] {
			required[g[0]] = required[g[0]] || name != g[0]
		}
	}
	return required, nil
}

// rpmPairs lists a tag of all packages, each value with the package's name.
func rpmPairs(ctx context.Context, sb Sandbox, tag string) (pairs [][2]string, err error) {
	out := limited{most: maxRPMList}
	err = sb.Run(ctx, Command{Argv: []string{"rpm", "-qa", "--qf", `[%{=NAME}\t%{` + tag + `}\n]`}, Stdout: &out})
	if err == nil && out.over {
		err = errors.New("its answer is too long")
	}
	if err != nil {
		return nil, fmt.Errorf("ask rpm what packages need and give: %w", err)
	}
	for line := range strings.Lines(out.String()) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t"); ok {
			pairs = append(pairs, [2]string{name, value})
		}
	}
	return pairs, nil
}

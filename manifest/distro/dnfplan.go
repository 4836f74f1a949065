package distro

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/karapace/karapace/manifest/distro/aptrepo"
	"github.com/karapace/karapace/manifest/distro/rpmrepo"
)

// Plan resolves names with the dnf of the base against its own repositories, or against req.Mirror.
//
// Lists of files are most of a repository's metadata and hardly any package depends on a file outside of the few
// directories that the index of packages has too. So dnf gets them only when it finds no solution without.
func (Dnf) Plan(ctx context.Context, sb Sandbox, f Fetcher, req Request) (*Plan, error) {
	d, err := newDnf(ctx, sb, req.Arch)
	if err != nil {
		return nil, err
	}
	p, err := newRPMPlan(ctx, sb, f, req, d.repos, d.expand, func(r rpmrepo.Repo) bool {
		return r.RepoGPGCheck.Or(d.mainSwitch("repo_gpgcheck", false))
	})
	if err != nil {
		return nil, err
	}
	dir, err := newRPMDir(sb, "dnf-plan")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir.host)
	steps, err := p.resolve(ctx, dir, req.Names, []string{"primary", "modules"}, func() ([]rpmStep, error) {
		if err := d.writeRepos(p, dir); err != nil {
			return nil, err
		}
		if d.five {
			return d.plan5(ctx, dir, req.Names)
		}
		return d.plan4(ctx, dir, req.Names)
	})
	if err != nil {
		return nil, err
	}
	return p.answer(ctx, req.Names, steps)
}

// writeRepos tells dnf of the laid out repositories, with what the base's configuration says about choosing from them.
func (d *dnf) writeRepos(p *rpmPlan, dir rpmDir) error {
	var text strings.Builder
	for id, r := range p.localIDs {
		fmt.Fprintf(&text, "[%s]\nname=%[1]s\nbaseurl=file://%s/%[1]s\nenabled=1\ngpgcheck=0\nrepo_gpgcheck=0\nskip_if_unavailable=0\nmetadata_expire=-1\n", id, dir.inside)
		for _, option := range []struct{ name, value string }{{"excludepkgs", r.Exclude}, {"includepkgs", r.Include}} {
			if option.value != "" {
				fmt.Fprintf(&text, "%s=%s\n", option.name, option.value)
			}
		}
		for _, option := range []struct {
			name  string
			value int
		}{{"priority", r.Priority}, {"cost", r.Cost}} {
			if option.value > 0 {
				fmt.Fprintf(&text, "%s=%d\n", option.name, option.value)
			}
		}
		if r.ModuleHotfixes {
			text.WriteString("module_hotfixes=1\n")
		}
	}
	return dir.write("repos/plan.repo", text.String())
}

// dnf4Plugin writes what dnf has decided, as soon as it has: what dnf 4 prints is for people, and wraps.
const dnf4Plugin = `import dnf

class Karapace(dnf.Plugin):
    name = "karapace"

    def resolved(self):
        def row(kind, p):
            return "\t".join([kind, p.name, str(p.epoch), p.version, p.release, p.arch, p.reponame]) + "\n"
        t = self.base.transaction
        with open("%s/plan", "w") as f:
            for p in t.install_set:
                f.write(row("install", p))
            for p in t.remove_set:
                f.write(row("remove", p))
            f.write("end\n")
`

// plan4 asks dnf 4, through a plugin.
func (d *dnf) plan4(ctx context.Context, dir rpmDir, names []string) ([]rpmStep, error) {
	if err := dir.write("plugins/karapace.py", fmt.Sprintf(dnf4Plugin, dir.inside)); err != nil {
		return nil, err
	}
	plan := filepath.Join(dir.host, "plan")
	if err := os.Remove(plan); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("plan with dnf: %w", err)
	}
	args := append(d.options(dir), "--setopt=plugins=True", "--setopt=pluginpath="+dir.inside+"/plugins", "--assumeno", "install")
	rerr := d.sb.Run(ctx, Command{Argv: slices.Concat([]string{d.program()}, args, names)}) // it fails, as nobody agrees
	b, err := aptrepo.ReadFile(aptrepo.FS(os.DirFS(dir.host)), "/plan", maxRPMList)
	if errors.Is(err, os.ErrNotExist) {
		if rerr == nil {
			rerr = errors.New("dnf did not say what it would install")
		}
		return nil, rerr
	}
	if err != nil {
		return nil, err
	}
	return parsePlan4(string(b))
}

func parsePlan4(text string) ([]rpmStep, error) {
	body, ok := strings.CutSuffix(text, "end\n")
	if !ok {
		return nil, errors.New("dnf's plan is incomplete")
	}
	var steps []rpmStep
	var gone []rpmPackage
	for line := range strings.Lines(body) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 7 || f[0] != "install" && f[0] != "remove" {
			return nil, fmt.Errorf("dnf's plan has the line %q, which is not understood", line)
		}
		p := rpmPackage{f[1], rpmrepo.EVR(f[2], f[3], f[4]), f[5]}
		if f[0] == "install" {
			steps = append(steps, rpmStep{p, f[6]})
		} else {
			gone = append(gone, p)
		}
	}
	return steps, refuseRemovals(steps, gone)
}

// refuseRemovals is an error unless everything that goes is replaced by another version of itself.
func refuseRemovals(steps []rpmStep, gone []rpmPackage) error {
	var removed []string
	for _, g := range gone {
		if !slices.ContainsFunc(steps, func(s rpmStep) bool { return s.name == g.name }) {
			removed = append(removed, g.name)
		}
	}
	if len(removed) == 0 {
		return nil
	}
	slices.Sort(removed)
	return &removalError{slices.Compact(removed)}
}

type removalError struct{ names []string }

func (e *removalError) Error() string {
	return "installing them would remove packages of the base: " + strings.Join(e.names, ", ")
}

// plan5 asks dnf 5, whose table has a line for each package, however long, when it goes to no terminal.
func (d *dnf) plan5(ctx context.Context, dir rpmDir, names []string) ([]rpmStep, error) {
	out := limited{most: maxRPMList}
	args := append(d.options(dir), "--no-plugins", "--assumeno", "install")
	err := d.sb.Run(ctx, Command{Argv: slices.Concat([]string{d.program()}, args, names), Stdout: &out})
	switch {
	case out.over:
		return nil, errors.New("dnf's answer is too long")
	case err != nil && !strings.Contains(out.String(), "\nTransaction Summary:\n"): // with one, it failed as nobody agreed
		return nil, err
	}
	return parsePlan5(out.String())
}

// parsePlan5 reads rows below titles; "replacing" begins a row about what goes for the package above it.
func parsePlan5(text string) ([]rpmStep, error) {
	table, _, _ := strings.Cut(text, "\nTransaction Summary:\n")
	var steps []rpmStep
	var gone []rpmPackage
	title := ""
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		switch {
		case len(f) == 0 || slices.Equal(f, []string{"Package", "Arch", "Version", "Repository", "Size"}) || strings.HasPrefix(line, "Nothing to do"):
			continue
		case line[0] != ' ' && strings.HasSuffix(strings.TrimSpace(line), ":"):
			title = strings.TrimSuffix(strings.TrimSpace(line), ":")
			continue
		}
		replaced := len(f) == 7 && f[0] == "replacing"
		if replaced {
			f = f[1:]
		}
		if len(f) != 6 || line[0] != ' ' {
			return nil, fmt.Errorf("dnf's plan has the line %q, which is not understood", strings.TrimSpace(line))
		}
		p := rpmPackage{f[0], strings.TrimPrefix(f[2], "0:"), f[1]}
		action, _, _ := strings.Cut(title, " ")
		switch {
		case replaced || action == "Removing":
			gone = append(gone, p)
		case slices.Contains([]string{"Installing", "Upgrading", "Downgrading", "Reinstalling"}, action):
			steps = append(steps, rpmStep{p, f[3]})
		default:
			return nil, fmt.Errorf("dnf's plan has %q for %s, which is not understood", title, p.name)
		}
	}
	return steps, refuseRemovals(steps, gone)
}

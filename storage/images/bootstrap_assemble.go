package images

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro"
	"github.com/karapace/karapace/manifest/distro/aptrepo"
	"github.com/karapace/karapace/storage/fstree"
)

// AssembleBootstrap makes the root file system of a plan in the empty directory root, which is the root of the sandbox
// sb. The files of the essential packages are unpacked first, so that there is a dpkg to run; then dpkg installs the
// essential packages over them, and the others. Nothing of the host gets in: sources.list is written from the plan.
// The files are fetched when the vault lacks them. After an error root holds a part, for the caller to remove.
func AssembleBootstrap(ctx context.Context, root string, plan *BootstrapPlan, f distro.Fetcher, sb distro.Sandbox) error {
	a := &assembly{root: root, plan: plan, sb: sb, dir: filepath.Join(sb.Shared(), "bootstrap")}
	if err := os.Mkdir(a.dir, 0o755); err != nil {
		return fmt.Errorf("assemble base: %w", err)
	}
	defer os.RemoveAll(a.dir)
	if err := a.copy(ctx, f); err != nil {
		return fmt.Errorf("assemble base: %w", err)
	}
	for _, step := range []func(context.Context) error{a.order, a.unpack, a.prepare, a.install, a.check, a.finish} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("assemble base: %w", err)
		}
	}
	return nil
}

type assembly struct {
	root      string
	plan      *BootstrapPlan
	sb        distro.Sandbox
	dir       string // the package files, seen inside at SharedDir/bootstrap
	pkgs      []*aptrepo.Package
	essential []*aptrepo.Package // with what they need, in the order to install
	others    []*aptrepo.Package
	merged    []string
}

// copy brings verified copies of the package files into the shared directory and reads what they say of themselves.
func (a *assembly) copy(ctx context.Context, f distro.Fetcher) error {
	var files []distro.File
	for _, p := range a.plan.Packages {
		files = append(files, distro.File{URL: p.Location, SHA256: p.SHA256, Size: p.Size})
	}
	if err := f.Fetch(ctx, "base packages", files); err != nil {
		return err
	}
	controls, err := distro.CopyDebs(ctx, f, a.plan.Packages, a.dir)
	if err != nil {
		return err
	}
	for _, c := range controls {
		p, err := aptrepo.ParsePackage(c)
		if err != nil {
			return err
		}
		a.pkgs = append(a.pkgs, p)
	}
	return nil
}

// order divides the packages and puts each after what it needs.
func (a *assembly) order(context.Context) error {
	arch := ""
	for _, p := range a.pkgs {
		if p.Name == "dpkg" {
			arch = p.Arch
		}
	}
	if arch == "" {
		return errors.New("the lock's base has no dpkg")
	}
	essential, err := aptrepo.Closure(a.pkgs, arch, nil, []string{"usr-is-merged"})
	if err != nil {
		return err
	}
	for _, p := range dependencyOrder(a.pkgs) {
		if slices.Contains(essential, p) {
			a.essential = append(a.essential, p)
		} else {
			a.others = append(a.others, p)
		}
	}
	i := slices.IndexFunc(a.essential, func(p *aptrepo.Package) bool { return p.Name == "base-files" })
	if i < 0 {
		return errors.New("the lock's base has no base-files")
	}
	a.merged, err = mergedDirs(a.file(a.essential[i]), arch)
	return err
}

// dependencyOrder puts packages after those they need, as far as there are no circles, otherwise by name.
func dependencyOrder(pkgs []*aptrepo.Package) []*aptrepo.Package {
	gives := make(map[string][]*aptrepo.Package)
	for _, p := range pkgs {
		gives[p.Name] = append(gives[p.Name], p)
		if groups, err := aptrepo.ParseRelations(p.Provides); err == nil {
			for _, g := range groups {
				gives[g[0].Name] = append(gives[g[0].Name], p)
			}
		}
	}
	var out []*aptrepo.Package
	seen := make(map[*aptrepo.Package]bool)
	var visit func(p *aptrepo.Package)
	visit = func(p *aptrepo.Package) {
		if seen[p] {
			return
		}
		seen[p] = true
		groups, err := aptrepo.ParseRelations(p.PreDepends + "," + p.Depends)
		if err == nil {
			for _, g := range groups {
				for _, r := range g {
					for _, q := range gives[r.Name] {
						visit(q)
					}
				}
			}
		}
		out = append(out, p)
	}
	for _, p := range slices.SortedFunc(slices.Values(pkgs), func(a, b *aptrepo.Package) int { return strings.Compare(a.Name, b.Name) }) {
		visit(p)
	}
	return out
}

func (a *assembly) file(p *aptrepo.Package) string {
	return filepath.Join(a.dir, distro.DebName(p.Name, p.Arch))
}

// unpack makes the essential packages' files, in one archive, so that every bound counts for all of them together.
func (a *assembly) unpack(ctx context.Context) error {
	r, w := io.Pipe()
	go func() {
		out := bufio.NewWriterSize(w, 256<<10)
		err := a.writeFiles(out)
		if err == nil {
			err = out.Flush()
		}
		w.CloseWithError(err)
	}()
	_, err := fstree.Unpack(ctx, a.root, r, fstree.UnpackOptions{})
	r.CloseWithError(err) // so that the writer ends
	if err != nil {
		return fmt.Errorf("unpack packages: %w", err)
	}
	return nil
}

func (a *assembly) writeFiles(w io.Writer) error {
	m := newMerger(w, a.merged)
	if err := m.begin(a.merged); err != nil {
		return err
	}
	first := func(p *aptrepo.Package) int { // base-files decides on the directories that all others share
		if p.Name == "base-files" {
			return 0
		}
		return 1
	}
	for _, p := range slices.SortedStableFunc(slices.Values(a.essential), func(x, y *aptrepo.Package) int { return first(x) - first(y) }) {
		if err := readData(a.file(p), func(h *tar.Header, data io.Reader) error { return m.add(h, data) }); err != nil {
			return fmt.Errorf("package %s: %w", p.Name, err)
		}
	}
	return m.out.Close()
}

// prepare makes what dpkg expects of a system.
func (a *assembly) prepare(context.Context) error {
	root, err := os.OpenRoot(a.root)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, dir := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates", "etc/apt"} {
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for _, name := range []string{"var/lib/dpkg/status", "var/lib/dpkg/available"} {
		if err := writeNew(root, name, ""); err != nil {
			return err
		}
	}
	for _, shell := range []string{"dash", "bash"} { // older releases make the link in a script, which needs it
		if _, err := root.Stat("usr/bin/sh"); errors.Is(err, fs.ErrNotExist) {
			if _, err := root.Stat("usr/bin/" + shell); err == nil {
				if err := root.Symlink(shell, "usr/bin/sh"); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func writeNew(root *os.Root, name, text string) error {
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(f, text); err != nil {
		f.Close()
		return err
	}
	if err := f.Chmod(0o644); err != nil { // whatever the umask
		f.Close()
		return err
	}
	return f.Close()
}

// install runs dpkg twice: nothing is configured when the essential packages are installed, so their dependencies
// cannot all be met; the others' can.
func (a *assembly) install(ctx context.Context) error {
	undo, err := distro.DenyServices(ctx, a.sb)
	if err != nil {
		return err
	}
	for _, set := range []struct {
		pkgs  []*aptrepo.Package
		force []string
	}{{a.essential, []string{"--force-depends"}}, {a.others, nil}} {
		if len(set.pkgs) == 0 {
			continue
		}
		args := append([]string{"--install"}, set.force...)
		for _, p := range set.pkgs {
			args = append(args, path.Join(distro.SharedDir, "bootstrap", distro.DebName(p.Name, p.Arch)))
		}
		if err := a.dpkg(ctx, nil, args...); err != nil {
			return err
		}
	}
	if err := a.dpkg(ctx, nil, "--configure", "-a"); err != nil {
		return err
	}
	return undo()
}

func (a *assembly) dpkg(ctx context.Context, out io.Writer, args ...string) error {
	argv := append([]string{"dpkg", "--force-unsafe-io", "--log=" + path.Join(distro.SharedDir, "bootstrap", "dpkg.log")}, args...)
	return a.sb.Run(ctx, distro.Command{Argv: argv, Stdout: out})
}

// check compares what dpkg says with the lock.
func (a *assembly) check(ctx context.Context) error {
	var audit bytes.Buffer
	if err := a.dpkg(ctx, &audit, "--audit"); err != nil {
		return err
	}
	if text := strings.TrimSpace(audit.String()); text != "" {
		return fmt.Errorf("dpkg is not content:\n%s", text)
	}
	return distro.CheckInstalled(a.sb, a.plan.Packages)
}

// finish writes the sources and removes what belongs to one machine.
func (a *assembly) finish(context.Context) error {
	root, err := os.OpenRoot(a.root)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, name := range []string{"etc/resolv.conf", "etc/hostname", "etc/mailname", "var/lib/dbus/machine-id",
		"var/lib/dpkg/available", "var/lib/dpkg/status-old", "var/log/dpkg.log", "var/log/alternatives.log", "var/log/bootstrap.log"} {
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := writeNew(root, "etc/machine-id", ""); err != nil {
		return err
	}
	return writeNew(root, "etc/apt/sources.list", sourcesList(root, a.plan.Repositories))
}

// sourcesList writes the plan's repositories for apt, with the release's own key ring as the one that may sign.
func sourcesList(root *os.Root, repos []manifest.Repository) string {
	var text strings.Builder
	for _, r := range repos {
		var options []string
		if aptrepo.IsDated(r.Location) {
			options = append(options, "check-valid-until=no")
		}
		if ring := archiveKeyring(root); ring != "" {
			options = append(options, "signed-by="+ring)
		}
		text.WriteString("deb ")
		if len(options) > 0 {
			text.WriteString("[" + strings.Join(options, " ") + "] ")
		}
		fmt.Fprintf(&text, "%s %s %s\n", r.Location, r.Suite, r.Components)
	}
	return text.String()
}

func archiveKeyring(root *os.Root) string {
	for _, distro := range []string{"debian", "ubuntu"} {
		for _, ext := range []string{".gpg", ".pgp"} {
			name := "/usr/share/keyrings/" + distro + "-archive-keyring" + ext
			if _, err := root.Stat(name[1:]); err == nil {
				return name
			}
		}
	}
	return ""
}

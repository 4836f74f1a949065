package manifest

import (
	"fmt"
	"strings"
)

// release is one release of a distribution: its code name and the other names it goes by.
type release struct {
	name  string
	other []string
}

// releases lists the known releases of a distribution, the default first. Numbers that are not listed are taken too,
// where numbered tells what one looks like: new releases must not need a new karapace.
func releases(distro string) []release {
	switch distro {
	case "debian":
		return []release{{"bookworm", []string{"12"}}, {"trixie", []string{"13"}}, {"sid", []string{"unstable"}},
			{"bullseye", []string{"11"}}, {"forky", []string{"14"}}}
	case "ubuntu":
		return []release{{"noble", []string{"24.04"}}, {"jammy", []string{"22.04"}}, {"focal", []string{"20.04"}},
			{"resolute", []string{"26.04"}}, {"questing", []string{"25.10"}}, {"plucky", []string{"25.04"}},
			{"oracular", []string{"24.10"}}, {"bionic", []string{"18.04"}}}
	case "opensuse":
		return []release{{"tumbleweed", nil}, {"leap", nil}}
	case "fedora":
		return []release{{"", nil}} // the newest
	case "archlinux":
		return []release{{"current", nil}}
	}
	return nil
}

func distros() []string { return []string{"debian", "ubuntu", "opensuse", "fedora", "archlinux"} }

// numbered reports whether s looks like a release number of the distribution.
func numbered(distro, s string) bool {
	major, minor, hasMinor := strings.Cut(s, ".")
	if !isDecimal(major) || hasMinor && !isDecimal(minor) {
		return false
	}
	switch distro {
	case "debian", "fedora":
		return len(major) == 2 && !hasMinor
	case "ubuntu":
		return len(major) == 2 && (minor == "04" || minor == "10")
	case "opensuse":
		return len(major) == 2 && len(minor) == 1
	}
	return false
}

func isDecimal(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// findRelease gives the code name for any name of a release; "" gives the default.
func findRelease(distro, name string) (string, bool) {
	known := releases(distro)
	if name == "" && known != nil {
		return known[0].name, true
	}
	for _, r := range known {
		if r.name == name {
			return r.name, true
		}
		for _, o := range r.other {
			if o == name {
				return r.name, true
			}
		}
	}
	return name, numbered(distro, name)
}

// parseAlias takes a distribution's name, in any case, with or without a release.
func parseAlias(s string) (BaseRef, *complaint) {
	name := strings.ToLower(s)
	switch name {
	case "rolling", "tumbleweed":
		name = "opensuse/tumbleweed"
	case "leap":
		name = "opensuse/leap"
	}
	distro, rel, _ := strings.Cut(name, "/")
	if distro == "arch" {
		distro = "archlinux"
	}
	if found, ok := findRelease(distro, rel); ok && !strings.HasSuffix(name, "/") {
		return BaseRef{Kind: BaseAlias, Distro: distro, Release: found}, nil
	}
	return BaseRef{}, complain(suggestBase(s), "no base image is called %s", quote(s))
}

// suggestBase guesses what an unknown base was meant to be.
func suggestBase(s string) string {
	name := strings.ToLower(s)
	if strings.HasPrefix(name, "~") {
		return "~ is not expanded here: write an absolute path, or one relative to the manifest beginning with ./"
	}
	if archiveName(name) {
		return fmt.Sprintf("for a file beside the manifest write %s", quote("./"+s))
	}
	if near := nearest(name, aliases()); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	host, _, _ := strings.Cut(name, "/")
	if strings.Contains(name, ":") || strings.Contains(host, ".") {
		return fmt.Sprintf("for an image of a registry write %s", quote("docker://"+s))
	}
	return `there are debian, ubuntu, fedora, opensuse and arch with /RELEASE, "bootstrap:debian/bookworm", "https://...", "./path" and "docker://..."`
}

func archiveName(s string) bool {
	for _, suffix := range []string{".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.zst"} {
		if strings.HasSuffix(s, suffix) {
			return true
		}
	}
	return false
}

// aliases lists every spelling a suggestion may give.
func aliases() []string {
	all := []string{"rolling", "tumbleweed", "leap", "arch"}
	for _, d := range distros() {
		all = append(all, d)
		for _, r := range releases(d) {
			for _, name := range append([]string{r.name}, r.other...) {
				if name != "" {
					all = append(all, d+"/"+name)
				}
			}
		}
	}
	return all
}

// parseBootstrap takes DISTRO/RELEASE. Bootstrapping needs the suite's code name, so unlisted numbers are refused.
func parseBootstrap(s string) (BaseRef, *complaint) {
	distro, rel, _ := strings.Cut(s, "/")
	if distro != "debian" && distro != "ubuntu" {
		remedy := `only Debian and Ubuntu are assembled from a mirror, like "bootstrap:debian/bookworm"`
		if near := nearest(distro, []string{"debian", "ubuntu"}); near != "" {
			remedy = fmt.Sprintf("did you mean %q?", strings.TrimSuffix(bootstrapPrefix+near+"/"+rel, "/"))
		} else if _, ok := findRelease(distro, rel); ok {
			remedy += fmt.Sprintf("; write %q for an image", s)
		}
		return BaseRef{}, complain(remedy, "there is no bootstrap of %s", quote(distro))
	}
	if rel == "" {
		example, _ := findRelease(distro, "")
		return BaseRef{}, complain(fmt.Sprintf("write %q", bootstrapPrefix+distro+"/"+example), "%s names no release", quote(bootstrapPrefix+s))
	}
	name, _ := findRelease(distro, rel)
	var names []string
	for _, r := range releases(distro) {
		if r.name == name {
			return BaseRef{Kind: BaseBootstrap, Distro: distro, Release: name}, nil
		}
		names = append(names, r.name)
	}
	remedy := "there are " + strings.Join(names, ", ")
	if near := nearest(rel, names); near != "" {
		remedy = fmt.Sprintf("did you mean %q?", bootstrapPrefix+distro+"/"+near)
	}
	return BaseRef{}, complain(remedy, "%s has no release %s that can be bootstrapped", distro, quote(rel))
}

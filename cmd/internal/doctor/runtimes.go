package doctor

import (
	"cmp"
	"strconv"
	"strings"
)

// safe are the first versions of each line of a runtime that have the fixes of what let a container reach its host
// (writes through links in /dev and /proc while it is being set up). The lines are in order.
func safe(runtime string) []string {
	switch runtime {
	case "runc":
		return []string{"1.3.7", "1.4.4", "1.5.3"}
	case "crun":
		return []string{"1.30"}
	}
	return nil
}

func (x *examination) runtime(r Runtime) Check {
	name := "backend " + r.Name
	switch {
	case r.Name == "namespace" && !r.Available:
		return problem(name, r.Reason, "it is built into karapace and what builds and sessions run in", x.distro.upgradeKernel())
	case r.Name == "namespace":
		return ok(name, "built in")
	case r.Path == "":
		c := ok(name, "not installed, and not needed")
		c.Fix = x.distro.install(r.Name)
		return c
	case !r.Available:
		return warning(name, r.Path+": "+r.Reason, "environments cannot be run with it here; the built-in backend does", "name another one, of karapace backends: enter, exec and run take --backend, the configuration and [runtime] backend")
	}
	detail := strings.TrimSpace(r.Path + " " + r.Version)
	if least := outdated(r.Version, safe(r.Name)); least != "" {
		return warning(name, detail+", older than "+least, "it has known holes through which a hostile root file system reaches the host; Karapace checks the root before it starts any runtime, other tools do not",
			x.distro.upgrade(r.Name))
	}
	return ok(name, detail)
}

// outdated returns the version that an installed one should at least be, "" when it is, or is none that can be compared.
func outdated(version string, safe []string) string {
	v, known := parse(version)
	if !known || len(safe) == 0 {
		return ""
	}
	for _, least := range safe {
		s, _ := parse(least)
		if v[0] == s[0] && v[1] == s[1] || len(safe) == 1 {
			if less(v, s) {
				return least
			}
			return ""
		}
	}
	first, _ := parse(safe[0])
	if less(v, first) {
		return safe[0]
	}
	return "" // newer than every line that had the holes
}

// parse reads the numbers of a version: what follows them, as in 1.1.5+ds1 or 1.3.0-rc.1, does not count.
func parse(version string) (v [3]int, known bool) {
	version = strings.TrimPrefix(version, "v")
	if i := strings.IndexFunc(version, func(r rune) bool { return r != '.' && (r < '0' || r > '9') }); i >= 0 {
		version = version[:i]
	}
	for i, part := range strings.SplitN(version, ".", 4) {
		if i == 3 {
			break
		}
		n, err := strconv.Atoi(part)
		if err != nil {
			return v, false
		}
		v[i] = n
	}
	return v, version != ""
}

func less(a, b [3]int) bool {
	return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1]), cmp.Compare(a[2], b[2])) < 0
}

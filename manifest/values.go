package manifest

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Bounds of values. The kernel's own are used where it has one.
const (
	maxPath        = 4096               // PATH_MAX, limits.h
	maxPackageName = 255                // NAME_MAX: a package is a file
	maxEnv         = 128 << 10          // NAME=VALUE with its NUL: MAX_ARG_STRLEN, execve(2)
	maxCPUShares   = 262144             // cgroups(7), cpu.shares
	maxMemoryMB    = 1 << 33            // 8 EiB, so that bytes fit a signed 64-bit number
	defaultBackend = "namespace"        // built in
	dateLimit      = 253402300800       // seconds since the epoch: the year 10000
	maxFileSize    = int64(64 << 30)    // bytes: of one package
	hexDigits      = "0123456789abcdef" // lower case only, so that a digest has one spelling
)

// ValidName reports whether s can name an environment: 1 to 64 of A-Z a-z 0-9 _ -. One that begins with - would be an option wherever it
// is given.
func ValidName(s string) bool {
	return s != "" && s[0] != '-' && len(s) <= 64 && onlyAlnumOr(s, "_-")
}

// ValidPackageName reports whether s can name a package. No such name can be read as an option, a path, a pattern, a
// version or, by apt, as a removal ("git-").
func ValidPackageName(s string) bool { return checkPackageName(s) == nil }

func checkPackageName(s string) *complaint {
	const name = "the package name %s "
	switch {
	case s == "":
		return complain("name a package, like \"git\"", "a package name is empty")
	case len(s) > maxPackageName:
		return complain("package names have at most 255 characters", name+"is too long", quote(s))
	case s[0] == '-':
		return complain("options of the package manager cannot be given; remove it", name+"could be read as an option", quote(s))
	case strings.Contains(s, "/"):
		return complain("write the name of a package in the distribution's archive; files and suites cannot be given", name+"is a path", quote(s))
	case strings.Contains(s, "="):
		plain, _, _ := strings.Cut(s, "=")
		return complain(fmt.Sprintf(`write %s; the lock pins the version, "karapace lock --update" changes it`, quote(plain)), name+"has a version", quote(s))
	case strings.ContainsAny(s, " \t,"):
		return complain(`write each package as its own entry: ["git", "curl"]`, name+"is more than one name", quote(s))
	case strings.HasSuffix(s, "-"):
		return complain("a manifest only adds packages; apt would read the - as a removal", name+"ends in -", quote(s))
	}
	for i, r := range s {
		if r > 0x7e || !isAlnum(byte(r)) && (i == 0 || !strings.ContainsRune("+._:~@-", r)) {
			return complain("a package name begins with a letter or digit and has only letters, digits and + . _ : ~ @ -",
				name+"has the character %s", quote(s), quote(string(r)))
		}
	}
	return nil
}

// arches lists the GOARCH names Linux distributions exist for.
func arches() []string {
	return []string{"386", "amd64", "arm", "arm64", "loong64", "mips64le", "ppc64le", "riscv64", "s390x"}
}

func checkArch(s string) *complaint {
	if slices.Contains(arches(), s) {
		return nil
	}
	meant := nearest(strings.ToLower(s), arches())
	switch strings.ToLower(s) {
	case "x86_64", "x86-64", "x64":
		meant = "amd64"
	case "aarch64", "armv8":
		meant = "arm64"
	case "i386", "i686", "x86":
		meant = "386"
	case "armhf", "armv7", "armv7l", "armv7hl", "armel":
		meant = "arm"
	case "ppc64el":
		meant = "ppc64le"
	}
	if meant != "" {
		return complain(fmt.Sprintf("write %q", meant), "no architecture is called %s", quote(s))
	}
	return complain("one of "+strings.Join(arches(), ", "), "no architecture is called %s", quote(s))
}

func backends() []string { return []string{"namespace", "oci", "crun", "runc", "youki", "mock"} }

func checkBackend(s string) *complaint {
	if slices.Contains(backends(), s) {
		return nil
	}
	remedy := "one of " + strings.Join(backends(), ", ")
	if near := nearest(s, backends()); near != "" {
		remedy = fmt.Sprintf("did you mean %q?", near)
	}
	return complain(remedy, "no backend is called %s", quote(s))
}

// checkLimit checks a resource limit; 0 is none.
func checkLimit(key string, n, most int64) *complaint {
	if n >= 0 && n <= most {
		return nil
	}
	return complain(fmt.Sprintf("write a number from 1 to %d, or remove the line for no limit", most), "%s cannot be %d", key, n)
}

// parseMount parses "HOST:CONTAINER[:ro]".
func parseMount(label, s string) (Mount, *complaint) {
	m := Mount{Label: strings.TrimSpace(label)}
	const form = `write "HOST:CONTAINER" or "HOST:CONTAINER:ro", like "./:/workspace"`
	parts := strings.Split(s, ":")
	if len(parts) < 2 {
		return m, complain(form, "the mount %s has no : between the host's path and the container's", quote(s))
	}
	if len(parts) > 3 {
		return m, complain(form+"; paths with : cannot be mounted", "the mount %s has too many parts", quote(s))
	}
	if len(parts) == 3 {
		m.ReadOnly = strings.TrimSpace(parts[2]) == "ro"
		if !m.ReadOnly {
			return m, complain("the third part is ro or absent; without it the mount is writable",
				"the mount option %s is unknown", quote(strings.TrimSpace(parts[2])))
		}
	}
	m.Host, m.Container = strings.TrimSpace(parts[0]), strings.TrimSpace(parts[1])
	if m.Host == "~" {
		m.Host = "~/"
	}
	if strings.HasPrefix(m.Container, "/") && !hasDotDot(m.Container) {
		m.Container = path.Clean(m.Container)
	}
	return m, checkMount(m)
}

func checkMount(m Mount) *complaint {
	if m.Label == "" || strings.ContainsFunc(m.Label, hidden) {
		return complain(`name it by what it is for: workspace = "./:/workspace"`, "the label %s of a mount is empty or has invisible characters", quote(m.Label))
	}
	if c := checkMountHost(m.Host); c != nil {
		return c
	}
	return checkMountContainer(m.Container)
}

func checkMountHost(s string) *complaint {
	const name = "the host path %s "
	switch {
	case s == "":
		return complain(`write it before the colon: "./:/workspace"`, "the host path is empty")
	case len(s) > maxPath || strings.ContainsFunc(s, hidden) || strings.Contains(s, ":"):
		return complain("check for a copy and paste mistake", name+"has an invisible character or is too long", quote(s))
	case strings.HasPrefix(s, "$"):
		return complain(`variables are not expanded; write "~/..." for your home`, name+"begins with a variable", quote(s))
	case strings.HasPrefix(s, "~") && !strings.HasPrefix(s, "~/"):
		return complain(`only your own home is known, as "~/..."; write an absolute path`, name+"names another user's home", quote(s))
	case hasDotDot(strings.TrimLeft(s, "./")), strings.HasPrefix(s, "/") && hasDotDot(s):
		return complain(".. is taken at the beginning of a relative path only; write the path it leads to", name+"has .. inside", quote(s))
	}
	return nil
}

func checkMountContainer(s string) *complaint {
	const name = "the container path %s "
	top, _, _ := strings.Cut(strings.TrimPrefix(s, "/"), "/")
	switch {
	case s == "":
		return complain(`write it after the colon: "./:/workspace"`, "the container path is empty")
	case len(s) > maxPath || strings.ContainsFunc(s, hidden) || strings.Contains(s, ":"):
		return complain("check for a copy and paste mistake", name+"has an invisible character or is too long", quote(s))
	case strings.HasPrefix(s, "~"):
		return complain(`write an absolute path; a home is "/home/NAME"`, name+"is not absolute", quote(s))
	case !strings.HasPrefix(s, "/"):
		return complain(fmt.Sprintf("write %s", quote("/"+s)), name+"is not absolute", quote(s))
	case hasDotDot(s):
		return complain("write the path it leads to", name+"has ..", quote(s))
	case s == "/":
		return complain(`mount below it: "/workspace"`, name+"would hide the whole environment", quote(s))
	case top == "proc" || top == "sys" || top == "dev":
		return complain("devices are let in by [hardware]; mount elsewhere", name+"belongs to the kernel", quote(s))
	case path.Clean(s) != s:
		return complain(fmt.Sprintf("write %s", quote(path.Clean(s))), name+"is not clean", quote(s))
	}
	return nil
}

func hasDotDot(p string) bool {
	return slices.Contains(strings.Split(p, "/"), "..")
}

func checkEnv(v EnvVar) *complaint {
	if v.Name == "" || v.Name[0] >= '0' && v.Name[0] <= '9' || !onlyAlnumOr(v.Name, "_") {
		return complain("a name begins with a letter or _ and has only letters, digits and _", "%s cannot name a variable", quote(v.Name))
	}
	if strings.IndexByte(v.Value, 0) >= 0 {
		return complain("remove it; no program could read what follows", "the value of %s has a NUL character", v.Name)
	}
	if len(v.Name)+len(v.Value)+2 > maxEnv {
		return complain("put it into a file and mount that", "the value of %s has %d bytes; the kernel takes at most 128 KiB", quote(v.Name), len(v.Value))
	}
	return nil
}

func isHexSHA256(s string) bool {
	return len(s) == 64 && strings.Trim(s, hexDigits) == ""
}

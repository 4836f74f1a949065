package manifest

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
)

// Validate checks every field, as ParseLock does. Whoever makes a lock calls it before Encode. The error is an *Error
// that names the field.
func (l *Lock) Validate() error {
	var first error
	l.sorted().check(func(p place, msg string) {
		if first == nil {
			first = &Error{Key: p.String(), Msg: "the lock is not valid: " + p.String() + ": " + msg}
		}
	})
	return first
}

// place is a field of a lock.
type place struct {
	key   string
	index int // of a list; -1 for none
	field string
}

func (p place) String() string {
	s := p.key
	if p.index >= 0 {
		s = fmt.Sprintf("%s[%d]", p.key, p.index)
	}
	if p.field != "" {
		s += "." + p.field
	}
	return s
}

type lockChecker func(p place, msg string)

// value refuses value with the words of wrong, which are put together only then: a lock has thousands of values.
func (c lockChecker) value(ok bool, p place, value, wrong string) {
	if !ok {
		c(p, quote(value)+" "+wrong)
	}
}

func (c lockChecker) number(ok bool, p place, n int64, wrong string) {
	if !ok {
		c(p, strconv.FormatInt(n, 10)+" "+wrong)
	}
}

func (c lockChecker) complaint(p place, wrong *complaint) {
	if wrong != nil {
		c(p, wrong.msg)
	}
}

func (c lockChecker) digest(p place, d digest.Digest) {
	hexadecimal, ok := strings.CutPrefix(string(d), "sha256:")
	c.value(ok && isHexSHA256(hexadecimal), p, string(d), "is not sha256: and 64 lower-case hexadecimal digits")
}

func (c lockChecker) sha256(p place, s string) {
	c.value(isHexSHA256(s), p, s, "is not 64 lower-case hexadecimal digits")
}

func (c lockChecker) date(p place, seconds int64) {
	c.number(seconds >= 0 && seconds < dateLimit, p, seconds, "is not a date between 1970 and 9999")
}

func (c lockChecker) line(p place, s string, most int) {
	c.value(len(s) <= most && !strings.ContainsFunc(s, hidden) && utf8.ValidString(s), p, s, "has an invisible character or is too long")
}

func (c lockChecker) url(p place, s string) {
	c.complaint(p, checkURL("location", s, "https", "http", "file"))
}

func at(key string) place { return place{key: key, index: -1} }

// check gives every field that no build could have produced.
func (l *Lock) check(refuse func(place, string)) {
	c := lockChecker(refuse)
	_, base := parseBase(l.BaseImage)
	c.complaint(at("arch"), checkArch(l.Arch))
	c.date(at("source_date_epoch"), l.SourceDateEpoch)
	c.complaint(at("base_image"), base)
	c.value(l.BaseImageLocation != "", at("base_image_location"), "", "is no location")
	c.line(at("base_image_location"), l.BaseImageLocation, maxPath)
	c.digest(at("base_image_digest"), l.BaseImageDigest)
	c.number(l.BuildEnvironment > 0, at("build_environment"), l.BuildEnvironment, "is not a version")
	c.complaint(at("runtime_backend"), checkBackend(l.Backend))
	c.complaint(at("cpu_shares"), checkLimit("cpu_shares", l.CPUShares, maxCPUShares))
	c.complaint(at("memory_limit_mb"), checkLimit("memory_limit_mb", l.MemoryLimitMB, maxMemoryMB))
	c.mountsAndEnv(l)
	c.names("requested_packages", l.Requested)
	c.names("resolved_apps", l.Apps)
	c.repositories(l.Repositories)
	c.packages("base_packages", l.BasePackages)
	c.packages("resolved_packages", l.Packages)
	c.volatile(l.Volatile)
	c.output(l.Output)
}

func (c lockChecker) mountsAndEnv(l *Lock) {
	for i, m := range l.Mounts {
		c.complaint(place{"mounts", i, ""}, checkMount(m))
		c.value(utf8.ValidString(m.Label+m.Host+m.Container), place{"mounts", i, ""}, m.String(), "is not UTF-8")
	}
	ascending(c, "mounts", l.Mounts, compareMounts)
	for i, v := range l.Env {
		c.complaint(place{"env", i, ""}, checkEnv(v))
		c.value(utf8.ValidString(v.Value), place{"env", i, ""}, v.Value, "is not UTF-8")
	}
	ascending(c, "env", l.Env, compareEnv)
	for i, s := range l.Integration {
		c.complaint(place{"integration", i, ""}, checkSetting(s))
	}
	ascending(c, "integration", l.Integration, compareSettings)
}

func (c lockChecker) names(key string, names []string) {
	for i, name := range names {
		c.complaint(place{key, i, ""}, checkPackageName(name))
	}
	ascending(c, key, names, strings.Compare)
}

// repositories keep the order they were used in; only a doubled one is refused.
func (c lockChecker) repositories(list []Repository) {
	const key = "repositories"
	seen := make(map[Repository]bool, len(list))
	for i, r := range list {
		c.url(place{key, i, "location"}, r.Location)
		c.line(place{key, i, "suite"}, r.Suite, maxPackageName)
		c.line(place{key, i, "components"}, r.Components, maxPath)
		c.value(strings.Join(strings.Fields(r.Components), " ") == r.Components, place{key, i, "components"}, r.Components,
			"is not separated by single spaces")
		c.sha256(place{key, i, "sha256"}, r.SHA256)
		c.date(place{key, i, "date"}, r.Date)
		c.value(!seen[r], place{key, i, ""}, r.Location, "stands there twice")
		seen[r] = true
	}
}

func (c lockChecker) packages(key string, list []Package) {
	for i, p := range list {
		c.complaint(place{key, i, "name"}, checkPackageName(p.Name))
		c.value(p.Version != "" && len(p.Version) <= maxPackageName && isAlnum(p.Version[0]) && onlyAlnumOr(p.Version, ".+:~^_-"),
			place{key, i, "version"}, p.Version, "is not a version")
		c.value(p.Arch != "" && len(p.Arch) <= 32 && isAlnum(p.Arch[0]) && onlyAlnumOr(p.Arch, "_-"),
			place{key, i, "arch"}, p.Arch, "is not an architecture")
		c.url(place{key, i, "location"}, p.Location)
		c.sha256(place{key, i, "sha256"}, p.SHA256)
		c.number(p.Size >= 0 && p.Size < maxFileSize, place{key, i, "size"}, p.Size, "is not a size below 64 GiB")
		if p.Signature != "" {
			c.sha256(place{key, i, "signature"}, p.Signature)
		}
	}
	ascending(c, key, list, comparePackages)
}

func (c lockChecker) volatile(list []VolatilePath) {
	for i, v := range list {
		p := place{"volatile", i, "path"}
		c.value(strings.HasPrefix(v.Path, "/") && path.Clean(v.Path) == v.Path && v.Path != "/", p, v.Path,
			"is not an absolute, clean path")
		c.line(p, v.Path, maxPath)
		c.value(v.Package == "" || ValidPackageName(v.Package), place{"volatile", i, "package"}, v.Package, "is not a package")
	}
	ascending(c, "volatile", list, compareVolatile)
}

func (c lockChecker) output(o Output) {
	for _, d := range []struct {
		key   string
		value digest.Digest
	}{{"base_layer", o.BaseLayer}, {"package_layer", o.PackageLayer}, {"image_digest", o.ImageDigest}} {
		if d.value != "" {
			c.digest(place{"output", -1, d.key}, d.value)
		}
	}
}

// ascending refuses the first entry that does not come strictly after the one before.
func ascending[T any](c lockChecker, key string, list []T, compare func(a, b T) int) {
	for i := 1; i < len(list); i++ {
		if compare(list[i-1], list[i]) >= 0 {
			c(place{key, i, ""}, "it is out of order, or there twice")
			return
		}
	}
}

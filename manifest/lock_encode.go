package manifest

import (
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
)

// LockVersion is the lock_version this package reads and writes.
const LockVersion = 2

const lockHeader = "# karapace.lock, written by karapace; do not edit\n"

// Encode gives the lock's one text, which ParseLock reads back. The lock must be one that Validate accepts.
func (l *Lock) Encode() []byte {
	l = l.sorted()
	id := EnvID(hexSHA256(l.canonical()))
	w := lockWriter(lockHeader)
	w.number("lock_version", LockVersion)
	w.text("env_id", string(id))
	w.text("short_id", id.Short())
	w.text("arch", l.Arch)
	w.number("source_date_epoch", l.SourceDateEpoch)
	w.text("base_image", l.BaseImage)
	w.text("base_image_location", l.BaseImageLocation)
	w.text("base_image_digest", string(l.BaseImageDigest))
	w.number("build_environment", l.BuildEnvironment)
	w.text("runtime_backend", l.Backend)
	w.truth("hardware_gpu", l.Hardware.GPU)
	w.truth("hardware_audio", l.Hardware.Audio)
	w.truth("network_isolation", l.NetworkIsolation)
	w.limit("cpu_shares", l.CPUShares)
	w.limit("memory_limit_mb", l.MemoryLimitMB)
	writeList(&w, "mounts", l.Mounts, (*lockWriter).mount)
	writeList(&w, "env", l.Env, (*lockWriter).envVar)
	if len(l.Integration) > 0 {
		writeList(&w, "integration", l.Integration, (*lockWriter).setting)
	}
	writeList(&w, "requested_packages", l.Requested, (*lockWriter).quoted)
	writeList(&w, "resolved_apps", l.Apps, (*lockWriter).quoted)
	writeList(&w, "repositories", l.Repositories, (*lockWriter).repository)
	writeList(&w, "base_packages", l.BasePackages, (*lockWriter).pkg)
	writeList(&w, "resolved_packages", l.Packages, (*lockWriter).pkg)
	writeList(&w, "volatile", l.Volatile, (*lockWriter).volatile)
	w.output(l.Output)
	return w
}

// lockWriter appends without fmt: a lock of a desktop has thousands of lines and is written again whenever it is read.
type lockWriter []byte

func (w *lockWriter) raw(parts ...string) {
	for _, s := range parts {
		*w = append(*w, s...)
	}
}

func (w *lockWriter) text(key, s string) {
	w.raw(key, " = ")
	w.quoted(s)
	w.raw("\n")
}

func (w *lockWriter) number(key string, n int64) { w.raw(key, " = ", strconv.FormatInt(n, 10), "\n") }

func (w *lockWriter) truth(key string, b bool) { w.raw(key, " = ", strconv.FormatBool(b), "\n") }

// limit leaves out what is unset.
func (w *lockWriter) limit(key string, n int64) {
	if n != 0 {
		w.number(key, n)
	}
}

// writeList writes one element a line, so that a difference between two locks reads as what changed.
func writeList[T any](w *lockWriter, key string, list []T, each func(*lockWriter, T)) {
	if len(list) == 0 {
		w.raw(key, " = []\n")
		return
	}
	w.raw(key, " = [\n")
	for _, v := range list {
		w.raw("  ")
		each(w, v)
		w.raw(",\n")
	}
	w.raw("]\n")
}

// pairs writes the inside of an inline table whose values are strings.
func (w *lockWriter) pairs(keysAndValues ...string) {
	for i := 0; i < len(keysAndValues); i += 2 {
		if i > 0 {
			w.raw(", ")
		}
		w.raw(keysAndValues[i], " = ")
		w.quoted(keysAndValues[i+1])
	}
}

func (w *lockWriter) mount(m Mount) {
	w.raw("{ ")
	w.pairs("label", m.Label, "host", m.Host, "container", m.Container)
	if m.ReadOnly {
		w.raw(", read_only = true")
	}
	w.raw(" }")
}

func (w *lockWriter) envVar(v EnvVar) {
	w.raw("{ ")
	w.pairs("name", v.Name, "value", v.Value)
	w.raw(" }")
}

func (w *lockWriter) setting(s Setting) {
	w.raw("{ ")
	w.pairs("name", s.Name, "value", s.Value)
	w.raw(" }")
}

func (w *lockWriter) pkg(p Package) {
	w.raw("{ ")
	w.pairs("name", p.Name, "version", p.Version, "arch", p.Arch, "location", p.Location, "sha256", p.SHA256)
	w.raw(", size = ", strconv.FormatInt(p.Size, 10))
	if p.Requested {
		w.raw(", requested = true")
	}
	if p.Signature != "" {
		w.raw(", ")
		w.pairs("signature", p.Signature)
	}
	w.raw(" }")
}

func (w *lockWriter) repository(r Repository) {
	w.raw("{ ")
	w.pairs("location", r.Location, "suite", r.Suite, "components", r.Components, "sha256", r.SHA256)
	w.raw(", date = ", strconv.FormatInt(r.Date, 10), " }")
}

func (w *lockWriter) volatile(v VolatilePath) {
	w.raw("{ ")
	w.pairs("path", v.Path, "package", v.Package)
	w.raw(" }")
}

func (w *lockWriter) output(o Output) {
	if o == (Output{}) {
		return
	}
	w.raw("\n[output]\n")
	w.digest("base_layer", o.BaseLayer)
	w.digest("package_layer", o.PackageLayer)
	w.digest("image_digest", o.ImageDigest)
}

func (w *lockWriter) digest(key string, d digest.Digest) {
	if d != "" {
		w.text(key, string(d))
	}
}

// quoted writes a basic string (TOML 1.0, "String"). Characters that would be invisible in a review are escaped.
func (w *lockWriter) quoted(s string) {
	b := append(*w, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\t':
			b = append(b, `\t`...)
		case !hidden(r):
			b = utf8.AppendRune(b, r)
		case r <= 0xffff:
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			b = fmt.Appendf(b, `\U%08x`, r)
		}
	}
	*w = append(b, '"')
}

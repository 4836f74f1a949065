package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// MaxSize is how many bytes a manifest or a configuration may have.
const MaxSize = 1 << 20

// Version is the manifest_version this package reads.
const Version = 1

// manifestKeys lists the keys of a table of the manifest; nil for [mounts] and [env], whose keys the user chooses.
func manifestKeys(table string) []string {
	switch table {
	case "":
		return []string{"manifest_version", "base", "system", "gui", "hardware", "mounts", "env", "runtime", "integration"}
	case "base":
		return []string{"image", "arch", "mirror"}
	case "system":
		return []string{"packages"}
	case "gui":
		return []string{"apps"}
	case "hardware":
		return []string{"gpu", "audio"}
	case "runtime":
		return []string{"backend", "network_isolation", "resource_limits"}
	case "integration":
		return integrationKeys()
	case "runtime.resource_limits":
		return []string{"cpu_shares", "memory_limit_mb"}
	}
	return nil
}

// manifestHome tells which table a key belongs to.
func manifestHome(key string) string {
	for _, table := range []string{"base", "system", "gui", "hardware", "runtime", "runtime.resource_limits", "integration"} {
		if slices.Contains(manifestKeys(table), key) {
			return fmt.Sprintf("%s belongs below a line [%s]", key, table)
		}
	}
	if key == "manifest_version" {
		return "it belongs on the first line, above every [table]"
	}
	if slices.Contains(manifestKeys(""), key) {
		return fmt.Sprintf("[%s] is a table of its own, not part of another", key)
	}
	return ""
}

// Parse reads a manifest. file names it in messages. Errors are *Error, or *Errors for several, in document order; nothing
// of a manifest with an error is returned.
func Parse(file string, data []byte) (*Manifest, error) {
	d := &document{file: file, data: data}
	tree := d.read(MaxSize)
	if tree == nil {
		return nil, d.err()
	}
	root := table{d, tree, ""}
	if !readVersion(root) {
		return nil, d.err()
	}
	m := readManifest(root)
	if err := d.err(); err != nil {
		return nil, err
	}
	return m, nil
}

// readVersion reports false for another version: nothing else can be said about such a document.
func readVersion(root table) bool {
	const line = "manifest_version = 1"
	version, n := root.number("manifest_version", "1")
	switch {
	case n != nil && version != Version:
		root.problems = nil
		root.report(n.offset, "manifest_version", fmt.Sprintf("manifest_version %d is not known", version),
			"this karapace reads version 1: write "+line+", or use a newer karapace")
		return false
	case !root.has("manifest_version") && !misplacedVersion(root):
		root.report(0, "manifest_version", "manifest_version is missing", "write "+line+" as the first line")
	}
	return true
}

// misplacedVersion reports whether manifest_version stands below a table's header, where it is reported as unknown.
func misplacedVersion(root table) bool {
	return slices.ContainsFunc(root.node.entries, func(e entry) bool {
		return e.value.kind == kindTable && manifestKeys(e.key) != nil && e.value.find("manifest_version") != nil
	})
}

func readManifest(root table) *Manifest {
	root.only(manifestKeys(""), manifestHome)
	system, gui, hardware := root.known("system"), root.known("gui"), root.known("hardware")
	return &Manifest{
		Base:     readBase(root),
		Packages: readNames(system, "packages", `["git", "curl"]`),
		Apps:     readNames(gui, "apps", `["gimp"]`),
		Hardware: Hardware{GPU: hardware.truth("gpu"), Audio: hardware.truth("audio")},
		Mounts:   readMounts(root.table("mounts")),
		Env:      readEnv(root.table("env")),
		Runtime:  readRuntime(root.known("runtime")),

		Integration: readIntegration(root.known("integration")),
	}
}

// known gives a table whose keys are given, and reports the others.
func (t table) known(key string) table {
	sub := t.table(key)
	sub.only(manifestKeys(sub.name), manifestHome)
	return sub
}

func readBase(root table) Base {
	const example = `"bootstrap:debian/bookworm"`
	base := root.known("base")
	var b Base
	var n *node
	if b.Image, n = base.text("image", example); n != nil {
		_, c := parseBase(b.Image)
		base.refuse(n, "image", c)
	}
	switch {
	case !root.has("base"):
		base.report(0, "base.image", "base.image is missing", "write [base], and below it image = "+example)
	case base.node != nil && !base.has("image"):
		base.report(base.at(), "base.image", "[base] has no image", "write below [base]: image = "+example)
	}
	if b.Arch, n = base.text("arch", `"amd64"`); n != nil {
		base.refuse(n, "arch", checkArch(b.Arch))
	}
	if b.Mirror, n = base.text("mirror", `"https://mirror.example.org/debian"`); n != nil {
		base.refuse(n, "mirror", checkURL("mirror", b.Mirror, "https", "http", "file"))
	}
	return b
}

// readNames reads a list of package names. Empty ones mean nothing and are dropped.
func readNames(t table, key, example string) []string {
	var names []string
	for _, n := range t.texts(key, example) {
		name := strings.TrimSpace(n.text)
		if name == "" {
			continue
		}
		t.refuse(n, key, checkPackageName(name))
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func readMounts(t table) []Mount {
	var mounts []Mount
	labels, targets := map[string]string{}, map[string]string{}
	for e, n := range t.strings(`"./:/workspace"`) {
		m, c := parseMount(e.key, n.text)
		if c != nil {
			t.refuse(n, e.key, c)
			continue
		}
		if first, ok := labels[m.Label]; ok {
			t.report(e.offset, joinKey("mounts", e.key), fmt.Sprintf("the labels %s and %s are the same once trimmed",
				quote(first), quote(e.key)), "rename one of them")
			continue
		}
		if other, ok := targets[m.Container]; ok {
			t.refuse(n, e.key, complain("choose another container path for one of them",
				"the mounts %s and %s have the same container path %s", quote(other), quote(m.Label), quote(m.Container)))
		}
		labels[m.Label], targets[m.Container] = e.key, m.Label
		mounts = append(mounts, m)
	}
	slices.SortFunc(mounts, compareMounts)
	return mounts
}

func readEnv(t table) []EnvVar {
	var vars []EnvVar
	for e, n := range t.strings(`"value"`) {
		v := EnvVar{Name: e.key, Value: n.text}
		if c := checkEnv(v); c != nil {
			t.report(e.offset, joinKey("env", e.key), c.msg, c.remedy)
			continue
		}
		vars = append(vars, v)
	}
	slices.SortFunc(vars, compareEnv)
	return vars
}

func readRuntime(t table) Runtime {
	r := Runtime{Backend: defaultBackend, NetworkIsolation: t.truth("network_isolation")}
	if name, n := t.text("backend", `"namespace"`); n != nil {
		r.Backend = strings.ToLower(name)
		t.refuse(n, "backend", checkBackend(r.Backend))
	}
	limits := t.known("resource_limits")
	r.CPUShares = readLimit(limits, "cpu_shares", "1024", maxCPUShares)
	r.MemoryLimitMB = readLimit(limits, "memory_limit_mb", "4096", maxMemoryMB)
	return r
}

func readLimit(t table, key, example string, most int64) int64 {
	number, n := t.number(key, example)
	if n != nil {
		t.refuse(n, key, checkLimit(key, number, most))
	}
	return number
}

func compareMounts(a, b Mount) int { return cmp.Compare(a.Label, b.Label) }
func compareEnv(a, b EnvVar) int   { return cmp.Compare(a.Name, b.Name) }

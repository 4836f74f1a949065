package manifest

import (
	"bytes"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// MaxLockSize is how many bytes a lock may have: some 50,000 packages.
const MaxLockSize = 16 << 20

const lockRemedy = `restore it from version control, or resolve anew with "karapace lock --update"`

// ParseLock reads a lock and accepts exactly what Encode writes. file names it in messages. Errors are *Error, or *Errors
// for several; errors.Is(err, ErrTampered) tells a text that is no lock of this version (false) from one that was one until
// somebody changed it (true).
func ParseLock(file string, data []byte) (*Lock, error) {
	d := &document{file: file, data: data}
	tree := d.read(MaxLockSize)
	if len(d.problems) > 0 {
		d.remark(lockRemedy, false)
		return nil, d.err()
	}
	root := lockTable{table{d, tree, ""}}
	if !root.readLockVersion() {
		return nil, d.err()
	}
	l, id, short := root.readLock()
	if len(d.problems) == 0 {
		l.check(func(p place, msg string) { d.report(root.offset(p), p.String(), p.String()+": "+msg, "") })
	}
	if len(d.problems) == 0 {
		root.checkIdentity(l, id, short, data)
	}
	if len(d.problems) > 0 {
		d.remark(lockRemedy, true)
		return nil, d.err()
	}
	return l, nil
}

// PeekLock gives the id a lock claims, without reading or verifying the rest: enough to look the environment up in the
// store, whose own record vouches for it, and not more. ok is false when the text does not begin like a lock.
func PeekLock(data []byte) (id EnvID, ok bool) {
	const begin = lockHeader + "lock_version = 2\nenv_id = \""
	const end = len(begin) + 64
	if len(data) <= end || string(data[:len(begin)]) != begin || data[end] != '"' {
		return "", false
	}
	id = EnvID(data[len(begin):end])
	return id, isHexSHA256(string(id))
}

// readLockVersion reports false for a lock that other versions wrote.
func (t lockTable) readLockVersion() bool {
	version, n := t.number("lock_version", "2")
	switch {
	case n == nil:
		t.problems = nil
		t.report(0, "lock_version", "this is no lock: lock_version is missing", lockRemedy)
	case version > LockVersion:
		t.report(n.offset, "lock_version", fmt.Sprintf("lock_version %d is not known", version), "use a newer karapace")
	case version < LockVersion, !t.has("arch") && !t.has("source_date_epoch") && !t.has("build_environment"):
		// The first karapace wrote version 2 as well, without these and without digests of packages.
		t.report(n.offset, "lock_version", "this lock was written by an earlier karapace and does not pin its packages by digest",
			`resolve anew with "karapace lock --update"`)
	default:
		return true
	}
	return false
}

func lockKeys() []string {
	return []string{"lock_version", "env_id", "short_id", "arch", "source_date_epoch", "base_image", "base_image_location",
		"base_image_digest", "build_environment", "runtime_backend", "hardware_gpu", "hardware_audio", "network_isolation",
		"cpu_shares", "memory_limit_mb", "mounts", "env", "integration", "requested_packages", "resolved_apps", "repositories",
		"base_packages", "resolved_packages", "volatile", "output"}
}

// lockTable reads values as they stand and reports what is missing.
type lockTable struct{ table }

func (t lockTable) readLock() (l *Lock, id, short string) {
	t.only(lockKeys(), nowhere)
	id, short = t.exact("env_id"), t.exact("short_id")
	l = &Lock{
		Arch:              t.exact("arch"),
		SourceDateEpoch:   t.integer("source_date_epoch"),
		BaseImage:         t.exact("base_image"),
		BaseImageLocation: t.exact("base_image_location"),
		BaseImageDigest:   digest.Digest(t.exact("base_image_digest")),
		BuildEnvironment:  t.integer("build_environment"),
		Backend:           t.exact("runtime_backend"),
		Hardware:          Hardware{GPU: t.flag("hardware_gpu"), Audio: t.flag("hardware_audio")},
		NetworkIsolation:  t.flag("network_isolation"),
		Mounts:            readList(t, "mounts", lockTable.mount),
		Env:               readList(t, "env", lockTable.envVar),
		Requested:         t.names("requested_packages"),
		Apps:              t.names("resolved_apps"),
		Repositories:      readList(t, "repositories", lockTable.repository),
		BasePackages:      readList(t, "base_packages", lockTable.pkg),
		Packages:          readList(t, "resolved_packages", lockTable.pkg),
		Volatile:          readList(t, "volatile", lockTable.volatile),
		Output:            t.output(),
	}
	if t.has("integration") {
		l.Integration = readList(t, "integration", lockTable.setting)
	}
	l.CPUShares, _ = t.number("cpu_shares", "")
	l.MemoryLimitMB, _ = t.number("memory_limit_mb", "")
	return l, id, short
}

func nowhere(string) string { return "" }

// need reports a key that is absent.
func (t lockTable) need(key string) {
	if !t.has(key) {
		name := joinKey(t.name, key)
		t.report(t.at(), name, name+" is missing", "")
	}
}

func (t lockTable) exact(key string) string {
	t.need(key)
	if n := t.value(key, kindString, "a string", ""); n != nil {
		return n.text
	}
	return ""
}

func (t lockTable) integer(key string) int64 {
	t.need(key)
	n, _ := t.number(key, "")
	return n
}

func (t lockTable) flag(key string) bool {
	t.need(key)
	return t.truth(key)
}

func (t lockTable) names(key string) []string {
	t.need(key)
	var names []string
	for _, n := range t.texts(key, "") {
		names = append(names, n.text)
	}
	return names
}

func readList[T any](t lockTable, key string, each func(lockTable) T) []T {
	t.need(key)
	n := t.value(key, kindList, "a list", "")
	if n == nil || len(n.list) == 0 {
		return nil
	}
	list := make([]T, 0, len(n.list))
	for _, element := range n.list {
		if element.kind != kindTable {
			t.report(element.offset, key, fmt.Sprintf("an entry of %s must be an inline table, not %s", key, element.kind), "")
			continue
		}
		list = append(list, each(lockTable{table{t.document, element, key}}))
	}
	return list
}

func (t lockTable) mount() Mount {
	t.only([]string{"label", "host", "container", "read_only"}, nowhere)
	return Mount{Label: t.exact("label"), Host: t.exact("host"), Container: t.exact("container"), ReadOnly: t.truth("read_only")}
}

func (t lockTable) envVar() EnvVar {
	t.only([]string{"name", "value"}, nowhere)
	return EnvVar{Name: t.exact("name"), Value: t.exact("value")}
}

func (t lockTable) setting() Setting {
	t.only([]string{"name", "value"}, nowhere)
	return Setting{Name: t.exact("name"), Value: t.exact("value")}
}

func (t lockTable) pkg() Package {
	t.only([]string{"name", "version", "arch", "location", "sha256", "size", "requested", "signature"}, nowhere)
	return Package{Name: t.exact("name"), Version: t.exact("version"), Arch: t.exact("arch"), Location: t.exact("location"),
		SHA256: t.exact("sha256"), Size: t.integer("size"), Requested: t.truth("requested"), Signature: t.signature()}
}

// signature is left out rather than empty.
func (t lockTable) signature() string {
	n := t.value("signature", kindString, "a string", "")
	if n == nil {
		return ""
	}
	if n.text == "" {
		t.report(n.offset, t.name+".signature", t.name+".signature is empty", "")
	}
	return n.text
}

func (t lockTable) repository() Repository {
	t.only([]string{"location", "suite", "components", "sha256", "date"}, nowhere)
	return Repository{Location: t.exact("location"), Suite: t.exact("suite"), Components: t.exact("components"),
		SHA256: t.exact("sha256"), Date: t.integer("date")}
}

func (t lockTable) volatile() VolatilePath {
	t.only([]string{"path", "package"}, nowhere)
	return VolatilePath{Path: t.exact("path"), Package: t.exact("package")}
}

func (t lockTable) output() Output {
	o := lockTable{t.table.table("output")}
	o.only([]string{"base_layer", "package_layer", "image_digest"}, nowhere)
	return Output{BaseLayer: o.optional("base_layer"), PackageLayer: o.optional("package_layer"), ImageDigest: o.optional("image_digest")}
}

func (t lockTable) optional(key string) digest.Digest {
	if n := t.value(key, kindString, "a string", ""); n != nil {
		return digest.Digest(n.text)
	}
	return ""
}

// offset gives where in the text a place is.
func (t lockTable) offset(p place) int {
	e := t.node.find(p.key)
	if e == nil {
		return 0
	}
	n := e.value
	if p.index >= 0 && p.index < len(n.list) {
		n = n.list[p.index]
	}
	if p.field != "" && n.kind == kindTable {
		if sub := n.find(p.field); sub != nil {
			n = sub.value
		}
	}
	return n.offset
}

// checkIdentity recomputes the ids and the text.
func (t lockTable) checkIdentity(l *Lock, id, short string, data []byte) {
	real := l.ID()
	if id != string(real) {
		t.report(t.offset(place{key: "env_id", index: -1}), "env_id",
			"env_id does not belong to the rest of the lock: one of them was edited", "")
		return
	}
	if short != real.Short() {
		t.report(t.offset(place{key: "short_id", index: -1}), "short_id", "short_id is not the beginning of env_id", "")
		return
	}
	want := l.Encode()
	if bytes.Equal(data, want) {
		return
	}
	msg := "the lock is not spelled as karapace writes it: a comment, order or spacing was changed"
	if bytes.Contains(data, []byte("\r\n")) {
		msg = "the lock has CR LF line ends: something converted it; tell git not to with \"karapace.lock -text\" in .gitattributes"
	}
	same := 0
	for same < min(len(t.data), len(want)) && t.data[same] == want[same] {
		same++
	}
	t.report(same, "", msg, "")
}

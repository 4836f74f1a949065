package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// bundle DIR [PATCH...] [-- ARGS...] writes a bundle with a root file system of one program. Patches are files with JSON
// objects that are merged into its config.json: a key that ends in + appends to a list, null removes.
func bundle(ts *testscript.TestScript, _ bool, args []string) {
	command := []string{"sh"}
	if i := slices.Index(args, "--"); i >= 0 {
		args, command = args[:i], args[i+1:]
	}
	dir := ts.MkAbs(args[0])
	if _, err := os.Stat(filepath.Join(dir, "rootfs")); err != nil {
		ts.Check(makeRoot(filepath.Join(dir, "rootfs")))
	}
	var patches []map[string]any
	for _, name := range args[1:] {
		var patch map[string]any
		text := os.Expand(ts.ReadFile(name), func(v string) string {
			if v == "$" {
				return v
			}
			return ts.Getenv(v)
		})
		ts.Check(json.Unmarshal([]byte(text), &patch))
		patches = append(patches, patch)
	}
	process := map[string]any{"process": map[string]any{"args": command}}
	ts.Check(writeBundle(dir, append([]map[string]any{process}, patches...)...))
}

// writeBundle writes the config.json of a bundle.
func writeBundle(dir string, patches ...map[string]any) error {
	doc := map[string]any{}
	if err := json.Unmarshal([]byte(document), &doc); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		if err := rootless(doc); err != nil {
			return err
		}
	}
	for _, patch := range patches {
		merge(doc, patch)
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), text, 0o644)
}

func merge(into, patch map[string]any) {
	for key, value := range patch {
		if name, ok := strings.CutSuffix(key, "+"); ok {
			old, _ := into[name].([]any)
			into[name] = append(old, value.([]any)...)
			continue
		}
		object, isObject := value.(map[string]any)
		old, wasObject := into[key].(map[string]any)
		switch {
		case value == nil:
			delete(into, key)
		case isObject && wasObject:
			merge(old, object)
		default:
			into[key] = value
		}
	}
}

// rootless gives the document a user namespace with the caller as root.
func rootless(doc map[string]any) error {
	first, err := subordinate()
	if err != nil {
		return err
	}
	mapping := func(id int) []any {
		return []any{
			map[string]any{"containerID": 0, "hostID": id, "size": 1},
			map[string]any{"containerID": 1, "hostID": first, "size": 65536},
		}
	}
	merge(doc["linux"].(map[string]any), map[string]any{
		"namespaces+": []any{map[string]any{"type": "user"}}, "uidMappings": mapping(os.Getuid()), "gidMappings": mapping(os.Getgid()),
	})
	return nil
}

const document = `{
	"ociVersion": "1.0.2",
	"hostname": "box",
	"root": {"path": "rootfs"},
	"process": {
		"cwd": "/",
		"user": {"uid": 0, "gid": 0},
		"env": ["PATH=/bin"],
		"capabilities": {
			"bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_SETUID", "CAP_SETGID"],
			"effective": ["CAP_KILL", "CAP_CHOWN", "CAP_DAC_OVERRIDE"], "permitted": ["CAP_KILL", "CAP_CHOWN", "CAP_DAC_OVERRIDE"]
		}
	},
	"mounts": [
		{"destination": "/proc", "type": "proc", "source": "proc"},
		{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
		{"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
		{"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "nodev", "mode=1777", "size=65536k"]},
		{"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}
	],
	"linux": {
		"namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
		"maskedPaths": ["/proc/keys", "/sys/firmware"],
		"readonlyPaths": ["/proc/sys"]
	}
}`

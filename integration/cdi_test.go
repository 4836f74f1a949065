package integration

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/karapace/karapace/integration/cdiyaml"
)

// nvidiaHost is a host with two GPUs, all that the specification of testdata names, and the files given.
func nvidiaHost(files map[string]string) Host {
	f := desktop()
	for path, kind := range map[string]string{
		"/dev/nvidia1": "char", "/dev/nvidia-modeset": "char", "/run/nvidia-persistenced/socket": "socket", "/usr/bin/nvidia-smi": "file",
		"/usr/share/vulkan/icd.d/nvidia_icd.json": "file", "/usr/lib64/libcuda.so": "-> /usr/lib64/libcuda.so.570.1",
		"/etc/shadow": "file", "/usr/lib64/libevil.so": "-> /etc/shadow",
	} {
		f.paths[path] = kind
	}
	for path := range files {
		f.paths[path] = "file"
	}
	h := f.host()
	h.Read = func(path string) ([]byte, error) {
		text, ok := files[path]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return []byte(text), nil
	}
	return h
}

func specification(t *testing.T) (yaml, asJSON string) {
	t.Helper()
	text, err := os.ReadFile("testdata/cdi/nvidia.yaml")
	if err != nil {
		t.Fatal(err)
	}
	value, err := cdiyaml.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), string(again)
}

// A specification says what comes in, in both of its forms and places; denied it says nothing.
func TestCDI(t *testing.T) {
	yaml, asJSON := specification(t)
	want := nvidia{}.Edits(nvidiaHost(map[string]string{"/etc/cdi/nvidia.yaml": yaml}))
	golden(t, "cdi.json", want)
	for name, files := range map[string]map[string]string{
		"JSON":                {"/var/run/cdi/nvidia.json": asJSON},
		"before another":      {"/var/run/cdi/nvidia.yaml": yaml, "/etc/cdi/nvidia.yaml": strings.ReplaceAll(yaml, "/dev/nvidia1", "/dev/nvidia0")},
		"beside another kind": {"/etc/cdi/a.yaml": "cdiVersion: 0.5.0\nkind: example.com/nic\ndevices: []\n", "/etc/cdi/b.yaml": yaml},
		"beside what is none": {"/etc/cdi/a.json": "{", "/etc/cdi/a.yaml": "- - -", "/etc/cdi/a.txt": yaml, "/etc/cdi/b.yaml": yaml},
	} {
		if got := (nvidia{}).Edits(nvidiaHost(files)); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	denied := policyOf(t, Facts{Profile: "desktop", GPU: true}, map[string]string{"gpu": "false"})
	for _, m := range Collect(nvidiaHost(map[string]string{"/etc/cdi/nvidia.yaml": yaml}), denied).Mounts {
		if strings.Contains(m.Source, "nvidia") {
			t.Errorf("%+v comes in although it is denied", m)
		}
	}
}

// A library comes by all its names, also where the specification has it behind a link: itself, or the directory that it is in.
func TestCDINames(t *testing.T) {
	yaml, _ := specification(t)
	const real, place = "/usr/lib64/libcuda.so.570.1", "/etc/cdi/nvidia.yaml"
	for _, path := range []string{real, "/usr/lib64/libcuda.so.1", "/lib64/libcuda.so.570.1", "/lib64/libcuda.so"} {
		h := nvidiaHost(map[string]string{place: strings.ReplaceAll(yaml, "hostPath: "+real, "hostPath: "+path)})
		stat, resolve, list := h.Stat, h.Resolve, h.List
		linked := func(p string) string { // as /lib64 is
			if rest, ok := below(p, "/lib64"); ok {
				return filepath.Join("/usr/lib64", rest)
			}
			return p
		}
		h.Stat = func(p string) (fs.FileInfo, error) { return stat(linked(p)) }
		h.Resolve = func(p string) (string, error) { return resolve(linked(p)) }
		h.List = func(p string) ([]string, error) { return list(linked(p)) }
		var names []string
		for _, m := range (nvidia{}).Edits(h).Mounts {
			if name, ok := strings.CutPrefix(m.Target, driverLibraries+"/"); ok && !strings.Contains(name, "/") {
				names = append(names, name)
			}
		}
		if want := []string{"libcuda.so", "libcuda.so.1", "libcuda.so.570.1"}; !slices.Equal(names, want) {
			t.Errorf("%s comes as %v, want %v", path, names, want)
		}
	}
}

// A specification that is hostile, broken, or of a driver that has gone is left alone, and what the host has comes in as without.
func TestCDIRefused(t *testing.T) {
	yaml, _ := specification(t)
	without := nvidia{}.Edits(nvidiaHost(nil))
	for name, change := range map[string][2]string{
		"a node outside of /dev":      {"- path: /dev/nvidia-uvm", "- path: /etc/shadow"},
		"a node by dots":              {"- path: /dev/nvidia-uvm", "- path: /dev/../etc/shadow"},
		"another host node":           {"hostPath: /dev/nvidia1", "hostPath: /dev/../dev/sda"},
		"a node that is none":         {"- path: /dev/nvidia-uvm", "- path: /dev/snd"},
		"a node that has gone":        {"- path: /dev/nvidia-uvm", "- path: /dev/nvidia7"},
		"a file that has gone":        {"hostPath: /usr/bin/nvidia-smi", "hostPath: /usr/bin/nvidia-old"},
		"the home":                    {"hostPath: /usr/bin/nvidia-smi", "hostPath: /home/ada"},
		"secrets":                     {"hostPath: /usr/bin/nvidia-smi", "hostPath: /etc/shadow"},
		"secrets behind a link":       {"hostPath: /usr/bin/nvidia-smi", "hostPath: /usr/lib64/libevil.so"},
		"the root":                    {"hostPath: /usr/bin/nvidia-smi", "hostPath: /"},
		"dots":                        {"containerPath: /usr/bin/nvidia-smi", "containerPath: /usr/../../x"},
		"a relative path":             {"containerPath: /usr/bin/nvidia-smi", "containerPath: usr/bin/x"},
		"LD_PRELOAD":                  {"- NVIDIA_VISIBLE_DEVICES=void", "- LD_PRELOAD=/usr/lib64/evil.so"},
		"a variable without value":    {"- NVIDIA_VISIBLE_DEVICES=void", "- NVIDIA_VISIBLE_DEVICES"},
		"no device all":               {"name: all", "name: every"},
		"no version":                  {"cdiVersion: 0.5.0", "version: 0.5.0"},
		"another type":                {"  - NVIDIA_VISIBLE_DEVICES=void", "    NVIDIA_VISIBLE_DEVICES: void"},
		"an alias":                    {"- NVIDIA_VISIBLE_DEVICES=void", "- *all"},
		"a bomb":                      {"  - NVIDIA_VISIBLE_DEVICES=void\n", strings.Repeat("  - NVIDIA_VISIBLE_DEVICES=void\n", cdiEntries+1)},
		"deeper than anything":        {"  - NVIDIA_VISIBLE_DEVICES=void", "  " + strings.Repeat("- ", 100000) + "x"},
		"a control character":         {"- NVIDIA_VISIBLE_DEVICES=void", "- NVIDIA_VISIBLE_DEVICES=\x1b[2J"},
		"two documents":               {"devices:\n", "---\ndevices:\n"},
		"the same key twice":          {"kind: nvidia.com/gpu", "kind: nvidia.com/gpu\nkind: nvidia.com/gpu"},
		"a value on lines of its own": {"- NVIDIA_VISIBLE_DEVICES=void", "- |\n    NVIDIA_VISIBLE_DEVICES=void"},
	} {
		changed := strings.Replace(yaml, change[0], change[1], 1)
		if changed == yaml {
			t.Errorf("%s: nothing is changed", name)
		}
		if got := (nvidia{}).Edits(nvidiaHost(map[string]string{"/etc/cdi/nvidia.yaml": changed})); !reflect.DeepEqual(got, without) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

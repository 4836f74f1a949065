package integration

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/karapace/karapace/integration/cdiyaml"
)

// cdiKind and cdiDevice are what is asked for of the host's specifications of the Container Device Interface
// (github.com/cncf-tags/container-device-interface, SPEC.md): every GPU of NVIDIA's.
const cdiKind, cdiDevice = "nvidia.com/gpu", "all"

// cdiEntries is how many devices, nodes, mounts and variables a specification may have.
const cdiEntries = 4096

type cdiSpec struct {
	Version string    `json:"cdiVersion"`
	Kind    string    `json:"kind"`
	Edits   cdiEdits  `json:"containerEdits"`
	Devices []cdiItem `json:"devices"`
}

type cdiItem struct {
	Name  string   `json:"name"`
	Edits cdiEdits `json:"containerEdits"`
}

// cdiEdits are the edits that are made. Hooks, which are programs of the host's, are never run.
type cdiEdits struct {
	Env    []string  `json:"env"`
	Nodes  []cdiNode `json:"deviceNodes"`
	Mounts []struct {
		HostPath      string `json:"hostPath"`
		ContainerPath string `json:"containerPath"`
	} `json:"mounts"`
}

type cdiNode struct {
	Path string `json:"path"`
	Host string `json:"hostPath"`
}

func (d cdiNode) host() string { return cmp.Or(d.Host, d.Path) }

// cdi gives what the host's specification says, of the first that holds, where it is looked for as its authors say; false
// when there is none. One that names what the host has no more was made before an update, and does not hold.
func cdi(h Host) (Edits, bool) {
	if h.Read == nil {
		return Edits{}, false
	}
	for _, dir := range []string{"/var/run/cdi", "/etc/cdi"} {
		names, _ := h.List(dir)
		slices.Sort(names)
		for _, name := range names {
			if ext := path.Ext(name); ext != ".json" && ext != ".yaml" {
				continue
			}
			text, err := h.Read(path.Join(dir, name))
			if err != nil {
				continue
			}
			spec, err := parseCDI(text, path.Ext(name) == ".yaml")
			if err != nil {
				continue
			}
			if edits, err := spec.edits(h); err == nil {
				return edits, true
			}
		}
	}
	return Edits{}, false
}

// parseCDI reads a specification and refuses one that is not as it ought to be.
func parseCDI(text []byte, yaml bool) (*cdiSpec, error) {
	if yaml {
		value, err := cdiyaml.Parse(text)
		if err != nil {
			return nil, err
		}
		if text, err = json.Marshal(value); err != nil {
			return nil, err
		}
	}
	var s cdiSpec
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, err
	}
	if s.Kind != cdiKind || s.Version == "" {
		return nil, fmt.Errorf("it is of the kind %q, version %q", s.Kind, s.Version)
	}
	n := len(s.Devices)
	for _, e := range append([]cdiItem{{Edits: s.Edits}}, s.Devices...) {
		if n += len(e.Edits.Env) + len(e.Edits.Nodes) + len(e.Edits.Mounts); n > cdiEntries {
			return nil, fmt.Errorf("it has more than %d entries", cdiEntries)
		}
		if err := e.Edits.check(); err != nil {
			return nil, err
		}
	}
	return &s, nil
}

// check refuses what no driver needs: nodes outside of /dev, paths that are not plain, and variables of anything else.
func (e *cdiEdits) check() error {
	for _, d := range e.Nodes {
		for _, p := range []string{d.Path, d.host()} {
			if _, ok := strings.CutPrefix(p, "/dev/"); !ok || path.Clean(p) != p {
				return fmt.Errorf("the device %q is not in /dev", p)
			}
		}
	}
	for _, m := range e.Mounts {
		for _, p := range []string{m.HostPath, m.ContainerPath} {
			if !path.IsAbs(p) || path.Clean(p) != p || p == "/" || strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				return fmt.Errorf("the mount of %q is not of a plain path", p)
			}
		}
		if err := ofDriver(m.HostPath); err != nil {
			return err
		}
	}
	for _, v := range e.Env {
		name, value, ok := strings.Cut(v, "=")
		if !ok || !strings.HasPrefix(name, "NVIDIA_") && !strings.HasPrefix(name, "CUDA_") || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return fmt.Errorf("the variable %q is not the driver's", v)
		}
	}
	return nil
}

// ofDriver refuses what no driver is made of.
func ofDriver(file string) error {
	for _, dir := range []string{"/proc", "/sys", "/dev", "/home", "/root", "/boot", "/etc/shadow", "/etc/ssh"} {
		if _, ok := below(file, dir); ok {
			return fmt.Errorf("%s is nothing that a driver has", file)
		}
	}
	return nil
}

// edits are those of the device. Nothing is mounted into a layer: libraries come where LD_LIBRARY_PATH finds them, by the names
// that programs look for as well, and other files at their paths below driverFiles.
func (s *cdiSpec) edits(h Host) (Edits, error) {
	i := slices.IndexFunc(s.Devices, func(d cdiItem) bool { return d.Name == cdiDevice })
	if i < 0 {
		return Edits{}, fmt.Errorf("it has no device %s", cdiDevice)
	}
	var e Edits
	targets := map[string]bool{}
	add := func(m Mount) {
		if !targets[m.Target] {
			targets[m.Target] = true
			e.Mounts = append(e.Mounts, m)
		}
	}
	for _, part := range []cdiEdits{s.Edits, s.Devices[i].Edits} {
		for _, d := range part.Nodes {
			if _, ok := below(d.Path, "/dev/dri"); ok {
				continue // comes with all that is there
			}
			if !isCharDevice(h, d.host()) {
				return Edits{}, fmt.Errorf("the host has no device %s", d.host())
			}
			add(Mount{Source: d.host(), Target: d.Path, Device: true})
		}
		for _, m := range part.Mounts {
			if _, err := h.Stat(m.HostPath); err != nil {
				return Edits{}, fmt.Errorf("the host has no %s: %w", m.HostPath, err)
			}
			real, err := h.Resolve(m.HostPath)
			if err != nil || ofDriver(real) != nil {
				return Edits{}, fmt.Errorf("%s leads to %s", m.HostPath, real)
			}
			if !isFile(h, m.HostPath) && !isDir(h, m.HostPath) {
				continue // the socket of a daemon
			}
			if !strings.Contains(path.Base(m.HostPath), ".so") {
				add(Mount{Source: m.HostPath, Target: path.Join(driverFiles, m.ContainerPath), ReadOnly: true})
				continue
			}
			for _, name := range namesOf(h, m.HostPath, real) {
				add(Mount{Source: m.HostPath, Target: path.Join(driverLibraries, name), ReadOnly: true})
			}
		}
		e.Env = append(e.Env, part.Env...)
	}
	e.set("LD_LIBRARY_PATH", driverLibraries)
	return e, nil
}

// namesOf are the names of a library, whose file is real, among them those that links beside it give it: what the hooks would make.
func namesOf(h Host, library, real string) []string {
	dir, own := path.Split(library)
	all := []string{own}
	names, _ := h.List(path.Clean(dir))
	stem, _, _ := strings.Cut(own, ".so")
	for _, name := range names {
		if name == own || !strings.HasPrefix(name, stem+".so") {
			continue
		}
		if to, err := h.Resolve(path.Join(dir, name)); err == nil && to == real {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// Package ocispec turns what is known about an environment into OCI documents. It is pure: no file, no clock, no host.
//
// The whole policy of what a process inside may see and do is in here, so that it can be read in one place and tested
// as a table of golden documents. Two profiles exist: Session, for people and their programs, and Build, the fixed
// surroundings package managers are installed in. Nothing of an image but its Env reaches a document, so that an image
// cannot change how it is isolated.
//
// The documents of sessions and builds name no user namespace and no id mapping: those belong to the session that Karapace
// prepares before any backend runs, and are the same for all of them. Only what is exported for others to run has them.
package ocispec

import (
	rspec "github.com/opencontainers/runtime-spec/specs-go"
)

// Edits are the host-dependent additions to a document: computed at every enter, never stored, locked or hashed.
type Edits struct {
	Mounts []rspec.Mount
	Env    []string // NAME=value, later ones win
}

// Append adds more edits behind those that are there.
func (e *Edits) Append(more Edits) {
	e.Mounts = append(e.Mounts, more.Mounts...)
	e.Env = append(e.Env, more.Env...)
}

// Process is what is to run inside.
type Process struct {
	Args     []string
	Cwd      string
	UID, GID uint32
	Groups   []uint32 // additional ones
	Env      []string // NAME=value, strongest of all
	Terminal bool
	// KeepGroups leaves it the supplementary groups of whoever starts it: none can be named that the user namespace does not map.
	KeepGroups bool
	Umask      *uint32 // of the files it makes; nil leaves it to the runtime
}

// Session is everything a document for people and their programs depends on.
type Session struct {
	Hostname         string
	Process          Process
	ImageEnv         []string // of the image; malformed entries are left out
	ManifestEnv      []string // of the manifest
	Edits            Edits
	NetworkIsolation bool
	ReadOnlyRoot     bool
	KeepCgroups      bool  // no cgroup namespaces are made inside
	CPUShares        int64 // 0 is unset
	MemoryLimitMB    int64 // 0 is unset
}

// Path is where programs are looked for when neither image nor manifest says otherwise.
const Path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// specVersion is the oldest version of the runtime-spec that has all the documents say. Runtimes refuse versions that are
// newer than they are, whatever stands in a document.
const specVersion = "1.0.2"

// Runtime makes the runtime-spec document (config.json) of a session.
func Runtime(s Session) *rspec.Spec {
	env := mergeEnv([]string{"PATH=" + Path}, s.ImageEnv, s.Edits.Env, s.ManifestEnv, s.Process.Env)
	spec := &rspec.Spec{
		Version:  specVersion,
		Root:     &rspec.Root{Path: "rootfs", Readonly: s.ReadOnlyRoot},
		Hostname: s.Hostname,
		Process: &rspec.Process{
			Terminal:        s.Process.Terminal,
			Args:            s.Process.Args,
			Cwd:             s.Process.Cwd,
			Env:             env,
			User:            rspec.User{UID: s.Process.UID, GID: s.Process.GID, AdditionalGids: s.Process.Groups, Umask: s.Process.Umask},
			NoNewPrivileges: true,
			Capabilities:    capabilities(s.Process.UID),
		},
		Mounts: append(systemMounts(s.NetworkIsolation, s.ReadOnlyRoot), s.Edits.Mounts...),
		Linux: &rspec.Linux{
			Namespaces:    namespaces(s.NetworkIsolation),
			MaskedPaths:   maskedPaths(),
			ReadonlyPaths: readonlyPaths(),
			Seccomp:       seccomp(s.KeepCgroups),
			Resources:     resources(s.CPUShares, s.MemoryLimitMB),
		},
	}
	if s.Process.KeepGroups { // as crun and podman say it
		spec.Annotations = map[string]string{"run.oci.keep_original_groups": "1"}
	}
	return spec
}

// Begin makes what can be said of a session's document when nothing of the host is known yet: its namespaces and limits.
func Begin(networkIsolation bool, cpuShares, memoryLimitMB int64) *rspec.Spec {
	return &rspec.Spec{Linux: &rspec.Linux{Namespaces: namespaces(networkIsolation), Resources: resources(cpuShares, memoryLimitMB)}}
}

// Rootless adds what a runtime needs that is started by an ordinary user, to a document for root inside. Limits stay:
// a user to whom the host delegates no cgroup is told so by the runtime.
func Rootless(spec *rspec.Spec, uids, gids []rspec.LinuxIDMapping) *rspec.Spec {
	out, linux := *spec, *spec.Linux
	out.Linux = &linux
	linux.Namespaces = append([]rspec.LinuxNamespace{{Type: rspec.UserNamespace}}, spec.Linux.Namespaces...)
	linux.UIDMappings, linux.GIDMappings = uids, gids
	return &out
}

// Build makes the document package managers run in: root inside, no network, nothing of the host.
func Build(root string, args, env []string, edits Edits) *rspec.Spec {
	return &rspec.Spec{
		Version:  specVersion,
		Root:     &rspec.Root{Path: root},
		Hostname: "localhost",
		Process: &rspec.Process{
			Args:            args,
			Cwd:             "/",
			Env:             env,
			User:            rspec.User{Umask: umask(0o022)},
			NoNewPrivileges: true,
			Capabilities:    same(sessionCapabilities()),
		},
		Mounts: append(buildMounts(), edits.Mounts...),
		Linux: &rspec.Linux{
			Namespaces:    namespaces(true),
			MaskedPaths:   maskedPaths(),
			ReadonlyPaths: readonlyPaths(),
			Seccomp:       seccomp(true),
		},
	}
}

func umask(m uint32) *uint32 { return &m }

func namespaces(network bool) []rspec.LinuxNamespace {
	ns := []rspec.LinuxNamespace{
		{Type: rspec.PIDNamespace}, {Type: rspec.MountNamespace}, {Type: rspec.IPCNamespace},
		{Type: rspec.UTSNamespace}, {Type: rspec.CgroupNamespace},
	}
	if network {
		ns = append(ns, rspec.LinuxNamespace{Type: rspec.NetworkNamespace})
	}
	return ns
}

func resources(shares, memoryMB int64) *rspec.LinuxResources {
	if shares == 0 && memoryMB == 0 {
		return nil
	}
	r := &rspec.LinuxResources{}
	if shares != 0 {
		n := uint64(shares)
		r.CPU = &rspec.LinuxCPU{Shares: &n}
	}
	if memoryMB != 0 {
		n := memoryMB << 20
		r.Memory = &rspec.LinuxMemory{Limit: &n}
	}
	return r
}

package engine

import (
	"fmt"
	"strings"

	"github.com/karapace/karapace/bundle"
	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/ocispec"
	"github.com/karapace/karapace/storage"
)

// formatDevContainer names an image too, and has nothing of the layers.
const formatDevContainer = "devcontainer"

// dockerTag is the name of an environment's image in docker archives, unless another is asked for.
const dockerTag = "localhost/karapace"

// exportDevContainer writes a devcontainer.json, of what was pushed or else of what `export --format docker-archive` gives to an engine.
func (e *Engine) exportDevContainer(r *storage.Record, o ExportOptions) (*Exported, error) {
	image := dockerTag + ":" + r.EnvID.Short()
	if o.Image != "" {
		var err error
		if image, err = podImage(r, o.Image); err != nil {
			return nil, failure.New(failure.Usage, err, "")
		}
	}
	d := &bundle.DevContainer{Name: r.Title(), Image: image, RunArgs: devContainerArgs(r)}
	d.Workspace()
	left := notInDevContainer(r)
	for _, v := range append(pairs(r.Env), "KARAPACE_ENV="+displayName(r), "CONTAINER_ID="+displayName(r)) {
		name, value, _ := strings.Cut(v, "=")
		if !d.Variable(name, value) {
			left = append(left, "the variable "+name+", whose value editors would take for a reference to the host's environment")
		}
	}
	declared, err := e.declaredMounts(r)
	if err != nil {
		return nil, err
	}
	for i, m := range declared {
		if err := d.Mount(m.Source, m.Target, m.ReadOnly); err != nil {
			return nil, failure.New(failure.General, fmt.Errorf("mount %s: %w", r.Mounts[i].Label, err), "give the directory another name")
		}
	}
	text, err := d.Encode()
	if err != nil {
		return nil, failure.New(failure.General, err, "")
	}
	return e.exportText(r, o, text, left)
}

// devContainerArgs are what a session is held to, as docker's and podman's options.
func devContainerArgs(r *storage.Record) []string {
	args := []string{"--security-opt=no-new-privileges", "--cap-drop=ALL"}
	for _, c := range ocispec.Runtime(ocispec.Session{}).Process.Capabilities.Bounding {
		args = append(args, "--cap-add="+strings.TrimPrefix(c, "CAP_"))
	}
	if r.NetworkIsolation {
		args = append(args, "--network=none")
	}
	if r.CPUShares != 0 {
		args = append(args, fmt.Sprintf("--cpu-shares=%d", r.CPUShares))
	}
	if r.MemoryLimitMB != 0 {
		args = append(args, fmt.Sprintf("--memory=%dm", r.MemoryLimitMB))
	}
	return args
}

// notInDevContainer names what is not as in a session.
func notInDevContainer(r *storage.Record) []string {
	left := []string{"the home, the desktop and the agents of the host; you are root"}
	if r.Hardware.GPU {
		left = append(left, "gpu")
	}
	if r.Hardware.Audio {
		left = append(left, "audio")
	}
	switch r.State {
	case storage.StateFrozen:
		left = append(left, "that it is frozen: editors install their server in it")
	case storage.StateBuilt:
		left = append(left, "what was changed since it was built, unless that was pushed as a snapshot")
	}
	return left
}

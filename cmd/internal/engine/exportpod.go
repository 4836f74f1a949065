package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/bundle"
	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/ocispec"
	"github.com/karapace/karapace/storage"
)

// formatPod is the one format that has nothing of the layers: it names the image that was pushed.
const formatPod = "pod"

// exportPod writes a Kubernetes Pod of an environment that is in a registry.
func (e *Engine) exportPod(r *storage.Record, o ExportOptions) (*Exported, error) {
	image, err := podImage(r, o.Image)
	if err != nil {
		return nil, failure.New(failure.Usage, err, "karapace push "+r.Title()+" REGISTRY/NAME:TAG, and then --image REGISTRY/NAME")
	}
	pod := &bundle.Pod{
		Name: podName(r.Title()), Image: image, ShortID: r.EnvID.Short(), Args: o.Args, ReadOnly: r.State == storage.StateFrozen,
		MillicpuRequest: r.CPUShares * 1000 / 1024, MemoryBytes: r.MemoryLimitMB << 20,
	}
	process := ocispec.Runtime(ocispec.Session{ImageEnv: r.ImageEnv, ManifestEnv: pairs(r.Env), Process: ocispec.Process{
		Env: []string{"KARAPACE_ENV=" + displayName(r), "CONTAINER_ID=" + displayName(r), "container=karapace"},
	}}).Process
	pod.Env, pod.Capabilities = process.Env, process.Capabilities.Bounding
	if pod.Mounts, err = e.podMounts(r); err != nil {
		return nil, err
	}
	pod.Left = notInPod(r)
	return e.exportText(r, o, pod.Encode(), pod.Left)
}

// exportText writes a small file of a format that names an image, and says what that has no word for.
func (e *Engine) exportText(r *storage.Record, o ExportOptions, text []byte, left []string) (*Exported, error) {
	var err error
	if o.Output == "-" {
		_, err = o.Stdout.Write(text)
	} else if _, err = newPlace(o.Output, "", o.Force); err == nil {
		err = storage.WriteDocument(o.Output, text, 0o644)
	}
	if err != nil {
		return nil, failure.Output(err)
	}
	for _, line := range left {
		e.Progress.Note("not in this " + o.Format + ": " + line)
	}
	return &Exported{
		EnvID: r.EnvID, ShortID: r.EnvID.Short(), Name: r.Name, Format: o.Format, Path: o.Output,
		Image: r.ImageDigest, Digest: digest.FromBytes(text), Size: int64(len(text)),
	}, nil
}

// podImage pins an image. Without a digest it is the one that push gives without compression.
func podImage(r *storage.Record, ref string) (string, error) {
	for _, scheme := range []string{"docker://", "oci://"} {
		ref = strings.TrimPrefix(ref, scheme)
	}
	name, pinned, isPinned := strings.Cut(ref, "@")
	if at := strings.LastIndexByte(name, ':'); at > strings.LastIndexByte(name, '/') {
		name = name[:at]
	}
	switch {
	case ref == "":
		return "", errors.New("a pod runs an image of a registry, and --image does not say which")
	case name == "" || strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c > '~' }):
		return "", fmt.Errorf("--image %s names no image", quoted(ref))
	case !isPinned:
		return name + "@" + string(r.ImageDigest), nil
	}
	if err := digest.Digest(pinned).Validate(); err != nil {
		return "", fmt.Errorf("--image %s: %w", quoted(ref), err)
	}
	return name + "@" + pinned, nil
}

// podName is a name as Kubernetes has them (RFC 1123 label).
func podName(title string) string {
	name := strings.Trim(strings.ReplaceAll(strings.ToLower(title), "_", "-"), "-")
	if name == "" {
		return "karapace"
	}
	return name[:min(63, len(name))]
}

func (e *Engine) podMounts(r *storage.Record) ([]bundle.PodMount, error) {
	declared, err := e.declaredMounts(r)
	if err != nil {
		return nil, err
	}
	var mounts []bundle.PodMount
	for i, m := range declared {
		info, err := os.Stat(m.Source)
		if err != nil {
			return nil, failure.New(failure.General, fmt.Errorf("mount %s: %w", r.Mounts[i].Label, err), "")
		}
		mounts = append(mounts, bundle.PodMount{
			Name: fmt.Sprintf("mount-%d", i), Source: filepath.Clean(m.Source), Target: m.Target, ReadOnly: m.ReadOnly, File: !info.IsDir(),
		})
	}
	return mounts, nil
}

// notInPod names what a Pod has no word for, or means another way.
func notInPod(r *storage.Record) []string {
	left := []string{"the home, the desktop and the agents of a host"}
	if r.NetworkIsolation {
		left = append(left, "network_isolation: a pod has the cluster's network; a NetworkPolicy closes it")
	}
	if r.Hardware.GPU {
		left = append(left, "gpu: the cluster's device plugin has a resource for it")
	}
	if r.Hardware.Audio {
		left = append(left, "audio")
	}
	for _, m := range r.Mounts {
		left = append(left, "whether the node that runs it has "+m.Host+" (mount "+m.Label+")")
	}
	if r.State == storage.StateBuilt {
		left = append(left, "what was changed since it was built, unless that was pushed as a snapshot")
	}
	return slices.Clip(left)
}

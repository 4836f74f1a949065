package builder

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/distro"
	"github.com/karapace/karapace/storage"
)

// snapshotList is the document of a snapshots artifact. Its layers are in the same order.
type snapshotList struct {
	Version   int                `json:"version"`           // 1
	Current   digest.Digest      `json:"current,omitempty"` // the snapshot the environment is at; empty is the built state
	Snapshots []storage.Snapshot `json:"snapshots"`         // oldest first; Dir is empty
}

// inputs are the files of the vault that building a lock takes, each once.
func inputs(l *manifest.Lock, path func(string) string) ([]distro.File, error) {
	ref, err := manifest.ParseBaseRef(l.BaseImage)
	if err != nil {
		return nil, failure.New(failure.Lock, err, "")
	}
	var all []distro.File
	switch ref.Kind {
	case manifest.BasePath:
		return nil, failure.New(failure.General, fmt.Errorf("base image %s is a file of this machine, which no vault has", l.BaseImage), "push without --with-packages, or name a base that others can reach")
	case manifest.BaseBootstrap:
		all = distro.PackageFiles(l.BasePackages)
	case manifest.BaseRegistry:
		all = append(all, distro.File{URL: l.BaseImageLocation, SHA256: l.BaseImageDigest.Encoded()})
		for _, d := range partsInVault(path, l.BaseImageDigest, l.Arch) {
			all = append(all, distro.File{URL: string(d.Digest), SHA256: d.Digest.Encoded(), Size: d.Size})
		}
	default:
		all = append(all, distro.File{URL: l.BaseImageLocation, SHA256: l.BaseImageDigest.Encoded()})
	}
	all = append(all, distro.PackageFiles(l.Packages)...)
	seen := map[string]bool{}
	var out []distro.File
	for _, f := range all {
		if !seen[f.SHA256] {
			seen[f.SHA256] = true
			out = append(out, f)
		}
	}
	return out, nil
}

// snapshotListLimit bounds the document of a snapshots artifact, in bytes.
const snapshotListLimit = 2 << 20

// maxSnapshots is how many snapshots a pull takes over.
const maxSnapshots = 1000

// read checks a list: every snapshot has the identity that its layer and what it lies on give it, and comes after that.
func (l *snapshotList) read(text []byte, parts []ispec.Descriptor) error {
	if err := json.Unmarshal(text, l); err != nil || l.Version != 1 {
		return errors.New("its list of snapshots is none that is known here")
	}
	if len(l.Snapshots) != len(parts) || len(parts) > maxSnapshots {
		return fmt.Errorf("it lists %d snapshots, and there are %d layers", len(l.Snapshots), len(parts))
	}
	seen := map[digest.Digest]bool{"": true}
	for n, s := range l.Snapshots {
		switch {
		case s.Layer.Validate() != nil || s.ID != storage.SnapshotID(s.Parent, s.Layer):
			return fmt.Errorf("snapshot %d is not what its name says", n+1)
		case !seen[s.Parent]:
			return fmt.Errorf("snapshot %d lies on one that is not there", n+1)
		case len(s.Message) > storage.MessageLimit:
			return fmt.Errorf("the message of snapshot %d is too long", n+1)
		case seen[s.ID]:
			return fmt.Errorf("snapshot %d is there twice", n+1)
		}
		seen[s.ID] = true
	}
	if !seen[l.Current] {
		return errors.New("the environment is at a snapshot that is not there")
	}
	return nil
}

package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	rspec "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/karapace/karapace/backends/userns"
	"github.com/karapace/karapace/bundle"
	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/ocispec"
	"github.com/karapace/karapace/storage"
)

// bundle fills a directory with an OCI bundle. One karapace-store writes the files as a tar, in the user namespace of the
// store; another unpacks that where files get the owners that other runtimes expect: as root the real ones, else in a
// user namespace whose root is the user.
func (x *exporter) bundle(ctx context.Context, dir string) error {
	if x.options.Rootless && x.User.UID == 0 {
		return failure.New(failure.Usage, errors.New("--rootless is for the calling user's ids, and root has all of them"), "run it as the user whose bundle it is to be")
	}
	mapping, err := x.mapping()
	if err != nil {
		return err
	}
	if mapping != nil {
		mapping = mapping.OwnRoot()
	}
	text, err := bundle.Encode(x.bundleSpec(mapping))
	if err != nil {
		return err
	}
	if err := bundle.Create(dir); err != nil {
		return failure.New(failure.General, err, "")
	}
	if err := x.unpack(ctx, mapping, filepath.Join(dir, bundle.RootName)); err != nil {
		return err
	}
	x.tellLeftOut()
	return failure.New(failure.General, storage.WriteFile(filepath.Join(dir, bundle.ConfigName), text, 0o644), "")
}

// unpack brings the files from one karapace-store to the other.
func (x *exporter) unpack(ctx context.Context, mapping *userns.Mapping, root string) error {
	dir, err := os.Open(root)
	if err != nil {
		return failure.New(failure.General, err, "")
	}
	defer dir.Close()
	in, out, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	written := make(chan error, 1)
	go func() {
		defer out.Close()
		written <- x.call(ctx, x.store, wire.Request{Export: x.request}, &x.result, out)
	}()
	quiet := *x.Engine
	quiet.Progress = silent{}
	err = quiet.callIn(ctx, mapping, x.store, wire.Request{Unpack: &wire.Unpack{}}, &struct{}{}, dir, in)
	in.Close() // only now: its end would be told as the reason
	if other := <-written; other != nil {
		if kind, _ := failure.Of(other); kind != failure.Interrupted || err == nil {
			return other
		}
	}
	return err
}

// silent is a Progress that tells nothing.
type silent struct{}

func (silent) Step(string)                        {}
func (silent) Transfer(string, int, int64, int64) {}
func (silent) TransferDone(string, int, int64)    {}
func (silent) Note(string)                        {}

// bundleSpec is the document of a bundle: the policy of sessions, for root inside, and nothing of this host.
func (x *exporter) bundleSpec(mapping *userns.Mapping) *rspec.Spec {
	r, args := x.record, x.options.Args
	if len(args) == 0 {
		args = []string{"/bin/sh"}
	}
	spec := ocispec.Runtime(ocispec.Session{
		Hostname:         hostname(r),
		Process:          ocispec.Process{Args: args, Cwd: "/", Terminal: len(x.options.Args) == 0, Env: []string{"HOME=/root", "TERM=xterm"}},
		ImageEnv:         r.ImageEnv,
		ManifestEnv:      pairs(r.Env),
		NetworkIsolation: r.NetworkIsolation,
		KeepCgroups:      mapping == nil,
		CPUShares:        r.CPUShares,
		MemoryLimitMB:    r.MemoryLimitMB,
	})
	if mapping == nil {
		return spec
	}
	return ocispec.Rootless(spec, idMappings(mapping.UID), idMappings(mapping.GID))
}

func idMappings(ranges []userns.Range) []rspec.LinuxIDMapping {
	out := make([]rspec.LinuxIDMapping, 0, len(ranges))
	for _, r := range ranges {
		out = append(out, rspec.LinuxIDMapping{ContainerID: r.Inside, HostID: r.Outside, Size: r.Size})
	}
	return out
}

// tellLeftOut names what of the environment a bundle has not.
func (x *exporter) tellLeftOut() {
	for _, m := range x.record.Mounts {
		x.Progress.Note(fmt.Sprintf("mount %s (%s) is this host's and left out", m.Label, m.Container))
	}
	if hw := x.record.Hardware; hw.GPU || hw.Audio {
		x.Progress.Note("gpu and audio are this host's and left out")
	}
}

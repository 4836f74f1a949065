package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	rspec "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/userns"
	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/integration"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/ocispec"
	"github.com/karapace/karapace/storage"
	"github.com/karapace/karapace/storage/rootview"
)

// SessionOptions are what enter, exec and run take.
type SessionOptions struct {
	Args     []string // empty: the user's shell
	User     string   // name or UID[:GID] inside; empty is the caller
	Cwd      string   // inside; empty is the caller's own where it is mounted
	Env      []string // NAME=value
	Terminal bool     // make one inside
	Backend  string   // empty is the environment's own
	Profile  string   // desktop, project or isolated; empty is the manifest's, else the command's own
	Stdio    backends.Stdio

	SameDir  bool // fail where the caller's directory is not mounted, rather than begin in the home
	Isolated bool // run: nothing of the host unless the manifest says so

	readOnly bool   // the root
	profile  string // where neither the caller nor the manifest names one
}

// Exec runs a command in an environment, starting the environment when it does not run. While another command changes
// what the environment is made of, it waits.
func (e *Engine) Exec(ctx context.Context, ref string, o SessionOptions) (backends.Exit, error) {
	for {
		s, r, err := e.find(ref)
		if err != nil {
			return backends.Exit{}, err
		}
		exit, err := e.enter(ctx, s, r, o)
		if errors.Is(err, errChanged) {
			if err = e.awaitSettled(ctx, s, r); err == nil {
				continue
			}
		}
		err = orGone(s, r, err, false)
		if !e.handedOver(ref, r, err) {
			return exit, err
		}
	}
}

func (e *Engine) enter(ctx context.Context, s *storage.Store, r *storage.Record, o SessionOptions) (backends.Exit, error) {
	if err := allow(r, storage.Enter, false); err != nil {
		return backends.Exit{}, err
	}
	o.readOnly = r.State == storage.StateFrozen
	return e.session(ctx, s, r, o, rootfs(s, r))
}

// Spec is the runtime document that Exec would run.
func (e *Engine) Spec(ref string, o SessionOptions) (*rspec.Spec, error) {
	s, r, err := e.find(ref)
	if err != nil {
		return nil, err
	}
	if err := allow(r, storage.Enter, false); err != nil {
		return nil, err
	}
	o.readOnly = r.State == storage.StateFrozen
	return e.spec(s, r, o)
}

// rootfs is the root of an environment with its own writable layer, which is one to read only when it is frozen.
func rootfs(s *storage.Store, r *storage.Record) backends.Rootfs {
	if r.State == storage.StateFrozen {
		return backends.Rootfs{Lower: append([]string{s.UpperDir(r)}, s.Lowers(r)...)}
	}
	return backends.Rootfs{Lower: s.Lowers(r), Upper: s.UpperDir(r), Work: s.EnvDir(r.EnvID, "work")}
}

func (e *Engine) session(ctx context.Context, s *storage.Store, r *storage.Record, o SessionOptions, root backends.Rootfs) (backends.Exit, error) {
	rt, err := e.runtime(ctx, r, o.Backend)
	if err != nil {
		return backends.Exit{}, err
	}
	mapping, err := e.mapping()
	if err != nil {
		return backends.Exit{}, err
	}
	reach, err := policy(r, o)
	if err != nil {
		return backends.Exit{}, err
	}
	var composed error
	c := &backends.Container{
		ID:     string(r.EnvID.Short()),
		Bundle: s.EnvDir(r.EnvID, "bundle"),
		State:  s.EnvDir(r.EnvID, "state"),
		Spec:   ocispec.Begin(r.NetworkIsolation, r.CPUShares, r.MemoryLimitMB),
		Compose: func() (spec *rspec.Spec, err error) {
			spec, composed = e.spec(s, r, o)
			return spec, composed
		},
		Rootfs:  root,
		Mapping: mapping,

		UserBus: e.userBus(r),
		Profile: reach.Profile, SameProfile: o.Profile != "",

		Starting: func() error {
			composed = nil // what went wrong before, with what is no longer there
			if err := settled(s, r); err != nil {
				return err
			}
			return storeFailure(s.NoteStart(r.EnvID))
		},
		Waiting: e.waitingToEnter,
	}
	if o.Terminal {
		o.Stdio.Enter, o.Stdio.Leave = e.marks(r, len(o.Args) == 0)
	}
	exit, err := rt.Run(ctx, c, o.Stdio)
	if composed != nil {
		return exit, composed
	}
	return exit, backendFailure(err)
}

// mapping is the one id mapping of every container: none for root.
func (e *Engine) mapping() (*userns.Mapping, error) {
	if e.User.UID == 0 {
		return nil, nil
	}
	m, err := userns.Lookup()
	var missing *userns.MissingError
	if errors.As(err, &missing) {
		return nil, failure.New(failure.Backend, errors.New(missing.Problem), missing.Remedy)
	}
	return m, failure.New(failure.Backend, err, "karapace doctor")
}

func (e *Engine) spec(s *storage.Store, r *storage.Record, o SessionOptions) (*rspec.Spec, error) {
	host := e.host(s, r)
	policy, err := policy(r, o)
	if err != nil {
		return nil, err
	}
	edits, err := e.edits(s, r, host, policy)
	if err != nil {
		return nil, err
	}
	who, err := e.userInside(s, r, o)
	if err != nil {
		return nil, err
	}
	if o.User == "" {
		who.home = cmp.Or(host.Home, "/") // where integration puts it
	}
	env := append([]string{"KARAPACE_ENV=" + displayName(r), "CONTAINER_ID=" + displayName(r), "container=karapace"}, who.env...)
	cwd := o.Cwd
	if cwd == "" {
		cwd = integration.WorkingDir(host.Cwd, edits.Mounts, who.home)
	}
	if o.SameDir && o.Cwd == "" && integration.WorkingDir(host.Cwd, edits.Mounts, "") == "" {
		return nil, failure.New(failure.General, fmt.Errorf("the directory %s is not there in environment %s", quoted(host.Cwd), displayName(r)),
			"mount it ([mounts] in the manifest), choose another --profile, or name a directory inside with --workdir")
	}
	args := o.Args
	if len(args) == 0 {
		args = []string{who.shell, "-l"}
	}
	return ocispec.Runtime(ocispec.Session{
		Hostname: hostname(r),
		Process: ocispec.Process{
			Args: args, Cwd: cwd, UID: who.uid, GID: who.gid, Groups: who.groups,
			Env: append(env, o.Env...), Terminal: o.Terminal,
			KeepGroups: o.User == "" && e.keepsGroups(edits.Mounts), Umask: e.umask(o, policy),
		},
		ImageEnv:         r.ImageEnv,
		ManifestEnv:      pairs(r.Env),
		Edits:            ocispec.Edits{Mounts: mounts(append(e.containerEnv(s, r), edits.Mounts...), host), Env: edits.Env},
		NetworkIsolation: r.NetworkIsolation,
		ReadOnlyRoot:     o.readOnly,
		KeepCgroups:      e.User.UID == 0 || policy.Profile != "desktop", // whose browsers and viewers have sandboxes that make them
		CPUShares:        r.CPUShares,
		MemoryLimitMB:    r.MemoryLimitMB,
	}), nil
}

// umask is the user's own in his own sessions, which write among his files.
func (e *Engine) umask(o SessionOptions, p integration.Policy) *uint32 {
	mask := uint32(0o022)
	if o.User == "" && p.Profile != "isolated" {
		mask = e.User.Umask
	}
	return &mask
}

// keepsGroups says whether the user's own sessions keep his supplementary groups: where there is a device for which they may be needed.
func (e *Engine) keepsGroups(mounts []integration.Mount) bool {
	return e.User.UID != 0 && slices.ContainsFunc(mounts, func(m integration.Mount) bool { return m.Device })
}

func pairs(vars []manifest.EnvVar) []string {
	out := make([]string, 0, len(vars))
	for _, v := range vars {
		out = append(out, v.Name+"="+v.Value)
	}
	return out
}

func displayName(r *storage.Record) string { return r.Title() }

// hostname is the environment's name as far as host names allow it.
func hostname(r *storage.Record) string { return strings.ReplaceAll(displayName(r), "_", "-") }

// view is the environment's root for reading single files. Layers that belong to subordinate ids cannot be read by the
// user; the accounts in them are in the host layer too.
func view(s *storage.Store, r *storage.Record) rootview.View {
	return rootview.New(append([]string{s.UpperDir(r)}, s.Lowers(r)...)...)
}

// backendFailure gives the errors of backends their kind and a next step.
func backendFailure(err error) error {
	if disk := failure.Disk(err); disk != nil {
		return disk
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	var be *backends.Error
	if !errors.As(err, &be) {
		return failure.New(failure.Backend, err, "")
	}
	hint := be.Hint
	if hint == "" && be.Kind == backends.NotFound {
		hint = "if a package brings it: name that under [system] packages, then karapace lock --update and karapace rebuild"
	}
	return failure.New(failure.Backend, err, hint)
}

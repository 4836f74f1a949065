package main

import (
	"context"
	"path/filepath"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/karapace/karapace/cmd/internal/engine"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
)

// manager is org.karapace.Manager1.
func (s *service) manager() face {
	return face{
		name: managerName,
		methods: []method{
			{"ListEnvironments", "", "environments problems", s.listEnvironments},
			{"GetEnvironmentStatus", "environment", "status", s.environmentStatus},
			{"GetEnvironmentHash", "environment", "env_id", s.environmentHash},
			{"InspectEnvironment", "environment", "details", s.inspectEnvironment},
			{"ListPresets", "", "presets", s.listPresets},
			{"BuildEnvironment", "manifest", "environment", s.buildEnvironment},
			{"BuildNamedEnvironment", "manifest name", "environment", s.buildNamedEnvironment},
			{"DestroyEnvironment", "environment", "result", s.destroyEnvironment},
			{"RenameEnvironment", "environment name", "status", s.renameEnvironment},
			{"RunEnvironment", "environment", "result", s.runEnvironment},
			{"FreezeEnvironment", "environment", "status", s.becoming((*engine.Engine).Freeze)},
			{"UnfreezeEnvironment", "environment", "status", s.becoming((*engine.Engine).Unfreeze)},
			{"ArchiveEnvironment", "environment", "status", s.becoming((*engine.Engine).Archive)},
			{"UnarchiveEnvironment", "environment", "status", s.becoming((*engine.Engine).Unarchive)},
			{"ListSnapshots", "environment", "snapshots", s.listSnapshots},
			{"StopEnvironment", "environment seconds", "stopped", s.stopEnvironment},
			{"GarbageCollect", "dry_run", "result", s.garbageCollect},
			{"VerifyStore", "", "result", s.verifyStore},
			{"StartBuild", "manifest options", "job", s.startBuild},
			{"StartRebuild", "manifest options", "job", s.startRebuild},
			{"StartDestroy", "environment options", "job", s.startDestroy},
			{"StartCommit", "environment message", "job", s.startCommit},
			{"StartRestore", "environment snapshot options", "job", s.startRestore},
			{"StartRemoveSnapshot", "environment snapshot", "job", s.startRemoveSnapshot},
			{"StartPush", "environment reference options", "job", s.startPush},
			{"StartPull", "reference options", "job", s.startPull},
			{"StartCommand", "environment command options", "job", s.startCommand},
			{"StartInTerminal", "environment command options terminal", "job", s.startInTerminal},
			{"StartGarbageCollect", "options", "job", s.startGarbageCollect},
			{"StartVerifyStore", "options", "job", s.startVerifyStore},
			{"Subscribe", "", "", s.subscribe},
			{"Unsubscribe", "", "", s.unsubscribe},
		},
		signals: []notice{
			{"EnvironmentAdded", "env_id:s status:a{sv}"},
			{"EnvironmentRemoved", "env_id:s name:s"},
			{"EnvironmentChanged", "env_id:s status:a{sv}"},
		},
		properties: []property{{"ApiVersion", "u", "const"}, {"StoreRoot", "s", "const"}, {"Version", "s", "const"}},
	}
}

// find is the one environment that a name, an id or its beginning means. The engine would take an empty one for that of the
// directory, and a service is in none.
func (s *service) find(ref string) (*engine.Engine, *storage.Record, *dbus.Error) {
	if ref == "" {
		return nil, nil, refuse(invalidArgument, "no environment is named")
	}
	e, err := s.engine("dbus", engine.Silent{})
	if err != nil {
		return nil, nil, fault(err)
	}
	r, _, err := e.Snapshots(ref)
	if err != nil {
		return nil, nil, fault(err)
	}
	return e, r, nil
}

// onEnvironment waits for a piece of work on the environment that ref means.
func (s *service) onEnvironment(kind, ref string, do func(context.Context, *engine.Engine, string) (dict, error)) (dict, *dbus.Error) {
	_, r, refused := s.find(ref)
	if refused != nil {
		return nil, refused
	}
	id := string(r.EnvID)
	return s.wait(kind, id, func(ctx context.Context, e *engine.Engine) (dict, error) { return do(ctx, e, id) })
}

// beginOn begins a piece of work on the environment that ref means.
func (s *service) beginOn(kind, ref string, do func(context.Context, *engine.Engine, string) (dict, error)) (dbus.ObjectPath, *dbus.Error) {
	_, r, refused := s.find(ref)
	if refused != nil {
		return "/", refused
	}
	id := string(r.EnvID)
	return s.begin(kind, id, func(ctx context.Context, e *engine.Engine) (dict, error) { return do(ctx, e, id) })
}

func (s *service) listEnvironments(dbus.Message) ([]dict, []string, *dbus.Error) {
	e, err := s.engine("dbus", engine.Silent{})
	if err != nil {
		return nil, nil, fault(err)
	}
	all, bad := e.List()
	problems := make([]string, 0, len(bad))
	for _, err := range bad {
		problems = append(problems, faultText(fault(err)))
	}
	return dictionaries(all), problems, nil
}

func (s *service) environmentStatus(_ dbus.Message, ref string) (dict, *dbus.Error) {
	e, r, refused := s.find(ref)
	if refused != nil {
		return nil, refused
	}
	return dictionary(e.Describe(r)), nil
}

func (s *service) environmentHash(_ dbus.Message, ref string) (string, *dbus.Error) {
	_, r, refused := s.find(ref)
	if refused != nil {
		return "", refused
	}
	return string(r.EnvID), nil
}

func (s *service) inspectEnvironment(_ dbus.Message, ref string) (dict, *dbus.Error) {
	e, r, refused := s.find(ref)
	if refused != nil {
		return nil, refused
	}
	d, err := e.Inspect(string(r.EnvID))
	if err != nil {
		return nil, fault(err)
	}
	return dictionary(d), nil
}

func (s *service) listPresets(dbus.Message) ([]dict, *dbus.Error) {
	out := []dict{}
	for _, t := range manifest.Templates() {
		out = append(out, dict{"name": dbus.MakeVariant(t.Name), "description": dbus.MakeVariant(t.Summary), "manifest": dbus.MakeVariant(t.Text)})
	}
	return out, nil
}

// manifestAt refuses what is not a path that means the same to everybody.
func manifestAt(path string) *dbus.Error {
	if !filepath.IsAbs(path) {
		return refuse(invalidArgument, "the manifest %q is not an absolute path", path)
	}
	return nil
}

func building(o engine.BuildOptions, verb func(*engine.Engine, context.Context, engine.BuildOptions) (*engine.BuildResult, error)) work {
	return func(ctx context.Context, e *engine.Engine) (dict, error) {
		res, err := verb(e, ctx, o)
		if err != nil {
			return nil, err
		}
		out := dictionary(e.Describe(res.Record))
		out["created"], out["lock_written"], out["lock"] = dbus.MakeVariant(res.Created), dbus.MakeVariant(res.LockWritten), dbus.MakeVariant(text(res.LockFile))
		return out, nil
	}
}

func (s *service) buildEnvironment(_ dbus.Message, path string) (dict, *dbus.Error) {
	if refused := manifestAt(path); refused != nil {
		return nil, refused
	}
	return s.wait("build", path, building(engine.BuildOptions{Manifest: path}, (*engine.Engine).Build))
}

func (s *service) buildNamedEnvironment(_ dbus.Message, path, name string) (dict, *dbus.Error) {
	if refused := manifestAt(path); refused != nil {
		return nil, refused
	}
	if name == "" {
		return nil, refuse(invalidArgument, "no name is given")
	}
	return s.wait("build", path, building(engine.BuildOptions{Manifest: path, Name: name}, (*engine.Engine).Build))
}

func buildOptions(path string, o *options) engine.BuildOptions {
	return engine.BuildOptions{
		Manifest: path, Name: o.text("name"), Locked: o.yes("locked"), Offline: o.yes("offline"), RequirePinned: o.yes("require_pinned_image"),
		Backend: o.text("build_backend"),
	}
}

func (s *service) startBuild(_ dbus.Message, path string, given dict) (dbus.ObjectPath, *dbus.Error) {
	o := optionsOf(given)
	b := buildOptions(path, o)
	if refused := firstOf(manifestAt(path), o.end()); refused != nil {
		return "/", refused
	}
	return s.begin("build", path, building(b, (*engine.Engine).Build))
}

func (s *service) startRebuild(_ dbus.Message, path string, given dict) (dbus.ObjectPath, *dbus.Error) {
	o := optionsOf(given)
	b := buildOptions(path, o)
	b.Force = o.yes("force")
	if refused := firstOf(manifestAt(path), o.end()); refused != nil {
		return "/", refused
	}
	return s.begin("rebuild", path, building(b, (*engine.Engine).Rebuild))
}

func firstOf(all ...*dbus.Error) *dbus.Error {
	for _, refused := range all {
		if refused != nil {
			return refused
		}
	}
	return nil
}

func destroying(force bool) func(context.Context, *engine.Engine, string) (dict, error) {
	return func(ctx context.Context, e *engine.Engine, id string) (dict, error) {
		r, err := e.Destroy(ctx, id, engine.DestroyOptions{Force: force})
		if err != nil {
			return nil, err
		}
		return identity(r), nil
	}
}

// identity is what is told of an environment that is not described any more.
func identity(r *storage.Record) dict {
	return dict{"env_id": dbus.MakeVariant(string(r.EnvID)), "short_id": dbus.MakeVariant(r.EnvID.Short()), "name": dbus.MakeVariant(text(r.Name))}
}

func (s *service) destroyEnvironment(_ dbus.Message, ref string) (dict, *dbus.Error) {
	return s.onEnvironment("destroy", ref, destroying(false))
}

func (s *service) startDestroy(_ dbus.Message, ref string, given dict) (dbus.ObjectPath, *dbus.Error) {
	o := optionsOf(given)
	force := o.yes("force")
	if refused := o.end(); refused != nil {
		return "/", refused
	}
	return s.beginOn("destroy", ref, destroying(force))
}

func (s *service) renameEnvironment(_ dbus.Message, ref, name string) (dict, *dbus.Error) {
	e, r, refused := s.find(ref)
	if refused != nil {
		return nil, refused
	}
	r, err := e.Rename(s.ctx, string(r.EnvID), name)
	if err != nil {
		return nil, fault(err)
	}
	s.look()
	return dictionary(e.Describe(r)), nil
}

func (s *service) stopEnvironment(_ dbus.Message, ref string, seconds uint32) (bool, *dbus.Error) {
	e, r, refused := s.find(ref)
	if refused != nil {
		return false, refused
	}
	_, stopped, err := e.Stop(s.ctx, string(r.EnvID), time.Duration(seconds)*time.Second)
	s.look()
	return stopped, fault(err)
}

func (s *service) subscribe(msg dbus.Message) *dbus.Error {
	return s.callers.subscribe(callOf(&msg).sender)
}

func (s *service) unsubscribe(msg dbus.Message) *dbus.Error {
	s.callers.unsubscribe(callOf(&msg).sender)
	return nil
}

package main

import (
	"context"
	"encoding/xml"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/introspect"

	"github.com/karapace/karapace/storage"
)

// What introspection tells is what there is: every method answers, and says so of arguments of other types; every property has the
// type that is told.
func TestIntrospection(t *testing.T) {
	c := newDesk(t, "").client()
	var job dbus.ObjectPath
	c.must("StartGarbageCollect", []any{dict{"dry_run": dbus.MakeVariant(true)}}, &job)
	for path, names := range map[dbus.ObjectPath][]string{managerPath: {managerName, objectsName}, job: {jobName}} {
		node := c.introspect(path)
		for _, want := range append(names, introspectableName, propertiesName, "org.freedesktop.DBus.Peer") {
			found := false
			for _, f := range node.Interfaces {
				found = found || f.Name == want
			}
			if !found {
				t.Errorf("%s does not tell of %s", path, want)
			}
		}
		for _, f := range node.Interfaces {
			c.answersAs(path, f)
		}
	}
	if node := c.introspect(managerPath); len(node.Children) != 1 || node.Children[0].Name != "jobs" {
		t.Errorf("below the manager is %v", node.Children)
	}
	if node := c.introspect(jobsPath); len(node.Children) != 1 || string(jobsPath)+"/"+node.Children[0].Name != string(job) {
		t.Errorf("the jobs are %v", node.Children)
	}
	c.refused(c.on(job+"0", jobName+".Cancel", nil), unknownObject)
	c.refused(c.on(managerPath, propertiesName+".Set", []any{managerName, "ApiVersion", dbus.MakeVariant(uint32(9))}), readOnlyProperty)
}

func (c *client) introspect(path dbus.ObjectPath) *introspect.Node {
	c.t.Helper()
	var text string
	must(c.t, c.on(path, introspectableName+".Introspect", nil, &text))
	var node introspect.Node
	must(c.t, xml.Unmarshal([]byte(text), &node))
	return &node
}

func (c *client) answersAs(path dbus.ObjectPath, f introspect.Interface) {
	for _, m := range f.Methods {
		if strings.HasSuffix(f.Name, ".Peer") {
			continue
		}
		for _, arg := range m.Args {
			if _, err := dbus.ParseSignature(arg.Type); err != nil || arg.Name == "" {
				c.t.Errorf("%s.%s: argument %+v: %v", f.Name, m.Name, arg, err)
			}
		}
		c.refused(c.on(path, f.Name+"."+m.Name, []any{byte(1), byte(2), byte(3), byte(4), byte(5), byte(6)}), "org.freedesktop.DBus.Error.InvalidArgs")
	}
	var all dict
	must(c.t, c.on(path, propertiesName+".GetAll", []any{f.Name}, &all))
	if len(all) != len(f.Properties) {
		c.t.Errorf("%s has %d properties, %d are told of", f.Name, len(all), len(f.Properties))
	}
	for _, p := range f.Properties {
		if got := all[p.Name].Signature().String(); got != p.Type {
			c.t.Errorf("%s.%s is of type %s, not %s", f.Name, p.Name, got, p.Type)
		}
	}
}

// The bus starts the service; a build tells how far it is, and of the environment before its end.
func TestBuild(t *testing.T) {
	c := newDesk(t, "").client()
	var job dbus.ObjectPath
	c.must("StartBuild", []any{c.path("karapace.toml"), dict{"name": dbus.MakeVariant("work")}}, &job)
	steps, added := 0, 0
	var id string
	end := c.next("Finished", func(s *dbus.Signal) bool {
		switch s.Name {
		case jobName + ".Progress":
			steps++
		case managerName + ".EnvironmentAdded":
			added++
			id, _ = s.Body[0].(string)
		}
		return s.Path == job && s.Name == jobName+".Finished"
	})
	if end.Body[0] != true || steps == 0 || added != 1 {
		t.Errorf("after %d steps and %d environments: %v", steps, added, end.Body)
	}
	if end.Body[3].(dict)["env_id"].Value() != id || id == "" {
		t.Errorf("%q was added: %v", id, end.Body)
	}
	var state dbus.Variant
	must(t, c.on(job, propertiesName+".Get", []any{jobName, "State"}, &state))
	if state.Value() != jobSucceeded {
		t.Errorf("the job is %v", state)
	}
	c.looks(id)
	c.must("DestroyEnvironment", []any{"work"}, new(dict))
	if gone := c.named(managerName + ".EnvironmentRemoved"); gone.Body[0] != id || gone.Body[1] != "work" {
		t.Errorf("removed: %v", gone.Body)
	}
}

// looks calls what only looks at the environment called work.
func (c *client) looks(id string) {
	c.t.Helper()
	var all []dict
	var problems []string
	c.must("ListEnvironments", nil, &all, &problems)
	if len(all) != 1 || all[0]["env_id"].Value() != id || all[0]["name"].Value() != "work" || all[0]["running"].Value() != false || len(problems) != 0 {
		c.t.Errorf("listed: %v, %v", all, problems)
	}
	for _, ref := range []string{"work", id, id[:12]} {
		var hash string
		c.must("GetEnvironmentHash", []any{ref}, &hash)
		if hash != id {
			c.t.Errorf("%s is %s", ref, hash)
		}
	}
	var status, details dict
	c.must("GetEnvironmentStatus", []any{"work"}, &status)
	c.must("InspectEnvironment", []any{"work"}, &details)
	sizes, _ := details["size"].Value().(dict)
	if base, _ := sizes["base"].Value().(int64); base == 0 || status["state"].Value() != "built" || details["directory"].Value() != c.path("store", "envs", id) {
		c.t.Errorf("status %v, details %v", status, details)
	}
	var presets []dict
	c.must("ListPresets", nil, &presets)
	if len(presets) < 3 {
		c.t.Errorf("presets: %v", presets)
	}
}

// What does not name one environment, or a file that everybody knows, does nothing.
func TestRefused(t *testing.T) {
	c := newDesk(t, "").client()
	c.karapace("build", "karapace.toml", "--name", "work")
	var id string
	c.must("GetEnvironmentHash", []any{"work"}, &id)
	twin := id[:8] + strings.Repeat("0", len(id)-8)
	must(t, os.Mkdir(c.path("store", "envs", twin), 0o755))
	for _, name := range []string{"GetEnvironmentStatus", "GetEnvironmentHash", "InspectEnvironment", "DestroyEnvironment"} {
		c.refused(c.call(name, []any{""}), invalidArgument)
		c.refused(c.call(name, []any{"nosuch"}), notFound)
		c.refused(c.call(name, []any{id[:8]}), ambiguous)
	}
	must(t, os.Remove(c.path("store", "envs", twin)))
	c.refused(c.call("RenameEnvironment", []any{"work", "no good"}), invalidArgument)
	c.refused(c.call("BuildEnvironment", []any{"karapace.toml"}), invalidArgument)
	c.refused(c.call("BuildNamedEnvironment", []any{c.path("karapace.toml"), ""}), invalidArgument)
	c.refused(c.call("StartBuild", []any{c.path("karapace.toml"), dict{"nmae": dbus.MakeVariant("x")}}), invalidArgument)
	c.refused(c.call("StartBuild", []any{c.path("karapace.toml"), dict{"name": dbus.MakeVariant(true)}}), invalidArgument)
	c.write("bad.toml", "manifest_version = 1\nbase = 3\n")
	c.refused(c.call("BuildEnvironment", []any{c.path("bad.toml")}), badManifest)
	c.must("BuildNamedEnvironment", []any{c.manifest("other.toml", "other"), "other"}, new(dict))
	c.refused(c.call("RenameEnvironment", []any{"work", "other"}), nameTaken)
	var all []dict
	var still string
	c.must("ListEnvironments", nil, &all, new([]string))
	c.must("GetEnvironmentHash", []any{"work"}, &still)
	if len(all) != 2 || still != id {
		t.Errorf("work is %s; there are %v", still, all)
	}
}

// Changes that others make are told of.
func TestFollows(t *testing.T) {
	c := newDesk(t, "").client()
	c.must("Subscribe", nil)
	c.karapace("build", "karapace.toml", "--name", "work")
	added := c.named(managerName + ".EnvironmentAdded")
	c.karapace("freeze", "work")
	changed := c.named(managerName + ".EnvironmentChanged")
	if changed.Body[0] != added.Body[0] || changed.Body[1].(dict)["state"].Value() != "frozen" {
		t.Errorf("changed: %v", changed.Body)
	}
	record := c.path("store", "envs", changed.Body[0].(string), "record.json")
	good, err := os.ReadFile(record)
	must(t, err)
	must(t, os.WriteFile(record, []byte("{"), 0o644))
	c.until("the damage is seen", func() bool {
		var problems []string
		c.must("ListEnvironments", nil, new([]dict), &problems)
		return len(problems) == 1
	})
	c.karapace("build", c.manifest("other.toml", "other"), "--name", "other")
	if sig := c.change(); sig.Name != managerName+".EnvironmentAdded" {
		t.Errorf("beside one that cannot be read, a new one: %v", sig)
	}
	must(t, os.WriteFile(record, good, 0o644))
	c.karapace("destroy", "work")
	if gone := c.change(); gone.Name != managerName+".EnvironmentRemoved" || gone.Body[1] != "work" {
		t.Errorf("destroyed: %v", gone)
	}
}

// change is the next signal about an environment.
func (c *client) change() *dbus.Signal {
	c.t.Helper()
	return c.next("a change", func(s *dbus.Signal) bool { return strings.HasPrefix(s.Name, managerName+".Environment") })
}

// hold keeps builds of the tiny base from going on.
func (c *client) hold() *storage.Lock {
	c.t.Helper()
	all, err := filepath.Glob(c.path("store", "built", "*.lock"))
	if err != nil || len(all) != 1 {
		c.t.Fatal(all, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	l, err := storage.WaitLock(ctx, all[0], nil)
	must(c.t, err)
	c.t.Cleanup(l.Unlock)
	return l
}

// held begins a build that waits in its middle.
func (c *client) held(manifest string) dbus.ObjectPath {
	c.t.Helper()
	var job dbus.ObjectPath
	c.must("StartBuild", []any{manifest, dict{}}, &job)
	c.next("the build waits", func(s *dbus.Signal) bool {
		if s.Path != job || s.Name != jobName+".Progress" {
			return false
		}
		step, _ := s.Body[0].(string)
		return strings.HasPrefix(step, "wait for ")
	})
	return job
}

// A build that is cancelled ends with a name for that, and leaves nothing.
func TestCancel(t *testing.T) {
	c := newDesk(t, "").client()
	c.must("BuildNamedEnvironment", []any{c.path("karapace.toml"), "work"}, new(dict))
	lock := c.hold()
	defer lock.Unlock()
	job := c.held(c.manifest("other.toml", "other"))
	must(t, c.on(job, jobName+".Cancel", nil))
	if ok, name, message, _ := c.finished(job); ok || name != errorPrefix+cancelled || message == "" {
		t.Errorf("finished: %v %s %s", ok, name, message)
	}
	must(t, c.on(job, jobName+".Cancel", nil)) // again, which does nothing
	var all []dict
	c.must("ListEnvironments", nil, &all, new([]string))
	if len(all) != 1 {
		t.Errorf("there are %v", all)
	}
}

// A service that is killed in the middle of a build leaves nothing half; the bus starts another one.
func TestKilled(t *testing.T) {
	c := newDesk(t, "").client()
	c.must("BuildNamedEnvironment", []any{c.path("karapace.toml"), "work"}, new(dict))
	lock := c.hold()
	defer lock.Unlock()
	other := c.manifest("other.toml", "other")
	c.held(other)
	first := c.owner()
	must(t, syscall.Kill(int(first), syscall.SIGKILL))
	c.next("the service has gone", func(s *dbus.Signal) bool { return strings.HasSuffix(s.Name, ".NameOwnerChanged") && s.Body[2] == "" })
	var all []dict
	c.must("ListEnvironments", nil, &all, new([]string))
	if second := c.owner(); second == first || len(all) != 1 {
		t.Errorf("process %d after %d tells of %v", second, first, all)
	}
	lock.Unlock()
	c.must("BuildNamedEnvironment", []any{other, "other"}, new(dict))
	var report dict
	c.must("VerifyStore", nil, &report)
	if report["failed"].Value() != int64(0) {
		t.Errorf("the store: %v", report)
	}
}

// A service that is told to end cancels what it does and answers before.
func TestTerminated(t *testing.T) {
	c := newDesk(t, "").client()
	c.must("BuildNamedEnvironment", []any{c.path("karapace.toml"), "work"}, new(dict))
	lock := c.hold()
	defer lock.Unlock()
	job := c.held(c.manifest("other.toml", "other"))
	waiting := make(chan error, 1)
	go func() { waiting <- c.call("BuildEnvironment", []any{c.path("other.toml")}) }()
	c.next("the other build", func(s *dbus.Signal) bool { return s.Name == objectsName+".InterfacesAdded" && s.Body[0] != job })
	must(t, syscall.Kill(int(c.owner()), syscall.SIGTERM))
	if ok, name, _, _ := c.finished(job); ok || name != errorPrefix+cancelled {
		t.Errorf("finished: %v %s", ok, name)
	}
	c.refused(<-waiting, cancelled)
}

// With nothing to do the service ends, and no call is lost by that: also none that comes at that moment.
func TestIdle(t *testing.T) {
	d := newDesk(t, "--idle-timeout 1ms")
	c := d.client()
	var wg sync.WaitGroup
	for range 4 {
		c := d.client()
		wg.Go(func() {
			for range 40 {
				time.Sleep(time.Duration(rand.IntN(4000)) * time.Microsecond) // about as long as it takes to be idle
				if err := c.call("ListEnvironments", nil, new([]dict), new([]string)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for range 3 {
		d.until("the service ends", func() bool { return c.owner() == 0 })
		c.must("ListEnvironments", nil, new([]dict), new([]string))
	}
}

// A service that somebody wants to stay stays until they go, and one with a job until that ends.
func TestStays(t *testing.T) {
	d := newDesk(t, "--idle-timeout 50ms")
	c, other := d.client(), d.client()
	other.must("Subscribe", nil)
	first := c.owner()
	c.must("BuildNamedEnvironment", []any{c.path("karapace.toml"), "work"}, new(dict))
	lock := c.hold()
	defer lock.Unlock()
	job := c.held(c.manifest("other.toml", "other"))
	must(t, other.conn.Close())
	lock.Unlock()
	if ok, name, message, _ := c.finished(job); !ok {
		t.Errorf("finished: %s %s", name, message)
	}
	gone := c.next("the service has gone", func(s *dbus.Signal) bool { return strings.HasSuffix(s.Name, ".NameOwnerChanged") && s.Body[2] == "" })
	if gone == nil || first == 0 || alive(int(first)) && c.owner() == first {
		t.Errorf("process %d stays", first)
	}
}

// Programs of the desktop do not wait for each other, and get the same environment of the same manifest.
func TestConcurrent(t *testing.T) {
	d := newDesk(t, "")
	var mu sync.Mutex
	ids := map[string]int{}
	var wg sync.WaitGroup
	for range 6 {
		c := d.client()
		wg.Go(func() {
			var built dict
			if err := c.call("BuildEnvironment", []any{d.path("karapace.toml")}, &built); err != nil {
				t.Error(err)
				return
			}
			id, _ := built["env_id"].Value().(string)
			mu.Lock()
			ids[id]++
			mu.Unlock()
			if err := c.call("InspectEnvironment", []any{id}, new(dict)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(ids) != 1 {
		t.Errorf("the environments are %v", ids)
	}
}

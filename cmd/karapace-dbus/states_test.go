package main

import (
	"os"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/karapace/karapace/cmd/internal/testground"
)

// desktop is a client, and an environment called work.
func desktop(t *testing.T, flags string) *client {
	c := newDesk(t, flags).client()
	c.must("BuildNamedEnvironment", []any{c.path("karapace.toml"), "work"}, new(dict))
	return c
}

// States, and what they do not allow.
func TestStates(t *testing.T) {
	c := desktop(t, "")
	for _, step := range []struct{ method, state string }{
		{"FreezeEnvironment", "frozen"}, {"UnfreezeEnvironment", "built"}, {"ArchiveEnvironment", "archived"},
	} {
		var status dict
		c.must(step.method, []any{"work"}, &status)
		if status["state"].Value() != step.state {
			t.Errorf("after %s: %v", step.method, status)
		}
		changed := c.named(managerName + ".EnvironmentChanged")
		if changed.Body[1].(dict)["state"].Value() != step.state {
			t.Errorf("%s tells of %v", step.method, changed.Body)
		}
	}
	c.refused(c.call("DestroyEnvironment", []any{"work"}), wrongState)
	c.fails(wrongState, "StartCommit", "work", "")
	c.fails(wrongState, "StartCommand", "work", []string{"true"}, dict{})
	c.must("UnarchiveEnvironment", []any{"work"}, new(dict))
	c.succeeds("StartDestroy", "work", dict{"force": dbus.MakeVariant(true)})
	c.refused(c.call("FreezeEnvironment", []any{"work"}), notFound)
}

// Snapshots: made, listed, gone back to, removed.
func TestSnapshots(t *testing.T) {
	c := desktop(t, "")
	if code := c.succeeds("StartCommand", "work", []string{"sh", "-c", "echo one >/root/one"}, dict{"user": dbus.MakeVariant("0")})["exit_code"]; code.Value() != int64(0) {
		t.Errorf("exit code %v", code)
	}
	made := c.succeeds("StartCommit", "work", "the first")
	id, _ := made["snapshot"].Value().(string)
	var all []dict
	c.must("ListSnapshots", []any{"work"}, &all)
	if len(all) != 1 || all[0]["snapshot"].Value() != id || all[0]["message"].Value() != "the first" || all[0]["current"].Value() != true {
		t.Errorf("%v of %v", all, made)
	}
	var job dbus.ObjectPath
	c.refused(c.call("StartRestore", []any{"work", "", dict{}}, &job), invalidArgument)
	c.fails(notFound, "StartRestore", "work", "0123456789", dict{})
	if back := c.succeeds("StartRestore", "work", "built", dict{}); back["current_snapshot"].Value() != "" {
		t.Errorf("restored: %v", back)
	}
	c.succeeds("StartRemoveSnapshot", "work", id)
	c.must("ListSnapshots", []any{"work"}, &all)
	if len(all) != 0 {
		t.Errorf("left are %v", all)
	}
}

// A rebuild replaces what has the name. That a name is taken is told by the error's own name, though karapace-store finds out.
func TestRebuild(t *testing.T) {
	c := desktop(t, "")
	var before string
	c.must("GetEnvironmentHash", []any{"work"}, &before)
	other := c.manifest("other.toml", "other")
	c.refused(c.call("BuildNamedEnvironment", []any{other, "work"}), nameTaken)
	after := c.succeeds("StartRebuild", other, dict{"name": dbus.MakeVariant("work")})
	if after["env_id"].Value() == before || after["name"].Value() != "work" {
		t.Errorf("%v after %s", after, before)
	}
	var all []dict
	c.must("ListEnvironments", nil, &all, new([]string))
	if len(all) != 1 {
		t.Errorf("there are %v", all)
	}
	var report dict
	c.must("GarbageCollect", []any{true}, &report)
	if _, ok := report["bytes"].Value().(int64); !ok || report["dry_run"].Value() != true {
		t.Errorf("garbage: %v", report)
	}
}

// An environment goes to a registry and comes back from it.
func TestPushPull(t *testing.T) {
	c := desktop(t, "")
	must(t, os.Mkdir(c.path("registry"), 0o755))
	addr, stop, err := testground.ServeRegistry(c.path("registry"))
	must(t, err)
	defer stop()
	pushed := c.succeeds("StartPush", "work", addr+"/team/work:v1", dict{})
	if pushed["reference"].Value() != "oci://"+addr+"/team/work:v1" {
		t.Errorf("pushed: %v", pushed)
	}
	c.succeeds("StartDestroy", "work", dict{})
	pulled := c.succeeds("StartPull", addr+"/team/work:v1", dict{"name": dbus.MakeVariant("again")})
	if pulled["name"].Value() != "again" || pulled["env_id"].Value() != pushed["env_id"].Value() || pulled["created"].Value() != true {
		t.Errorf("pulled: %v", pulled)
	}
	c.fails(badRemote, "StartPull", addr+"/team/nothing:v1", dict{})
	var job dbus.ObjectPath
	c.refused(c.call("StartPull", []any{"", dict{}}, &job), invalidArgument)
	c.refused(c.call("StartPush", []any{"", addr + "/team/work:v1", dict{}}, &job), invalidArgument)
	c.refused(c.call("StartPull", []any{addr + "/team/work:v1", dict{"verify_keys": dbus.MakeVariant([]string{"key.pub"})}}, &job), invalidArgument)
}

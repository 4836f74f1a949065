package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/karapace/karapace/cmd/internal/engine"
	"github.com/karapace/karapace/cmd/internal/testground"
)

// A command runs as long as it likes, and the service with it; what may not be done meanwhile says so.
func TestCommand(t *testing.T) {
	c := desktop(t, "--idle-timeout 50ms")
	job := c.sleeping()
	c.refused(c.call("DestroyEnvironment", []any{"work"}), running)
	c.fails(running, "StartCommit", "work", "")
	service := c.owner()
	var stopped bool
	c.must("StopEnvironment", []any{"work", uint32(0)}, &stopped)
	if ok, name, message, result := c.finished(job); !ok || !stopped || result["exit_code"].Value() == int64(0) {
		t.Errorf("stopped %v, finished %v %s %s %v", stopped, ok, name, message, result)
	}
	if service == 0 || alive(int(service)) && c.owner() != service && c.owner() != 0 {
		t.Errorf("the service was %d and is %d", service, c.owner())
	}
	if code := c.succeeds("StartCommand", "work", []string{"sh", "-c", "exit $CODE"}, dict{"env": dbus.MakeVariant([]string{"CODE=7"})})["exit_code"]; code.Value() != int64(7) {
		t.Errorf("exit code %v", code)
	}
	var result dict
	c.must("RunEnvironment", []any{"work"}, &result)
	if result["exit_code"].Value() != int64(0) {
		t.Errorf("the shell: %v", result)
	}
	c.refused(c.call("StartCommand", []any{"work", []string{}, dict{}}, &job), invalidArgument)
	c.refused(c.call("StartCommand", []any{"work", []string{"true"}, dict{"env": dbus.MakeVariant([]string{"HOME"})}}, &job), invalidArgument)
}

// sleeping begins a command that does not end, and returns when it runs: one that is only about to begin gives way to whoever
// changes the environment.
func (c *client) sleeping() (job dbus.ObjectPath) {
	c.t.Helper()
	var id string
	c.must("GetEnvironmentHash", []any{"work"}, &id)
	c.must("StartCommand", []any{"work", []string{"sh", "-c", "echo >/var/up; exec sleep 1000"}, dict{"user": dbus.MakeVariant("0")}}, &job)
	c.until("the command runs", func() bool {
		_, err := os.Stat(c.path("store", "envs", id, "upper", "var", "up"))
		return err == nil
	})
	c.runs(true)
	return job
}

// runs waits until the environment called work runs, or does not.
func (c *client) runs(want bool) {
	c.t.Helper()
	c.until("the environment starts or ends", func() bool {
		var status dict
		c.must("GetEnvironmentStatus", []any{"work"}, &status)
		return status["running"].Value() == want
	})
}

// Cancelling a command ends it, and the environment with its last session.
func TestCommandCancelled(t *testing.T) {
	c := desktop(t, "")
	job := c.sleeping()
	must(t, c.on(job, jobName+".Cancel", nil))
	if ok, name, _, _ := c.finished(job); ok || name != errorPrefix+cancelled {
		t.Errorf("finished: %v %s", ok, name)
	}
	c.runs(false)
}

// screen keeps what a terminal was told.
type screen struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *screen) follow(f *os.File) {
	buf := make([]byte, 4096)
	for {
		n, err := f.Read(buf)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.text.Write(buf[:n])
		s.mu.Unlock()
	}
}

func (s *screen) has(what string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(s.text.String(), what)
}

// A session has the terminal that the caller gives it: a command, and a shell that is typed to.
func TestTerminal(t *testing.T) {
	c := desktop(t, "")
	for _, command := range [][]string{{"sh", "-c", "stty size; echo on $TERM; read x; echo got $x; exit 3"}, {}} {
		master, slave, err := testground.Terminal(31, 71)
		must(t, err)
		s := &screen{}
		go s.follow(master)
		var job dbus.ObjectPath
		c.must("StartInTerminal", []any{"work", command, dict{"term": dbus.MakeVariant("vt100")}, dbus.UnixFD(slave.Fd())}, &job)
		must(t, slave.Close())
		want := int64(3)
		if len(command) == 0 {
			master.WriteString("stty size; echo on $TERM; read x; echo got $x; exit 4\n")
			want = 4
		}
		c.until("the terminal shows its size and name", func() bool { return s.has("31 71") && s.has("on vt100") })
		master.WriteString("something\n")
		if ok, name, message, result := c.finished(job); !ok || result["exit_code"].Value() != want {
			t.Errorf("finished: %v %s %s %v", ok, name, message, result)
		}
		c.until("the terminal shows what was typed", func() bool { return s.has("got something") })
		must(t, master.Close())
	}
	null, err := os.Open(os.DevNull)
	must(t, err)
	defer null.Close()
	c.refused(c.call("StartInTerminal", []any{"work", []string{"true"}, dict{}, dbus.UnixFD(null.Fd())}), invalidArgument)
}

// What cannot begin is refused, so that who asked lets go of the terminal: no job does then.
func TestNotBegun(t *testing.T) {
	d := newDesk(t, "")
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", d.address)
	s, err := newService(filepath.Join(binaries, "karapace"), d.path("store"), 0)
	must(t, err)
	defer s.conn.Close()
	must(t, os.Mkdir(d.path("gone"), 0o755))
	t.Chdir(d.path("gone"))
	must(t, os.Remove(d.path("gone")))
	t.Setenv("PWD", "") // nor does anything say where this is
	_, refused := s.begin("exec", "", func(context.Context, *engine.Engine) (dict, error) { return nil, nil })
	if list := s.jobs.list(); refused == nil || len(list) != 0 {
		t.Errorf("refused: %v; there are the jobs %v", refused, list)
	}
}

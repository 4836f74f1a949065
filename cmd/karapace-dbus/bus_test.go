package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/karapace/karapace/cmd/internal/testground"
)

// soon is how long anything may take on a busy machine.
const soon = 90 * time.Second

// binaries is the directory of the programs under test.
var binaries string

func TestMain(m *testing.M) {
	dir, done, err := testground.Programs()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binaries = dir
	code := m.Run()
	done()
	os.Exit(code)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// desk is a session bus of its own that can start the service, a store, and a manifest.
type desk struct {
	t       *testing.T
	dir     string
	address string
}

// newDesk starts a bus whose services are started with flags.
func newDesk(t *testing.T, flags string) *desk {
	dir, err := os.MkdirTemp("", "kdbus")
	must(t, err)
	d := &desk{t: t, dir: dir}
	t.Cleanup(func() {
		if out, err := exec.Command(filepath.Join(binaries, "karapace"), "--store", d.path("store"), "destroy", "--all", "--force").CombinedOutput(); err != nil {
			t.Errorf("remove the store: %v: %s", err, out)
		}
		os.RemoveAll(dir)
	})
	must(t, testground.WriteTiny(d.path("tiny.tar")))
	d.manifest("karapace.toml", "")
	must(t, os.Mkdir(d.path("services"), 0o755))
	d.write("services/org.karapace.Manager1.service",
		"[D-BUS Service]\nName=org.karapace.Manager1\nExec="+strings.TrimSpace(filepath.Join(binaries, "karapace-dbus")+" "+flags)+"\n")
	d.write("bus.conf", `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path=`+d.path("bus")+`</listen><auth>EXTERNAL</auth><servicedir>`+d.path("services")+`</servicedir>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>
`)
	d.startBus()
	return d
}

func (d *desk) startBus() {
	d.t.Helper()
	daemon := exec.Command("dbus-daemon", "--config-file="+d.path("bus.conf"), "--nofork", "--print-address")
	daemon.Env, daemon.Stderr = d.env(), os.Stderr
	out, err := daemon.StdoutPipe()
	must(d.t, err)
	if err := daemon.Start(); err != nil {
		d.t.Fatalf("%v: hack/setup tests installs dbus-daemon", err)
	}
	d.t.Cleanup(func() {
		d.endService()
		daemon.Process.Kill()
		daemon.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	must(d.t, err)
	d.address = strings.TrimSpace(line)
}

func (d *desk) env() []string {
	env := []string{"KARAPACE_STORE=" + d.path("store"), "HOME=" + d.dir, "XDG_CONFIG_HOME=" + d.path("config")}
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "KARAPACE_STORE", "HOME", "XDG_CONFIG_HOME", "DBUS_SESSION_BUS_ADDRESS":
		default:
			env = append(env, kv)
		}
	}
	return env
}

func (d *desk) path(elem ...string) string { return filepath.Join(append([]string{d.dir}, elem...)...) }

func (d *desk) write(name, text string) {
	d.t.Helper()
	must(d.t, os.WriteFile(d.path(name), []byte(text), 0o644))
}

// manifest writes one of the tiny base; a value makes it another environment of the same layers.
func (d *desk) manifest(name, value string) string {
	d.t.Helper()
	text := "manifest_version = 1\n[base]\nimage = \"./tiny.tar\"\n"
	if value != "" {
		text += "[env]\nVALUE = \"" + value + "\"\n"
	}
	d.write(name, text)
	return d.path(name)
}

// karapace runs a command beside the service.
func (d *desk) karapace(args ...string) string {
	d.t.Helper()
	cmd := exec.Command(filepath.Join(binaries, "karapace"), args...)
	cmd.Env, cmd.Dir = d.env(), d.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		d.t.Fatalf("karapace %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// client is a program of the desktop.
type client struct {
	*desk
	conn    *dbus.Conn
	signals chan *dbus.Signal
}

func (d *desk) client() *client {
	d.t.Helper()
	conn, err := dbus.Connect(d.address)
	must(d.t, err)
	d.t.Cleanup(func() { conn.Close() })
	c := &client{d, conn, make(chan *dbus.Signal, 10_000)}
	conn.Signal(c.signals)
	must(d.t, conn.AddMatchSignal(dbus.WithMatchPathNamespace(managerPath)))
	must(d.t, conn.AddMatchSignal(dbus.WithMatchInterface("org.freedesktop.DBus"), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, managerName)))
	return c
}

// call calls a method of the manager and stores what it returns.
func (c *client) call(name string, args []any, results ...any) error {
	return c.on(managerPath, managerName+"."+name, args, results...)
}

func (c *client) on(path dbus.ObjectPath, name string, args []any, results ...any) error {
	call := c.conn.Object(managerName, path).Go(name, 0, make(chan *dbus.Call, 1), args...)
	select {
	case <-call.Done:
		return call.Store(results...)
	case <-time.After(soon):
		return errors.New(name + " is not answered")
	}
}

func (c *client) must(name string, args []any, results ...any) {
	c.t.Helper()
	if err := c.call(name, args, results...); err != nil {
		c.t.Fatalf("%s%v: %v", name, args, err)
	}
}

// refused checks the name of an error.
func (c *client) refused(err error, name string) {
	c.t.Helper()
	var e dbus.Error
	if !errors.As(err, &e) || e.Name != name && e.Name != errorPrefix+name {
		c.t.Errorf("the error is %#v, not %s", err, name)
	}
}

// next waits for a signal for which want is true.
func (c *client) next(what string, want func(*dbus.Signal) bool) *dbus.Signal {
	c.t.Helper()
	timeout := time.After(soon)
	for {
		select {
		case sig := <-c.signals:
			if want(sig) {
				return sig
			}
		case <-timeout:
			c.t.Fatalf("no signal: %s", what)
		}
	}
}

func (c *client) named(name string) *dbus.Signal {
	c.t.Helper()
	return c.next(name, func(s *dbus.Signal) bool { return s.Name == name })
}

// finished waits for the end of a job.
func (c *client) finished(job dbus.ObjectPath) (ok bool, name, message string, result dict) {
	c.t.Helper()
	sig := c.next("Finished of "+string(job), func(s *dbus.Signal) bool { return s.Path == job && s.Name == jobName+".Finished" })
	must(c.t, dbus.Store(sig.Body, &ok, &name, &message, &result))
	return ok, name, message, result
}

// succeeds begins a job, waits for its end, and gives its result.
func (c *client) succeeds(name string, args ...any) dict {
	c.t.Helper()
	var job dbus.ObjectPath
	c.must(name, args, &job)
	ok, fault, message, result := c.finished(job)
	if !ok {
		c.t.Fatalf("%s%v: %s: %s", name, args, fault, message)
	}
	return result
}

// fails begins a job and checks the name of the error it ends with.
func (c *client) fails(fault string, name string, args ...any) {
	c.t.Helper()
	var job dbus.ObjectPath
	c.must(name, args, &job)
	if ok, got, message, _ := c.finished(job); ok || got != errorPrefix+fault {
		c.t.Errorf("%s%v: %v, %s: %s, not %s", name, args, ok, got, message, fault)
	}
}

// owner is the process of the service; 0 when there is none.
func (c *client) owner() (pid uint32) {
	c.conn.BusObject().Call("org.freedesktop.DBus.GetConnectionUnixProcessID", 0, managerName).Store(&pid)
	return pid
}

// endService ends the service, if there is one, and waits for that.
func (d *desk) endService() {
	conn, err := dbus.Connect(d.address)
	if err != nil {
		return
	}
	defer conn.Close()
	var pid uint32
	if conn.BusObject().Call("org.freedesktop.DBus.GetConnectionUnixProcessID", 0, managerName).Store(&pid) != nil {
		return
	}
	process, err := os.FindProcess(int(pid))
	if err != nil {
		return
	}
	process.Signal(os.Interrupt)
	d.until("the service ends", func() bool { return !alive(int(pid)) })
}

// alive tells whether a process runs: it may be no child of this one.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func (d *desk) until(what string, f func() bool) {
	d.t.Helper()
	for end := time.Now().Add(soon); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			d.t.Fatalf("it takes too long until %s", what)
		}
	}
}

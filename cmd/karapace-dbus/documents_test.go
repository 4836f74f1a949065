package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
)

const document = "../../docs/dbus.md"

// Everything on the bus is in the documentation, and every error.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile(document)
	must(t, err)
	s := &service{}
	for _, f := range []face{s.manager(), s.jobFace()} {
		told := f.describe()
		for _, m := range told.Methods {
			var in, out []string
			for _, a := range m.Args {
				if a.Direction == "in" {
					in = append(in, a.Type+" "+a.Name)
				} else {
					out = append(out, a.Type+" "+a.Name)
				}
			}
			line := "`" + m.Name + "(" + strings.Join(in, ", ") + ")"
			if len(out) > 0 {
				line += " → " + strings.Join(out, ", ")
			}
			documented(t, text, line+"`")
		}
		for _, n := range told.Signals {
			var args []string
			for _, a := range n.Args {
				args = append(args, a.Type+" "+a.Name)
			}
			documented(t, text, "`"+n.Name+"("+strings.Join(args, ", ")+")`")
		}
		for _, p := range told.Properties {
			documented(t, text, "`"+p.Name+"` | "+p.Type)
		}
	}
	for _, name := range []string{notFound, ambiguous, invalidArgument, running, wrongState, nameTaken, cancelled, limitExceeded, accessDenied,
		failed, badManifest, badStore, badLock, badBackend, badRemote} {
		documented(t, text, "| `"+name+"` |")
	}
}

func documented(t *testing.T, text []byte, what string) {
	t.Helper()
	if !bytes.Contains(text, []byte(what)) {
		t.Errorf("%s has no %s", document, what)
	}
}

// The example of the documentation works word for word.
func TestExample(t *testing.T) {
	text, err := os.ReadFile(document)
	must(t, err)
	blocks := regexp.MustCompile("(?s)```sh\n(gdbus .*?)```").FindAllSubmatch(text, -1)
	if len(blocks) != 1 {
		t.Fatalf("%d examples", len(blocks))
	}
	d := newDesk(t, "")
	cmd := exec.Command("sh", "-ec", string(blocks[0][1]))
	cmd.Dir, cmd.Env = d.dir, append(d.env(), "DBUS_SESSION_BUS_ADDRESS="+d.address)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s; hack/setup tests installs gdbus", err, out)
	}
	for _, want := range []string{"(<uint32 1>,)", "'name': <'work'>", "org.karapace.Error.NotFound: there is no environment", "objectpath '/org/karapace/Manager1/jobs/"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("it does not say %s:\n%s", want, out)
		}
	}
}

// The files that are installed name what there is.
func TestServiceFiles(t *testing.T) {
	for file, lines := range map[string][]string{
		managerName + ".service": {"Name=" + managerName, "Exec=/usr/bin/karapace-dbus", "SystemdService=karapace-dbus.service"},
		"karapace-dbus.service":  {"Type=dbus", "BusName=" + managerName, "ExecStart=/usr/bin/karapace-dbus"},
	} {
		text, err := os.ReadFile(file)
		must(t, err)
		for _, line := range lines {
			if !strings.Contains(string(text), "\n"+line+"\n") {
				t.Errorf("%s has no line %s", file, line)
			}
		}
	}
	if !dbus.ObjectPath(managerPath).IsValid() || filepath.Base(string(managerPath)) != "Manager1" {
		t.Errorf("%s is no path", managerPath)
	}
}

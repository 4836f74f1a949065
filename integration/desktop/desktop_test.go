package desktop

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func hostEntry(t *testing.T, text string) string {
	t.Helper()
	e, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	out, err := e.ForHost(Host{
		Owner: Owner{Env: "aa", Store: "/s", App: "org.x"}, Suffix: " (dev)", Icon: "karapace-x",
		Command: []string{"/opt/my karapace", "exec", "aa"}, Tty: []string{"-t"}, Cwd: []string{"-w"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

const full = `# comment
[Desktop Entry]
Type=Application
Name=Editor
Name[de]=Bearbeiter
Comment=Edits
Exec=editor --title "a $HOME \\"q\\" 100%%" --open=%f %i
TryExec=editor
Icon=editor
DBusActivatable=true
MimeType=text/plain;bad type;x/y;image/png
Categories=Utility;
Terminal=true
Path=/srv/a b
Actions=new;gone;
X-Evil=1

[Desktop Action new]
Name=New
Exec=editor --new %U
`

func TestForHost(t *testing.T) {
	got := hostEntry(t, full)
	want := `[Desktop Entry]
Type=Application
Name=Editor (dev)
Name[de]=Bearbeiter (dev)
Comment=Edits
MimeType=text/plain;image/png;
Categories=Utility;
Terminal=true
StartupWMClass=org.x
Icon=karapace-x
Exec="/opt/my karapace" exec aa -t -w "/srv/a b" -- editor --title "a \\$HOME \\"q\\" 100%%" --open=%f %i
DBusActivatable=false
X-Karapace-Env=aa
X-Karapace-Store=/s
X-Karapace-App=org.x
Actions=new;

[Desktop Action new]
Name=New
Exec="/opt/my karapace" exec aa -t -w "/srv/a b" -- editor --new %U
`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	owner, icon, ok := ReadOwner([]byte(got))
	if !ok || owner != (Owner{Env: "aa", Store: "/s", App: "org.x"}) || icon != "karapace-x" {
		t.Errorf("owner %+v %q %v", owner, icon, ok)
	}
	validate(t, got)
}

// validate asks the reference implementation, where it is.
func validate(t *testing.T, text string) {
	t.Helper()
	program, err := exec.LookPath("desktop-file-validate")
	if err != nil {
		t.Log("no desktop-file-validate here: only the exact text is compared")
		return
	}
	file := filepath.Join(t.TempDir(), "x.desktop")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(program, "--no-hints", file).CombinedOutput(); err != nil || strings.Contains(string(out), "error") {
		t.Errorf("desktop-file-validate: %s", out)
	}
}

// What is hostile is refused, or comes out as one harmless argument behind Karapace's own.
func TestHostile(t *testing.T) {
	head := "[Desktop Entry]\nType=Application\nName=x\n"
	for _, text := range []string{
		"", "Exec=x\n", "[Desktop Entry\n", head + "Exec=a\n[Desktop Entry]\nExec=b\n", head + "Exec=a\nExec=b\n",
		head + "Exec=a\x00b\n", head + "Exec=a\rb\n", head + "Name[\n", head + "Na me=x\n", head + "Comment=a\u202eb\n", head + "Comment=\xff\n", head + "Comment=a\u2028b\n",
		head + "Comment=" + strings.Repeat("x", Limit),
	} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("accepted %.60q", text)
		}
	}
	for _, command := range []string{`a\nb`, `a\rX-Foo=1`, `"a`, `'a`, `%f`, `a %`, `a %z`, `a "%f"`, `a x%F`, `a %fx`, `""`, `a "b "c%f`} {
		e, err := Parse([]byte(head + "Exec=" + command + "\n"))
		if err != nil {
			continue
		}
		if out, err := e.ForHost(Host{Owner: Owner{Env: "a", Store: "/s", App: "x"}, Command: []string{"k"}}); err == nil {
			t.Errorf("accepted the command %s:\n%s", command, out)
		}
	}
	for command, want := range map[string]string{
		`sh -c 'rm; $(x) && y'`: `k -- sh -c "rm; \\$(x) && y"`,
		`a;rm -rf ~`:            `k -- "a;rm" -rf "~"`,
		"a `id` > /x":           "k -- a \"\\\\`id\\\\`\" \">\" /x",
		`a %k %c %D`:            `k -- a %c`,
		`a "" b`:                `k -- a "" b`,
		`-- --store x`:          `k -- -- --store x`,
	} {
		e, err := Parse([]byte(head + "Exec=" + command + "\n"))
		if err != nil {
			t.Fatal(err)
		}
		out, err := e.ForHost(Host{Owner: Owner{Env: "a", Store: "/s", App: "x"}, Command: []string{"k"}})
		if err != nil || !strings.Contains(string(out), "\nExec="+want+"\n") {
			t.Errorf("%s: %v, want %s in\n%s", command, err, want, out)
		}
	}
	for _, h := range []Host{{Owner: Owner{Store: "/s\nExec=x"}}, {Suffix: "\n"}, {Command: []string{"a\nb"}}} {
		e, err := Parse([]byte(head + "Exec=a\n"))
		if err != nil {
			t.Fatal(err)
		}
		if out, err := e.ForHost(h); err == nil {
			t.Errorf("accepted %+v:\n%s", h, out)
		}
	}
}

// What the parser accepts comes out as an entry that it accepts again, with as many groups and one command each.
func FuzzForHost(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte("[Desktop Entry]\nType=Application\nName=x\\n\nExec=a 'b' %U\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := Parse(text)
		if err != nil {
			return
		}
		out, err := e.ForHost(Host{Owner: Owner{Env: "a", Store: "/s", App: "x"}, Command: []string{"/k"}})
		if err != nil {
			return
		}
		again, err := Parse(out)
		if err != nil {
			t.Fatalf("%v in\n%s", err, out)
		}
		for name, g := range again.groups {
			if x := g.values["Exec"]; !strings.HasPrefix(x, "/k ") || !strings.Contains(x, " -- ") {
				t.Errorf("[%s] runs %q", name, g.values["Exec"])
			}
		}
	})
}

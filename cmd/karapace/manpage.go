package main

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// manPage is a page in the language mdoc(7).
type manPage struct{ strings.Builder }

func newManPage(name, about string) *manPage {
	m := new(manPage)
	m.macro("Dd", manDate)
	m.macro("Dt", strings.ToUpper(name)+" 1")
	m.macro("Os", "Karapace")
	m.section("NAME")
	m.macro("Nm", name)
	m.macro("Nd", escaped(about))
	return m
}

func (m *manPage) macro(name string, args ...string) {
	m.WriteString(strings.TrimRight("."+name+" "+strings.Join(args, " "), " ") + "\n")
}

func (m *manPage) section(name string) { m.macro("Sh", name) }

// text writes a paragraph: sentences end lines, and long ones have several.
func (m *manPage) text(s string) {
	const width = 78
	column := 0
	for _, word := range strings.Fields(s) {
		word = escaped(word)
		switch {
		case column == 0:
		case column+1+len(word) > width:
			m.WriteByte('\n')
			column = 0
		default:
			m.WriteByte(' ')
			column++
		}
		if column == 0 && strings.ContainsRune(".'", rune(word[0])) {
			word = `\&` + word
		}
		m.WriteString(word)
		if column += len(word); strings.HasSuffix(word, ".") {
			m.WriteByte('\n')
			column = 0
		}
	}
	if column > 0 {
		m.WriteByte('\n')
	}
}

// items writes a list of terms, each with a text. A term is a macro with its arguments.
func (m *manPage) items(terms, texts []string) {
	m.macro("Bl", "-tag", "-width Ds")
	for i, term := range terms {
		m.macro("It", term)
		m.text(texts[i])
	}
	m.macro("El")
}

func (m *manPage) flags(flags []cli.Flag) {
	var terms, texts []string
	for _, f := range flags {
		first, others := names(f)
		d, ok := f.(cli.DocGenerationFlag)
		if !ok || first == "help" {
			continue
		}
		term := ""
		for _, name := range append([]string{first}, others...) {
			if term != "" {
				term += " , "
			}
			term += "Fl " + strings.Repeat(`\-`, min(len(name), 2)-1) + escaped(name)
		}
		about := strings.ReplaceAll(d.GetUsage(), "`", "")
		if d.TakesValue() {
			term += " Ar value"
			if def := d.GetDefaultText(); def != "" && def != `""` {
				about += " (" + def + ")"
			}
		}
		terms, texts = append(terms, term), append(texts, capital(about)+".")
	}
	m.items(terms, texts)
}

// escaped keeps a text from being taken for macros, escapes, or typographic signs.
func escaped(s string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "~", `\(ti`, "^", `\(ha`, "`", "\\`").Replace(s)
}

// capital begins a sentence, unless the first word is one of several that stand for themselves.
func capital(s string) string {
	if word, _, _ := strings.Cut(s, " "); strings.HasSuffix(word, ",") {
		return s
	}
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func commandPage(c *cli.Command) string {
	m := newManPage("karapace-"+c.Name, c.Usage)
	m.section("SYNOPSIS")
	m.macro("Nm", "karapace "+c.Name)
	m.macro("Op", "Ar options")
	if c.ArgsUsage != "" {
		m.text(c.ArgsUsage)
	}
	m.section("DESCRIPTION")
	m.text(capital(c.Usage) + ". " + c.Description)
	if len(c.Flags) > 0 {
		m.macro("Pp")
		m.text("The options are as follows; those of")
		m.macro("Xr", "karapace 1")
		m.text("are valid too.")
		m.flags(c.Flags)
	}
	m.section("EXIT STATUS")
	m.text("See")
	m.macro("Xr", "karapace 1 .")
	m.section("SEE ALSO")
	m.macro("Xr", "karapace 1 ,")
	m.macro("Xr", "karapace.lock 5 ,")
	m.macro("Xr", "karapace.toml 5")
	return m.String()
}

// mainPage is karapace(1).
func (p *program) mainPage() string {
	app := p.app()
	m := newManPage("karapace", app.Usage)
	m.section("SYNOPSIS")
	m.macro("Nm", "karapace")
	m.macro("Op", "Ar options")
	m.macro("Ar", "command")
	m.macro("Op", "Ar argument ...")
	m.section("DESCRIPTION")
	m.text("Karapace resolves a manifest once to a lock that names every byte by digest, builds it into content-addressed layers, and runs it without a daemon and without root. " +
		"Options may stand before and after arguments; -- ends them. ENV is a name, a full id or a unique prefix of one; where it may be left out, the karapace.lock in this directory or above names it.")
	m.macro("Pp")
	m.text("The commands are:")
	var terms, texts []string
	for _, c := range p.commands() {
		terms, texts = append(terms, "Xr karapace-"+c.Name+" 1"), append(texts, capital(c.Usage)+".")
	}
	m.items(terms, texts)
	m.macro("Pp")
	m.text("Options of all commands:")
	m.flags(app.Flags)
	m.section("ENVIRONMENT")
	m.items([]string{"Ev KARAPACE_STORE", "Ev KARAPACE_BACKEND_PATH", "Ev KARAPACE_LOG", "Ev KARAPACE_IMAGE_SERVER", "Ev KARAPACE_OVERLAY", "Ev NO_COLOR"}, []string{
		"The directory of the store.", "Directories in which crun, runc and youki are looked for first.", "Set to trace: tell everything.",
		"Image servers that names of distributions are looked up at.", "Set to fuse: fuse-overlayfs instead of the kernel's overlay.", "No colours.",
	})
	m.macro("Pp")
	m.text("Inside an environment KARAPACE_ENV and CONTAINER_ID are its name, and container is karapace.")
	m.section("FILES")
	m.items([]string{"Pa \\(ti/.local/share/karapace", "Pa \\(ti/.config/karapace/config.toml", "Pa karapace.toml", "Pa karapace.lock"}, []string{
		"The store of a user; root's is /var/lib/karapace.", "Defaults of the user.", "The manifest.", "The lock beside it.",
	})
	m.section("EXIT STATUS")
	codes := [][2]string{
		{"0", "Success."}, {"1", "General failure."}, {"2", "The manifest, or the base image it names, is wrong."},
		{"3", "The store is damaged, of another version, or on a full disk."}, {"4", "The lock is stale or altered, or what was built is not what it promises."},
		{"5", "A backend or a prerequisite is missing."}, {"6", "A server, a signature, or the network."}, {"64", "The command line is wrong."}, {"130", "Interrupted; the store is as it was."},
	}
	terms, texts = nil, nil
	for _, c := range codes {
		terms, texts = append(terms, c[0]), append(texts, c[1])
	}
	m.items(terms, texts)
	m.macro("Pp")
	m.text("Commands that run one inside give that one's status, 128+N if it died of signal N, 125 if Karapace failed, 126 if it cannot be executed, 127 if it is not there.")
	m.section("SEE ALSO")
	m.macro("Xr", "karapace.lock 5 ,")
	m.macro("Xr", "karapace.toml 5")
	return m.String()
}

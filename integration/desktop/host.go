package desktop

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"
)

// Keys of the host's entries that say whose they are.
const (
	envKey   = "X-Karapace-Env"
	storeKey = "X-Karapace-Store"
	appKey   = "X-Karapace-App"
)

// Owner is whose an entry on the host is.
type Owner struct {
	Env   string // full id
	Store string // directory
	App   string // desktop file id inside, without .desktop
}

// Host is what an entry of the host has beside what its environment says.
type Host struct {
	Owner
	Suffix  string   // behind names, so that people see where a program runs
	Icon    string   // name of the icon on the host; empty is none
	Command []string // that runs what follows in the environment
	Tty     []string // added to it for programs that want a terminal
	Cwd     []string // added to it, before the directory, for programs that want one
}

var (
	mimeForm     = pattern(`^(application|audio|font|image|inode|message|model|multipart|text|video|x-content|x-epoc|x-scheme-handler)/[A-Za-z0-9!#$&^_.+*-]+$`)
	categoryForm = pattern(`^[A-Za-z0-9_. -]+$`)
)

// kinds of values, by the keys that are copied.
func kind(key string) string {
	switch key {
	case "GenericName", "Comment":
		return "text"
	case "Keywords":
		return "list"
	case "Categories", "OnlyShowIn", "NotShowIn":
		return "names"
	case "MimeType":
		return "types"
	case "Terminal", "StartupNotify", "NoDisplay", "PrefersNonDefaultGPU":
		return "boolean"
	}
	return ""
}

// ForHost writes the entry with which the host starts the application in its environment.
func (e *Entry) ForHost(h Host) ([]byte, error) {
	if !e.Application() {
		return nil, errors.New("it starts no program")
	}
	for _, s := range []string{h.Env, h.Store, h.App, h.Suffix, h.Icon} {
		if hasControl(s) {
			return nil, fmt.Errorf("%q cannot stand in a desktop entry", s)
		}
	}
	main := e.groups[mainGroup]
	command, err := e.command(main, h)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "[%s]\nType=Application\n", mainGroup)
	names(&b, main, h.Suffix)
	for _, key := range main.keys {
		if key == "NotShowIn" && main.values["OnlyShowIn"] != "" {
			continue // only one of them may be there
		}
		base, _, localized := strings.Cut(key, "[")
		k := kind(base)
		if value, ok := checked(k, main.values[key]); ok && (!localized || k == "text" || k == "list") {
			line(&b, key, value)
		}
	}
	wm := main.values["StartupWMClass"]
	if wm == "" {
		wm = h.App // desktops that find none look for the entry's own name, which is another here
	}
	line(&b, "StartupWMClass", wm)
	if h.Icon != "" {
		line(&b, "Icon", escape(h.Icon))
	}
	line(&b, "Exec", command)
	line(&b, "DBusActivatable", "false")
	line(&b, envKey, escape(h.Env))
	line(&b, storeKey, escape(h.Store))
	line(&b, appKey, escape(h.App))
	b.WriteString(e.hostActions(h))
	return []byte(b.String()), nil
}

// hostActions writes the additional actions; those whose command cannot be understood are left out.
func (e *Entry) hostActions(h Host) string {
	var b strings.Builder
	var listed []string
	for _, name := range e.actions() {
		g := e.groups[actionGroup+name]
		command, err := e.command(g, h)
		if err != nil {
			continue
		}
		listed = append(listed, name)
		fmt.Fprintf(&b, "\n[%s%s]\n", actionGroup, name)
		names(&b, g, "")
		line(&b, "Exec", command)
	}
	if len(listed) == 0 {
		return ""
	}
	return "Actions=" + strings.Join(listed, ";") + ";\n" + b.String()
}

// command is the Exec of a group behind the host's command.
func (e *Entry) command(g *group, h Host) (string, error) {
	args, err := parseExec(g.values["Exec"])
	if err != nil {
		return "", fmt.Errorf("its Exec: %w", err)
	}
	before := append([]string{}, h.Command...)
	if e.value("Terminal") == "true" {
		before = append(before, h.Tty...)
	}
	if dir := unescape(e.value("Path")); path.IsAbs(dir) && !hasControl(dir) {
		before = append(append(before, h.Cwd...), dir)
	}
	all := make([]argument, 0, len(before)+1+len(args))
	for _, a := range append(before, "--") {
		if hasControl(a) {
			return "", fmt.Errorf("%q cannot stand in a desktop entry", a)
		}
		all = append(all, argument{text: a})
	}
	return formatExec(append(all, args...))
}

func names(b *strings.Builder, g *group, suffix string) {
	for _, key := range g.keys {
		if key == "Name" || strings.HasPrefix(key, "Name[") {
			line(b, key, g.values[key]+strings.ReplaceAll(suffix, `\`, `\\`))
		}
	}
}

// checked is a value as far as it is one of its kind.
func checked(kind, value string) (string, bool) {
	var form *regexp.Regexp
	switch kind {
	case "text":
		return value, value != ""
	case "list":
		return strings.TrimSuffix(value, ";") + ";", value != ""
	case "boolean":
		return value, value == "true" || value == "false"
	case "names":
		form = categoryForm()
	case "types":
		form = mimeForm()
	default:
		return "", false
	}
	var kept strings.Builder
	for one := range strings.SplitSeq(value, ";") {
		if form.MatchString(one) {
			kept.WriteString(one + ";")
		}
	}
	return kept.String(), kept.Len() > 0
}

func line(b *strings.Builder, key, value string) { b.WriteString(key + "=" + value + "\n") }

// ReadOwner says whose an entry of the host is, and its icon; ok is false for one that Karapace has not written.
func ReadOwner(text []byte) (o Owner, icon string, ok bool) {
	e, err := Parse(text)
	if err != nil {
		return Owner{}, "", false
	}
	o = Owner{Env: unescape(e.value(envKey)), Store: unescape(e.value(storeKey)), App: unescape(e.value(appKey))}
	return o, e.Icon(), o.Env != "" && o.Store != "" && o.App != ""
}

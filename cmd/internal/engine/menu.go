package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/integration/desktop"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
)

// Files of the host's menu that environments own. Their names begin with karapace- and the environment's short id, and each
// entry and wrapper says in itself whose it is: there is no other record of them.

var (
	programForm = pattern(`^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,127}$`)
	noIconForm  = pattern(`[^A-Za-z0-9_.-]+`)
	ourIcon     = pattern(`^karapace-[0-9a-f]{12}-[A-Za-z0-9_.-]{1,128}$`)
)

// pattern is a regular expression that is compiled when it is needed: every command would pay for it.
func pattern(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}

// menu is where the user's entries, icons and programs are.
type menu struct {
	data, bin string // $XDG_DATA_HOME; ~/.local/bin
	program   string // karapace
	store     string
}

func (e *Engine) menu(s *storage.Store) menu {
	data := e.Getenv("XDG_DATA_HOME")
	if !filepath.IsAbs(data) {
		data = filepath.Join(e.User.Home, ".local", "share")
	}
	return menu{data: data, bin: filepath.Join(e.User.Home, ".local", "bin"), program: e.Program, store: s.Root()}
}

// export is one entry or wrapper of this store that is there.
type export struct {
	desktop.Owner
	program    bool
	path, icon string
}

func (x export) app(title string) App {
	kind := "menu"
	if x.program {
		kind = "program"
	}
	return App{App: x.App, Name: x.App, Kind: kind, EnvID: x.Env, Env: title, Exported: x.path}
}

func (m menu) entries() string { return filepath.Join(m.data, "applications") }

// exported lists what environments of this store own.
func (m menu) exported() (list []export) {
	found, _ := storage.Glob(m.entries(), "karapace-*.desktop")
	for _, file := range found {
		if x, ok := m.owned(file); ok {
			list = append(list, x)
		}
	}
	programs, _ := names(m.bin)
	for _, n := range programs {
		if x, ok := m.ownedProgram(filepath.Join(m.bin, n)); ok {
			list = append(list, x)
		}
	}
	return list
}

func (m menu) owned(file string) (export, bool) {
	text, err := readPlain(file, desktop.Limit)
	if err != nil {
		return export{}, false
	}
	o, icon, ok := desktop.ReadOwner(text)
	return export{Owner: o, path: file, icon: icon}, ok && o.Store == m.store
}

// command runs what follows in an environment, with nothing but an absolute path and the store's, since menus have no PATH
// and no variables.
func (m menu) command(r *storage.Record) []string {
	return []string{m.program, "--store", m.store, "exec", string(r.EnvID)}
}

// put writes the entry and the icons of an application.
func (m menu) put(r *storage.Record, a wire.App) (string, error) {
	entry, err := desktop.Parse(a.Text)
	if err != nil {
		return "", err
	}
	prefix := "karapace-" + r.EnvID.Short() + "-"
	h := desktop.Host{
		Owner:  desktop.Owner{Env: string(r.EnvID), Store: m.store, App: a.ID},
		Suffix: " (" + displayName(r) + ")", Command: m.command(r), Tty: []string{"-t"}, Cwd: []string{"-w"},
	}
	if len(a.Icons) > 0 {
		name := noIconForm().ReplaceAllString(a.ID, "_")
		h.Icon = prefix + name
	}
	text, err := entry.ForHost(h)
	if err != nil {
		return "", err
	}
	file := filepath.Join(m.entries(), prefix+a.ID+".desktop")
	if err := m.free(file, func() bool { x, ok := m.owned(file); return ok && x.Owner == h.Owner }); err != nil {
		return "", err
	}
	m.removeIcons(h.Icon)
	for _, i := range a.Icons {
		if err := m.putIcon(h.Icon, i); err != nil {
			return "", err
		}
	}
	return file, writeOwn(file, text, 0o644)
}

func (m menu) putIcon(name string, i wire.Icon) error {
	file := filepath.Join(m.data, "icons", "hicolor", i.Size, "apps", name+"."+i.Ext)
	if err := m.free(file, func() bool { return false }); err != nil {
		return err
	}
	return writeOwn(file, i.Data, 0o644)
}

// free refuses a file that is there and not ours.
func (m menu) free(file string, ours func() bool) error {
	_, err := os.Lstat(file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && ours() {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("%s is there already, and is not this environment's: move it away first", file)
	}
	return err
}

func writeOwn(file string, data []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return storage.WriteDocument(file, data, mode)
}

// remove takes an entry or a wrapper away, an entry's icons too. One that is no longer what it was stays.
func (m menu) remove(x export) error {
	again, ok := m.owned(x.path)
	if x.program {
		again, ok = m.ownedProgram(x.path)
	}
	if !ok || again.Owner != x.Owner {
		return nil
	}
	if err := os.Remove(x.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if strings.HasPrefix(x.icon, "karapace-"+manifest.EnvID(x.Env).Short()+"-") {
		m.removeIcons(x.icon)
	}
	return nil
}

// removeIcons removes the icons of one of our names.
func (m menu) removeIcons(name string) {
	if !ourIcon().MatchString(name) {
		return
	}
	for _, ext := range []string{".png", ".svg"} {
		found, _ := storage.Glob(m.data, "icons/hicolor/*/apps/"+name+ext)
		for _, file := range found {
			if info, err := os.Lstat(file); err == nil && info.Mode().IsRegular() {
				os.Remove(file)
			}
		}
	}
}

// refreshTime is how long a program of the host's may take to renew what it caches.
const refreshTime = 10 * time.Second

// refresh has the host's programs renew what they cache. Menus work without, so that what is missing or fails is of no consequence.
func (m menu) refresh(ctx context.Context) {
	ctx, stop := context.WithTimeout(ctx, refreshTime)
	defer stop()
	for _, argv := range [][]string{{"update-desktop-database", "-q", m.entries()}, {"gtk-update-icon-cache", "-q", "-t", "-f", filepath.Join(m.data, "icons", "hicolor")}} {
		program := systemProgram(argv[0])
		if _, err := os.Stat(argv[len(argv)-1]); err == nil && program != "" {
			cmd := exec.CommandContext(ctx, program, argv[1:]...)
			cmd.Env = []string{"PATH=" + systemPath}
			cmd.Run()
		}
	}
}

// systemPath is where programs are that Karapace starts by itself. The user's own PATH may begin with directories that environments write to.
const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin"

// systemProgram finds a program of the system's; "" when it has none.
func systemProgram(name string) string {
	for _, dir := range filepath.SplitList(systemPath) {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	return ""
}

// readPlain reads a file that is no link.
func readPlain(file string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fmt.Errorf("%s is not a small regular file", file)
	}
	b := make([]byte, info.Size())
	n, err := f.ReadAt(b, 0)
	if n == len(b) {
		err = nil
	}
	return b[:n], err
}

package nsproc

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/backends/internal/rawproc"
)

// Beneath is how every path of a root file system is looked up.
const Beneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS

// Inside follows symbolic links as if the root file system were the root already.
const Inside = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS

// optionsSize is how long mount(2) lets options be: a page with its NUL.
const optionsSize = 4095

// InitialUserNS says whether the caller is in the initial user namespace.
func InitialUserNS() bool {
	data, err := os.ReadFile("/proc/self/uid_map")
	f := strings.Fields(string(data))
	return err == nil && len(f) == 3 && f[0] == "0" && f[1] == "0" && f[2] == "4294967295"
}

// Root is a root file system that is known to be mountable.
type Root struct {
	fs           *backends.Rootfs
	dir, options string // of an overlay
}

// NewRoot prepares a root file system.
func NewRoot(fs *backends.Rootfs, initial bool) (*Root, error) {
	r := &Root{fs: fs}
	if fs.Dir != "" || len(fs.Lower) == 1 && fs.Upper == "" {
		return r, nil
	}
	var err error
	r.dir, r.options, err = overlay(fs, initial)
	return r, err
}

// Mount mounts the root file system on target, an absolute path, and opens it.
func (r *Root) Mount(p *rawproc.Program, target string) rawproc.Reg {
	switch {
	case r.fs.Dir != "":
		bindRoot(p, r.fs.Dir, target, false)
	case r.dir == "":
		bindRoot(p, r.fs.Lower[0], target, true)
	default:
		r.forget(p)
		if upper := r.fs.Upper; r.fs.NewUpper { // itself, since the kernel mounts the overlay read-only when the disk is full
			p.Call("chown "+upper, unix.SYS_FCHOWNAT, rawproc.Int(unix.AT_FDCWD), rawproc.Str(upper), rawproc.Int(0), rawproc.Int(0), rawproc.Int(unix.AT_SYMLINK_NOFOLLOW))
			p.Call("chmod "+upper, unix.SYS_FCHMODAT, rawproc.Int(unix.AT_FDCWD), rawproc.Str(upper), rawproc.Int(0o755))
		}
		p.Call("change directory to "+r.dir, unix.SYS_CHDIR, rawproc.Str(r.dir))
		p.Call("mount overlay", unix.SYS_MOUNT, rawproc.Str("overlay"), rawproc.Str(target), rawproc.Str("overlay"), rawproc.Int(0), rawproc.Str(r.options))
	}
	root := p.Reg()
	p.Call("open the root", unix.SYS_OPENAT, rawproc.Int(unix.AT_FDCWD), rawproc.Str(target), rawproc.Int(unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC), rawproc.Int(0)).Into(root)
	return root
}

// forget removes the mark by which the kernel refuses to mount a volatile overlay again (Documentation/filesystems/overlayfs.rst, "Volatile
// mount"): a start that failed has left it, when the machine has not crashed since, and only a new start comes by here.
func (r *Root) forget(p *rawproc.Program) {
	if !r.fs.Volatile || r.fs.Upper == "" {
		return
	}
	mark := path.Join(r.fs.Work, "work", "incompat", "volatile")
	p.Call("forget the last mount", unix.SYS_UNLINKAT, rawproc.Int(unix.AT_FDCWD), rawproc.Str(path.Join(mark, "dirty")), rawproc.Int(0)).AllowAny()
	p.Call("forget the last mount", unix.SYS_UNLINKAT, rawproc.Int(unix.AT_FDCWD), rawproc.Str(mark), rawproc.Int(unix.AT_REMOVEDIR)).AllowAny()
}

func bindRoot(p *rawproc.Program, dir, target string, readonly bool) {
	p.Call("bind "+dir, unix.SYS_MOUNT, rawproc.Str(dir), rawproc.Str(target), rawproc.Int(0), rawproc.Int(unix.MS_BIND|unix.MS_REC), rawproc.Int(0))
	if readonly {
		p.Call("make the root read-only", unix.SYS_MOUNT_SETATTR, rawproc.Int(unix.AT_FDCWD), rawproc.Str(target), rawproc.Int(0),
			rawproc.Value(&unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}), rawproc.Int(unix.MOUNT_ATTR_SIZE_VER0))
	}
}

// maxLowers is how many lower layers the kernel takes (OVL_MAX_STACK).
const maxLowers = 500

// overlay gives an overlay's mount options, with paths relative to the directory that all its layers have in common or,
// where that makes them too long, to the one the topmost of many lies in.
func overlay(fs *backends.Rootfs, initial bool) (dir, options string, err error) {
	if len(fs.Lower) == 0 {
		return "", "", errors.New("mount overlay: the root file system has no layers")
	}
	all := append([]string(nil), fs.Lower...)
	if fs.Upper != "" {
		all = append(all, fs.Upper, fs.Work)
	}
	if dir, err = commonDir(all); err != nil {
		return "", "", err
	}
	if options = optionsFrom(dir, fs, initial); len(options) > optionsSize {
		dir = path.Dir(path.Clean(fs.Lower[0]))
		options = optionsFrom(dir, fs, initial)
	}
	if len(options) > optionsSize || len(fs.Lower) > maxLowers {
		return "", "", &backends.Error{Kind: backends.Failed, Op: "mount overlay",
			Err:  fmt.Errorf("%d layers need %d bytes of mount options and the kernel takes %d, for %d layers", len(fs.Lower), len(options), optionsSize, maxLowers),
			Hint: "flatten the base image, or build the environment in fewer layers"}
	}
	return dir, options, nil
}

// optionsFrom gives the options with paths relative to dir.
func optionsFrom(dir string, fs *backends.Rootfs, initial bool) string {
	var b strings.Builder
	b.WriteString("lowerdir=")
	for i, l := range fs.Lower {
		if i > 0 {
			b.WriteByte(':')
		}
		b.WriteString(escape(relative(dir, l)))
	}
	if fs.Upper != "" {
		b.WriteString(",upperdir=" + escape(relative(dir, fs.Upper)) + ",workdir=" + escape(relative(dir, fs.Work)))
	}
	b.WriteString(",index=off,xino=off")
	if initial {
		b.WriteString(",redirect_dir=off,metacopy=off")
	} else {
		b.WriteString(",userxattr")
	}
	if fs.Volatile && fs.Upper != "" {
		b.WriteString(",volatile")
	}
	return b.String()
}

// relative gives the way from dir to p, both absolute.
func relative(dir, p string) string {
	p = path.Clean(p)
	up := ""
	for dir != "/" && !strings.HasPrefix(p, dir+"/") {
		dir, up = path.Dir(dir), up+"../"
	}
	return up + strings.TrimPrefix(strings.TrimPrefix(p, dir), "/")
}

// commonDir is the deepest directory that is above all paths.
func commonDir(paths []string) (string, error) {
	var dir string
	for i, p := range paths {
		if !path.IsAbs(p) {
			return "", fmt.Errorf("mount overlay: %q is not an absolute path", p)
		}
		parent := path.Dir(path.Clean(p))
		if i == 0 {
			dir = parent
		}
		for dir != "/" && parent != dir && !strings.HasPrefix(parent, dir+"/") {
			dir = path.Dir(dir)
		}
	}
	return dir, nil
}

// escape keeps the characters that separate options and layers from doing so.
func escape(s string) string {
	if !strings.ContainsAny(s, `\:,`) {
		return s
	}
	return strings.NewReplacer(`\`, `\\`, `:`, `\:`, `,`, `\,`).Replace(s)
}

// Lookup appends the opening of a path beneath the root. Nothing on the way, nor what is there, may be a symbolic link.
func Lookup(p *rawproc.Program, label string, root rawproc.Reg, name string, flags uint64) (*rawproc.Op, rawproc.Reg) {
	return LookupBy(p, label, root, name, flags, Beneath)
}

// LookupBy appends the opening of a path, which is resolved by Beneath or Inside.
func LookupBy(p *rawproc.Program, label string, root rawproc.Reg, name string, flags, resolve uint64) (*rawproc.Op, rawproc.Reg) {
	fd := p.Reg()
	how := &unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: resolve}
	if name == "" {
		name = "."
	}
	op := p.Call(label, unix.SYS_OPENAT2, rawproc.R(root), rawproc.Str(name), rawproc.Value(how), rawproc.Int(unix.SizeofOpenHow)).Into(fd)
	if resolve == Inside {
		op.Again()
	}
	return op, fd
}

// Target appends the opening of a mount target, which is made where it is missing, with directories on the way to it.
// The name is looked up from root by resolve, the full name is for messages.
func Target(p *rawproc.Program, root rawproc.Reg, name, full string, dir bool, resolve uint64) rawproc.Reg {
	rel := strings.TrimPrefix(path.Clean("/"+name), "/")
	if rel == "" {
		rel = "."
	}
	open, create := LabelTarget+" "+path.Clean(full), labelCreate+" "+path.Clean(full)
	flags := uint64(unix.O_PATH)
	if dir {
		flags |= unix.O_DIRECTORY
	}
	found, fd := LookupBy(p, open, root, rel, flags, resolve)
	if rel == "." {
		return fd
	}
	parts := strings.Split(rel, "/")
	start := p.Len()
	at := root
	for i, part := range parts {
		last := i == len(parts)-1
		if last && !dir {
			p.Call(create, unix.SYS_MKNODAT, rawproc.R(at), rawproc.Str(part), rawproc.Int(unix.S_IFREG|0o644), rawproc.Int(0)).Allow(unix.EEXIST)
		} else {
			p.Call(create, unix.SYS_MKDIRAT, rawproc.R(at), rawproc.Str(part), rawproc.Int(0o755)).Allow(unix.EEXIST)
		}
		want := uint64(unix.O_PATH | unix.O_DIRECTORY)
		if last {
			want = flags
		}
		from, step := at, part
		if resolve != Beneath { // a link is resolved from the root, whatever directory it is in
			from, step = root, strings.Join(parts[:i+1], "/")
		}
		op, next := LookupBy(p, open, from, step, want, resolve)
		if last {
			op.Into(fd)
		}
		at = next
	}
	found.Allow(unix.ENOENT).SkipIfOK(p.Len() - start)
	return fd
}

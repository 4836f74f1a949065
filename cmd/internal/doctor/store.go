package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"
)

const gibibyte = 1 << 30

// runtimeDir is about XDG_RUNTIME_DIR (the XDG Base Directory Specification), where sockets of the session are.
func (x *examination) runtimeDir() Check {
	const name = "runtime directory"
	const meaning = "sockets of the desktop are not found: windows, sound, D-Bus and the ssh agent stay outside"
	dir := x.Getenv("XDG_RUNTIME_DIR")
	usual := fmt.Sprintf("/run/user/%d", x.UID)
	export := "export XDG_RUNTIME_DIR=" + usual
	switch {
	case x.root():
		return ok(name, "not needed by root")
	case dir == "" && x.exists(usual):
		return warning(name, "XDG_RUNTIME_DIR is not set", meaning, export)
	case dir == "":
		return warning(name, "XDG_RUNTIME_DIR is not set, and there is no "+usual, meaning, x.session())
	case !filepath.IsAbs(dir):
		return warning(name, "XDG_RUNTIME_DIR is "+dir+", no absolute path", meaning, export)
	}
	f, err := x.Stat(dir)
	switch {
	case err != nil || !f.Mode.IsDir():
		return warning(name, dir+" is no directory", meaning, x.session())
	case int(f.UID) != x.UID:
		return warning(name, fmt.Sprintf("%s belongs to uid %d", dir, f.UID), meaning, export)
	case f.Mode.Perm()&0o077 != 0:
		return warning(name, fmt.Sprintf("%s has mode %04o", dir, f.Mode.Perm()), "others on this host can reach what is in it", "chmod 700 "+quote(dir))
	}
	return ok(name, dir)
}

func (x *examination) session() string {
	if x.distro.systemd {
		return "sudo loginctl enable-linger " + quote(x.User) + ", and log in by a way that starts a session"
	}
	return "log in through a session manager such as elogind, or make a directory of mode 0700 of your own and export its path as XDG_RUNTIME_DIR"
}

// clock compares the time with that of the newest of what is installed here.
func (x *examination) clock() Check {
	const name = "clock"
	newest := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, path := range append([]string{"/etc/os-release"}, x.Programs...) {
		if f, err := x.Stat(path); err == nil && f.ModTime.After(newest) {
			newest = f.ModTime
		}
	}
	now := x.Now.UTC()
	fix := "sudo timedatectl set-ntp true"
	if !x.distro.systemd {
		fix = "sudo ntpd -q -p pool.ntp.org, or set it: sudo date -u -s 'YYYY-MM-DD hh:mm:ss'"
	}
	const stamp = "2006-01-02 15:04 MST"
	switch {
	case now.Add(24 * time.Hour).Before(newest):
		return warning(name, now.Format(stamp)+", and something installed is from "+newest.UTC().Format(stamp),
			"certificates of servers and signatures of package archives are not valid yet, so that nothing can be fetched", fix)
	case now.After(newest.AddDate(10, 0, 0)):
		return warning(name, now.Format(stamp)+", ten years after anything installed", "certificates of servers and signatures of package archives are no longer valid, so that nothing can be fetched", fix)
	}
	return ok(name, now.Format(stamp))
}

func (x *examination) store() Check {
	const name = "store"
	const meaning = "nothing in the store can be used"
	if x.StoreErr != nil {
		return problem(name, x.StoreErr.Error(), meaning, x.StoreHint)
	}
	f, err := x.Stat(x.Store)
	switch {
	case x.NoStore && errors.Is(err, fs.ErrNotExist):
		return ok(name, x.Store+" (made by the first build)")
	case err != nil:
		return problem(name, err.Error(), meaning, "name another directory: karapace --store DIRECTORY ..., or KARAPACE_STORE")
	case !f.Mode.IsDir():
		return problem(name, x.Store+" is no directory", meaning, "name another one: karapace --store DIRECTORY ..., or KARAPACE_STORE")
	case int(f.UID) != x.UID:
		return problem(name, fmt.Sprintf("%s belongs to uid %d, and you are uid %d", x.Store, f.UID, x.UID), "a store is one user's: files in it have that user's subordinate ids",
			"run karapace as its owner, or name another one: karapace --store DIRECTORY ..., or KARAPACE_STORE")
	case f.Mode.Perm()&0o700 != 0o700:
		return problem(name, fmt.Sprintf("%s has mode %04o", x.Store, f.Mode.Perm()), "its owner cannot use it", "chmod u+rwx "+quote(x.Store))
	case f.Mode.Perm()&0o022 != 0:
		return warning(name, fmt.Sprintf("%s has mode %04o", x.Store, f.Mode.Perm()), "others on this host can change what environments are made of", "chmod go-w "+quote(x.Store))
	}
	return ok(name, x.Store)
}

// unfitTypes cannot hold a store, and why.
func unfitTypes() map[string]string {
	const noOwners = "it has no owners, modes and symbolic links, which layers are made of"
	return map[string]string{
		"nfs": "the server does not know the ids of a user namespace, and cannot be the writable layer of an overlay", "nfs4": "the server does not know the ids of a user namespace, and cannot be the writable layer of an overlay",
		"cifs": noOwners, "smb3": noOwners, "9p": "it cannot be the writable layer of an overlay",
		"vfat": noOwners, "msdos": noOwners, "exfat": noOwners, "ntfs": noOwners, "ntfs3": noOwners,
		"squashfs": "it cannot be written to", "erofs": "it cannot be written to", "iso9660": "it cannot be written to",
	}
}

func (x *examination) storeFileSystem() Check {
	const name = "store file system"
	const elsewhere = "name a directory on a local file system (ext4, xfs, btrfs) as the store: karapace --store DIRECTORY ..., or KARAPACE_STORE"
	f, err := x.FileSystem(x.Store)
	if err != nil {
		return problem(name, err.Error(), "the store cannot be reached", elsewhere)
	}
	if why := unfitTypes()[f.Type]; why != "" {
		return problem(name, f.Type, why, elsewhere)
	}
	switch {
	case f.ReadOnly:
		return warning(name, f.Type+", mounted read-only", "what is there can be looked at; nothing can be built, entered or changed", "sudo mount -o remount,rw DIRECTORY, or "+elsewhere)
	case f.Type == "tmpfs" || f.Type == "ramfs":
		return warning(name, f.Type, "the store is gone at the next start, and is memory until then", elsewhere)
	case f.Type == "fuse" || f.Type == "fuseblk" || f.Type == "ecryptfs" || f.Type == "overlay":
		return warning(name, f.Type, "such file systems lack some of what a writable layer needs (extended attributes, renames over whiteouts); see the check overlay for whether this one does", elsewhere)
	}
	return ok(name, f.Type)
}

func (x *examination) space() Check {
	const name = "disk space"
	const meaning = "a base system takes half a gigabyte and more, and a build needs it twice for a while"
	f, err := x.FileSystem(x.Store)
	if err != nil {
		return problem(name, err.Error(), "the store cannot be reached", "see the check store file system")
	}
	detail := fmt.Sprintf("%.1f GiB of %.1f GiB are free", float64(f.Free)/gibibyte, float64(f.Total)/gibibyte)
	const fix = "karapace gc removes what no environment needs; karapace list shows what could be destroyed"
	switch {
	case f.Free < gibibyte/4:
		return problem(name, detail, meaning, fix)
	case f.Free < 3*gibibyte:
		return warning(name, detail, meaning, fix)
	}
	return ok(name, detail)
}

func (x *examination) inodes() Check {
	const name = "inodes"
	f, err := x.FileSystem(x.Store)
	switch {
	case err != nil:
		return problem(name, err.Error(), "the store cannot be reached", "see the check store file system")
	case f.Inodes == 0:
		return ok(name, "as many as there is space")
	}
	detail := fmt.Sprintf("%d of %d are free", f.FreeInodes, f.Inodes)
	const meaning = "every file takes one, and a base system has tens of thousands"
	const fix = "karapace gc removes what no environment needs; a file system is made with more by mkfs -N"
	switch {
	case f.FreeInodes < 10_000:
		return problem(name, detail, meaning, fix)
	case f.FreeInodes < 150_000:
		return warning(name, detail, meaning, fix)
	}
	return ok(name, detail)
}

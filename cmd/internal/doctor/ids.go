package doctor

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// minIDs is how many subordinate ids a user needs: distributions use ids up to 65534 (nobody).
const minIDs = 65536

// toolDirs is where the programs that write id mappings are looked for.
func toolDirs() []string {
	return []string{"/usr/bin/", "/bin/", "/usr/local/bin/", "/run/wrappers/bin/", "/usr/sbin/"}
}

// idTool looks for newuidmap or newgidmap, and whether they may do what they are for.
func (x *examination) idTool(program string) Check {
	const meaning = "only this program may give a user's namespace the user's subordinate ids"
	if x.root() {
		return ok(program, "not needed by root")
	}
	for _, dir := range toolDirs() {
		path := dir + program
		f, err := x.Stat(path)
		if err != nil || f.Mode&0o111 == 0 {
			continue
		}
		if f.Mode&fs.ModeSetuid == 0 && !f.Capabilities {
			return problem(program, path+" has neither the setuid bit nor the file capability", meaning, x.distro.reinstall(program))
		}
		if f.Mode&fs.ModeSetuid != 0 && f.UID != 0 {
			return problem(program, fmt.Sprintf("%s belongs to uid %d, not to root", path, f.UID), meaning, x.distro.reinstall(program))
		}
		if on, err := x.FileSystem(path); err == nil && on.NoSUID {
			return problem(program, path+" is on a file system mounted nosuid", meaning, "sudo mount -o remount,suid "+quote(strings.TrimSuffix(dir, "/")))
		}
		return ok(program, path)
	}
	return problem(program, "not installed", meaning, x.distro.install(program))
}

// span is a line of subuid(5) or subgid(5).
type span struct {
	owner       string
	start, size uint64
}

func (x *examination) spans(file string) []span {
	var out []span
	for line := range strings.Lines(x.text(file)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 3 {
			continue
		}
		start, err := strconv.ParseUint(f[1], 10, 32)
		size, err2 := strconv.ParseUint(f[2], 10, 32)
		if err == nil && err2 == nil && size > 0 {
			out = append(out, span{f[0], start, size})
		}
	}
	return out
}

func (x *examination) mine(s span) bool { return s.owner == x.User || s.owner == strconv.Itoa(x.UID) }

func (x *examination) subordinate() Check {
	const name = "subordinate ids"
	if x.root() {
		return ok(name, "not needed by root")
	}
	uids, gids := x.spans("/etc/subuid"), x.spans("/etc/subgid")
	have, haveGroups := x.total(uids), x.total(gids)
	if (have < minIDs || haveGroups < minIDs) && x.Subordinate != nil {
		moreUIDs, moreGIDs := x.Subordinate()
		have, haveGroups = max(have, moreUIDs), max(haveGroups, moreGIDs)
	}
	if have < minIDs || haveGroups < minIDs {
		return problem(name, fmt.Sprintf("%s has %d uids and %d gids of at least %d", x.User, have, haveGroups, minIDs),
			"everybody in an environment but you is one of your subordinate ids: root, and every account of a service", x.addIDs(uids, gids))
	}
	for _, list := range [][]span{uids, gids} {
		if other := x.overlap(list); other != "" {
			return warning(name, x.User+" shares some with "+other, "processes in the environments of one of you can reach the files and processes of the other's",
				"change the range of one of you in /etc/subuid and /etc/subgid, and remove that one's store before: karapace destroy --all")
		}
	}
	return ok(name, fmt.Sprintf("%d uids and %d gids", have, haveGroups))
}

func (x *examination) total(spans []span) (n uint64) {
	for _, s := range spans {
		if x.mine(s) {
			n += s.size
		}
	}
	return n
}

// overlap is the owner of ids that are the user's too.
func (x *examination) overlap(spans []span) string {
	for _, a := range spans {
		for _, b := range spans {
			if x.mine(a) && !x.mine(b) && a.start < b.start+b.size && b.start < a.start+a.size {
				return b.owner
			}
		}
	}
	return ""
}

// addIDs is the command that gives the user ids that nobody has. usermod(8) knows the accounts of /etc/passwd only.
func (x *examination) addIDs(lists ...[]span) string {
	first := uint64(100000)
	for _, list := range lists {
		for _, s := range list {
			first = max(first, s.start+s.size)
		}
	}
	if first+minIDs > 1<<32-2 {
		return "give " + quote(x.User) + " a free range of 65536 ids in /etc/subuid and /etc/subgid"
	}
	if x.Program("usermod") == "" || !x.inPasswd() {
		return fmt.Sprintf("echo %s | sudo tee -a /etc/subuid /etc/subgid", quote(fmt.Sprintf("%s:%d:%d", x.User, first, minIDs)))
	}
	return fmt.Sprintf("sudo usermod --add-subuids %d-%d --add-subgids %[1]d-%[2]d %s", first, first+minIDs-1, quote(x.User))
}

func (x *examination) inPasswd() bool {
	for line := range strings.Lines(x.text("/etc/passwd")) {
		if strings.HasPrefix(line, x.User+":") {
			return true
		}
	}
	return false
}

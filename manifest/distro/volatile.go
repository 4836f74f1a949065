package distro

import (
	"bytes"
	"cmp"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// Volatile is what differs between two installations of the same packages, or tells of the machine they were made on:
// random identities, keys, clocks, caches, logs, backups and locks. It is data for who makes the layer.
//
// Patterns are paths below the root; "*" stands for any bytes of one component, a component "**" for any number of
// components; a directory stands for all below it. Every entry was seen to differ, or is known to by what writes it.
// What only some package's script makes different is no business of this table but of a lock's volatile list.
type Volatile struct {
	Drop     []string // is left out
	Rewrites []Rewrite
}

// Rewrite makes a file's content independent of when and where it was written. epoch is the SOURCE_DATE_EPOCH. What
// Func does not understand it returns as it is, and so what it has made itself.
type Rewrite struct {
	Pattern string
	Func    func(old []byte, epoch int64) ([]byte, error)
}

// VolatileBase is what no base keeps: what makes one machine different from all others. A base that was bootstrapped,
// rather than fetched with a digest, also loses what its making left behind.
func VolatileBase(bootstrapped bool) Volatile {
	v := identity()
	if bootstrapped {
		v.add(leftovers(), aptVolatile(), Volatile{Drop: []string{
			"etc/hostname", "etc/resolv.conf", // copied from the host by the programs that make bases
			"var/log/bootstrap.log",
		}})
	}
	return v
}

// VolatileLayer is what a package layer does not keep. manager is a Manager's name; an unknown one adds nothing.
func VolatileLayer(manager string) Volatile {
	v := identity()
	v.add(leftovers())
	switch manager {
	case "apt":
		v.add(aptVolatile())
	case "dnf":
		v.add(rpmVolatile(), dnfVolatile())
	case "zypper":
		v.add(rpmVolatile(), zypperVolatile())
	case "pacman":
		v.add(pacmanVolatile())
	}
	return v
}

func (v *Volatile) add(more ...Volatile) {
	for _, m := range more {
		v.Drop = append(v.Drop, m.Drop...)
		v.Rewrites = append(v.Rewrites, m.Rewrites...)
	}
}

func identity() Volatile {
	return Volatile{
		Drop: []string{
			"etc/ssh/ssh_host_*_key", "etc/ssh/ssh_host_*_key.pub", // ssh-keygen -A makes them at first start
			"etc/ssl/private/ssl-cert-snakeoil.key", "etc/ssl/certs/ssl-cert-snakeoil.pem",
			"etc/popularity-contest.conf", "etc/cron.d/popularity-contest",
			"var/lib/dbus/machine-id",
			"var/lib/systemd/random-seed", "var/lib/systemd/credential.secret",
		},
		Rewrites: []Rewrite{{"etc/machine-id", emptied}}, // machine-id(5): empty in an image
	}
}

func leftovers() Volatile {
	return Volatile{
		Drop: []string{
			"etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/subuid-", "etc/subgid-", "etc/.pwd.lock",
			"usr/share/info/dir.old",
			"var/cache/ldconfig/aux-cache", // holds inode numbers; ld.so.cache does not
			"var/log/**/*.log", "var/log/faillog", "var/log/lastlog",
		},
		Rewrites: []Rewrite{
			{"etc/shadow", shadowDays},
			{"usr/share/info/dir", sortInfo},
			{"etc/ssl/certs/java/cacerts", javaStore},
		},
	}
}

func aptVolatile() Volatile {
	return Volatile{Drop: []string{
		"var/lib/apt/lists/*", "var/cache/apt/*", "var/log/apt/*",
		"var/lib/dpkg/*-old", "var/lib/dpkg/lock*", "var/lib/dpkg/triggers/Lock",
		"var/cache/debconf/*-old",
		"var/lib/ucf/hashfile.*", "var/lib/ucf/registry.*",
	}}
}

// rpmVolatile keeps the files beside the database, empty: who may not write there cannot read it without them.
func rpmVolatile() Volatile {
	var v Volatile
	for _, dir := range []string{"usr/lib/sysimage/rpm/", "var/lib/rpm/"} {
		v.Drop = append(v.Drop, dir+".rpm.lock", dir+".keyring.lock")
		v.Rewrites = append(v.Rewrites, Rewrite{dir + "rpmdb.sqlite-shm", emptied})
	}
	return v
}

func dnfVolatile() Volatile {
	return Volatile{Drop: []string{
		"var/cache/dnf/*", "var/cache/libdnf5/*", "var/log/dnf*", "var/log/hawkey*",
		"var/lib/dnf/history.sqlite*", "var/lib/dnf/repos/*/countme", "var/lib/dnf/*.lock",
		"usr/lib/sysimage/libdnf5/transaction_history.sqlite*",
	}}
}

func zypperVolatile() Volatile {
	return Volatile{
		Drop: []string{
			"var/lib/zypp/AnonymousUniqueId", "var/lib/zypp/LastDistributionFlavor",
			"var/log/zypp", "var/cache/zypp", "var/cache/zypper", // directories too: their modes follow the umask
		},
		Rewrites: []Rewrite{{"var/lib/zypp/AutoInstalled", withoutComments}},
	}
}

func pacmanVolatile() Volatile {
	return Volatile{
		Drop: []string{"var/lib/pacman/sync", "var/lib/pacman/db.lck", "var/cache/pacman/pkg/*",
			"etc/pacman.d/gnupg"}, // pacman-key's own key, made at random; the base's stays
		Rewrites: []Rewrite{{"var/lib/pacman/local/*/desc", installDate}},
	}
}

func emptied([]byte, int64) ([]byte, error) { return nil, nil }

// shadowDays clamps the day of the last password change, field 3 of shadow(5), which useradd takes from the clock.
func shadowDays(old []byte, epoch int64) ([]byte, error) {
	lines := strings.Split(string(old), "\n")
	for i, line := range lines {
		fields := strings.Split(line, ":")
		if len(fields) < 3 {
			continue
		}
		if days, err := strconv.ParseInt(fields[2], 10, 64); err == nil && days > epoch/86400 {
			fields[2] = strconv.FormatInt(epoch/86400, 10)
			lines[i] = strings.Join(fields, ":")
		}
	}
	return []byte(strings.Join(lines, "\n")), nil
}

// withoutComments drops the lines in which zypper notes the date.
func withoutComments(old []byte, _ int64) ([]byte, error) {
	var kept []byte
	for line := range bytes.Lines(old) {
		if line[0] != '#' {
			kept = append(kept, line...)
		}
	}
	return kept, nil
}

// installDate sets the %INSTALLDATE% of an entry in pacman's local database.
func installDate(old []byte, epoch int64) ([]byte, error) {
	lines := strings.Split(string(old), "\n")
	for i := range lines[1:] {
		if lines[i] == "%INSTALLDATE%" {
			lines[i+1] = strconv.FormatInt(epoch, 10)
		}
	}
	return []byte(strings.Join(lines, "\n")), nil
}

// sortInfo sorts the menu of the Info directory, sections and the entries in them: update-info-dir adds them in the
// order in which the file system gives their names.
func sortInfo(old []byte, _ int64) ([]byte, error) {
	head, menu, ok := strings.Cut(string(old), "\n* Menu:\n")
	if !ok || strings.TrimSpace(menu) == "" {
		return old, nil
	}
	type section struct {
		title   string
		entries []string
	}
	var sections []section
	for block := range strings.SplitSeq(strings.Trim(menu, "\n"), "\n\n") {
		var s section
		for line := range strings.SplitAfterSeq(strings.Trim(block, "\n")+"\n", "\n") {
			switch {
			case strings.HasPrefix(line, "* "):
				s.entries = append(s.entries, line)
			case len(s.entries) > 0: // the entry goes on
				s.entries[len(s.entries)-1] += line
			default:
				s.title += line
			}
		}
		slices.Sort(s.entries)
		sections = append(sections, s)
	}
	slices.SortStableFunc(sections, func(a, b section) int { return cmp.Compare(a.title, b.title) })
	out := head + "\n* Menu:\n"
	for _, s := range sections {
		out += "\n" + s.title + strings.Join(s.entries, "")
	}
	return []byte(out), nil
}

// javaStore sets the times in a Java key store of certificates to epoch and sorts them by alias. The format is that of
// sun.security.provider.JavaKeyStore, version 2; the SHA-1 at its end covers the password, which for this file is public.
func javaStore(old []byte, epoch int64) ([]byte, error) {
	const magic, header = "\xfe\xed\xfe\xed\x00\x00\x00\x02", 12
	if len(old) < header+sha1.Size || string(old[:8]) != magic {
		return old, nil
	}
	body, sum := old[:len(old)-sha1.Size], old[len(old)-sha1.Size:]
	if !bytes.Equal(javaSum(body), sum) {
		return old, nil
	}
	entries, err := javaEntries(body[header:], epoch)
	if err != nil || len(entries) != int(binary.BigEndian.Uint32(body[8:header])) {
		return old, nil // keys, or a newer form: whether it varies is for the verification build to say
	}
	slices.SortFunc(entries, bytes.Compare) // each begins with its tag and the length of its alias
	out := slices.Concat(body[:header:header], slices.Concat(entries...))
	return append(out, javaSum(out)...), nil
}

func javaSum(body []byte) []byte {
	h := sha1.New()
	for _, c := range []byte("changeit") {
		h.Write([]byte{0, c})
	}
	h.Write([]byte("Mighty Aphrodite"))
	h.Write(body)
	return h.Sum(nil)
}

var errJavaStore = errors.New("not a store of certificates")

// javaEntries splits the entries, each a certificate: tag 2, alias, time in milliseconds, type, certificate.
func javaEntries(b []byte, epoch int64) (entries [][]byte, err error) {
	for len(b) > 0 {
		e := &javaEntry{b: slices.Clone(b)}
		if e.uint(4) != 2 {
			return nil, errJavaStore
		}
		e.skip(e.uint(2))
		if e.at+8 > len(e.b) {
			return nil, errJavaStore
		}
		binary.BigEndian.PutUint64(e.b[e.at:], uint64(epoch)*1000)
		e.skip(8)
		e.skip(e.uint(2))
		e.skip(e.uint(4))
		if e.at > len(e.b) {
			return nil, errJavaStore
		}
		entries = append(entries, e.b[:e.at])
		b = b[e.at:]
	}
	return entries, nil
}

type javaEntry struct {
	b  []byte
	at int // beyond the end once something is missing
}

func (e *javaEntry) uint(size int) (v int) {
	if e.at+size > len(e.b) {
		e.at = len(e.b) + 1
		return 0
	}
	for _, c := range e.b[e.at : e.at+size] {
		v = v<<8 | int(c)
	}
	e.at += size
	return v
}

func (e *javaEntry) skip(n int) { e.at = min(e.at+n, len(e.b)+1) }

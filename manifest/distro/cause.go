package distro

import (
	"path"
	"strings"
)

// Cause tells why a path of a layer differs between two builds, where that is known of such paths; kind is that of
// fstree.Difference.
func Cause(name, kind string) string {
	for _, c := range []struct{ pattern, cause string }{
		{"var/lib/mysql/", "a database is made with random identities when its package is installed"},
		{"var/lib/postgresql/", "a database is made with random identities when its package is installed"},
		{"var/lib/texmf/", "formats of TeX hold the time they were made at"},
		{"var/cache/fontconfig/", "font caches hold the times of directories"},
		{"etc/ssl/", "keys are random, and certificates hold the time and the host's name"},
		{"etc/pki/", "keys are random, and certificates hold the time and the host's name"},
		{"usr/lib/sysimage/rpm/", "the database notes when and in which order packages were installed"},
		{"var/lib/rpm/", "the database notes when and in which order packages were installed"},
		{"var/lib/pacman/local/", "the database notes when packages were installed"},
		{"var/log/", "logs hold times"},
		{"etc/mailname", "it holds the host's name"},
	} {
		if name == c.pattern || strings.HasSuffix(c.pattern, "/") && strings.HasPrefix(name, c.pattern) {
			return c.cause
		}
	}
	switch {
	case path.Ext(name) == ".pyc":
		return "caches of Python hold times unless SOURCE_DATE_EPOCH is honoured"
	case kind == "order":
		return "the same lines in another order: it was made from the list of a directory"
	}
	return ""
}

package distro

import (
	"fmt"
	"strconv"
)

// BuildEnvironment is the version of the fixed build environment that new locks record.
const BuildEnvironment = 1

// BuildEnv is the whole environment of every command a Sandbox runs, in the version a lock records; sde is the lock's
// source_date_epoch. To the variables belong, in version 1: umask 022, host name "localhost", standard input from
// /dev/null, user and group 0 with no supplementary groups, own mount, PID, IPC and UTS namespaces, a network namespace
// without anything in it, empty tmpfs on /run, /tmp and /dev (with the usual device files), and nothing bound over
// files of the root: no /etc/resolv.conf, no /etc/hosts.
//
// Every one of these reaches file contents of some package (a python cache, a mail name, the order in a font cache), so
// a changed value is a new version, never an edit of an old one.
func BuildEnv(version, sde int64) ([]string, error) {
	if version != 1 {
		return nil, fmt.Errorf("build environment %d is unknown: this Karapace knows version 1; use the one that wrote the lock, or resolve again with karapace lock --update", version)
	}
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root",
		"LC_ALL=C.UTF-8",
		"TZ=UTC",
		"TERM=dumb",
		"DEBIAN_FRONTEND=noninteractive",
		"DEBCONF_NONINTERACTIVE_SEEN=true",
		"SOURCE_DATE_EPOCH=" + strconv.FormatInt(sde, 10),
		"PYTHONDONTWRITEBYTECODE=1",
		"PYTHONHASHSEED=0",
		"PERL_HASH_SEED=0",
		"FORCE_SOURCE_DATE=1",
	}, nil
}

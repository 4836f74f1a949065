package faults

import (
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// where says in which arguments of a call its file is named.
type where uint8

const (
	fd0      where = iota // a descriptor
	fd2                   // the third argument is a descriptor
	at0                   // a directory's descriptor and a path
	at1                   // the second and third argument are these
	at2                   // the third and fourth
	path0                 // a path
	path1                 // the second argument is a path
	program0              // a path of a program to execute
)

// opening says that a call is only a point when its flags, in argument at, allow writing.
type opening struct {
	at      int
	struct2 bool // the argument is the address of a struct open_how (openat2(2)), whose first word they are
}

// call is a system call that can be a point.
type call struct {
	name  string
	where where
	opens *opening
}

const writing = unix.O_WRONLY | unix.O_RDWR | unix.O_CREAT | unix.O_TRUNC

// calls are the system calls that can be points, by number.
func calls() map[int32]call {
	all := map[int32]call{
		unix.SYS_WRITE: {name: "write"}, unix.SYS_PWRITE64: {name: "pwrite64"}, unix.SYS_WRITEV: {name: "writev"}, unix.SYS_PWRITEV: {name: "pwritev"},
		unix.SYS_FTRUNCATE: {name: "ftruncate"}, unix.SYS_FALLOCATE: {name: "fallocate"}, unix.SYS_SENDFILE: {name: "sendfile"},
		unix.SYS_COPY_FILE_RANGE: {name: "copy_file_range", where: fd2}, unix.SYS_SPLICE: {name: "splice", where: fd2},
		unix.SYS_FSYNC: {name: "fsync"}, unix.SYS_FDATASYNC: {name: "fdatasync"}, unix.SYS_SYNCFS: {name: "syncfs"},
		unix.SYS_OPENAT:    {name: "openat", where: at0, opens: &opening{at: 2}},
		unix.SYS_OPENAT2:   {name: "openat2", where: at0, opens: &opening{at: 2, struct2: true}},
		unix.SYS_TRUNCATE:  {name: "truncate", where: path0},
		unix.SYS_RENAMEAT2: {name: "renameat2", where: at2}, unix.SYS_RENAMEAT: {name: "renameat", where: at2},
		unix.SYS_LINKAT: {name: "linkat", where: at2}, unix.SYS_SYMLINKAT: {name: "symlinkat", where: at1},
		unix.SYS_UNLINKAT: {name: "unlinkat", where: at0}, unix.SYS_MKDIRAT: {name: "mkdirat", where: at0}, unix.SYS_MKNODAT: {name: "mknodat", where: at0},
		unix.SYS_FCHMOD: {name: "fchmod"}, unix.SYS_FCHMODAT: {name: "fchmodat", where: at0}, unix.SYS_FCHOWN: {name: "fchown"}, unix.SYS_FCHOWNAT: {name: "fchownat", where: at0},
		unix.SYS_UTIMENSAT: {name: "utimensat", where: at0}, unix.SYS_SETXATTR: {name: "setxattr", where: path0}, unix.SYS_LSETXATTR: {name: "lsetxattr", where: path0},
		unix.SYS_FSETXATTR: {name: "fsetxattr"}, unix.SYS_REMOVEXATTR: {name: "removexattr", where: path0}, unix.SYS_LREMOVEXATTR: {name: "lremovexattr", where: path0},
		unix.SYS_FREMOVEXATTR: {name: "fremovexattr"},
	}
	maps.Copy(all, legacyCalls())
	return all
}

// numbers are the numbers of calls in ascending order, for filters that are always the same.
func numbers(all map[int32]call) []int32 { return slices.Sorted(maps.Keys(all)) }

package usage

import (
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/karapace/karapace/backends/internal/smallfile"
)

// unlimited is where limits begin that are none: version 1 has no word for it, but a number that depends on the size of pages.
const unlimited = 1 << 62

// readGroups replaces what the processes have told by what control groups tell, each in a directory of its own with version 1.
func readGroups(dirs []string, u *Usage) {
	for _, dir := range dirs {
		file := func(name string) string { return filepath.Join(dir, name) }
		if n, ok := keyed(file("cpu.stat"), "usage_usec"); ok {
			u.CPU, u.From[CPU] = time.Duration(n)*time.Microsecond, FromGroup
		}
		if n, ok := single(file("cpuacct.usage")); ok {
			u.CPU, u.From[CPU] = time.Duration(n), FromGroup
		}
		for _, names := range [...][2]string{{"memory.current", "memory.max"}, {"memory.usage_in_bytes", "memory.limit_in_bytes"}} {
			if n, ok := single(file(names[0])); ok {
				u.Memory, u.From[Memory] = n, FromGroup
			}
			if n, ok := single(file(names[1])); ok && n < unlimited {
				u.MemoryLimit = n
			}
		}
		readIO(file, u)
	}
}

// readIO adds up what a group has read from all disks, and written to them.
func readIO(file func(string) string, u *Usage) {
	if text, err := smallfile.Read(file("io.stat")); err == nil {
		u.Read, u.Written, u.From[IO] = 0, 0, FromGroup
		for _, field := range strings.Fields(string(text)) { // 8:0 rbytes=1 wbytes=2 rios=3 ...
			name, value, _ := strings.Cut(field, "=")
			n, _ := strconv.ParseInt(value, 10, 64)
			switch name {
			case "rbytes":
				u.Read += n
			case "wbytes":
				u.Written += n
			}
		}
	}
	if text, err := smallfile.Read(file("blkio.throttle.io_service_bytes")); err == nil {
		u.Read, u.Written, u.From[IO] = 0, 0, FromGroup
		for line := range strings.Lines(string(text)) { // 8:0 Read 1
			f := strings.Fields(line)
			if len(f) != 3 {
				continue
			}
			n, _ := strconv.ParseInt(f[2], 10, 64)
			switch f[1] {
			case "Read":
				u.Read += n
			case "Write":
				u.Written += n
			}
		}
	}
}

// single is the number that a file consists of.
func single(path string) (int64, bool) {
	text, err := smallfile.Read(path)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil
}

// keyed is the number behind a name in a file of lines with both.
func keyed(path, name string) (int64, bool) {
	text, err := smallfile.Read(path)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		if key, value, _ := strings.Cut(strings.TrimSpace(line), " "); strings.TrimSuffix(key, ":") == name {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

package distro

import (
	"path"
	"strings"
)

// owners collects which packages own some paths, and the directories above them.
type owners struct {
	paths []string
	found map[string][]string // packages by path; those that are asked for have an entry, if an empty one
}

func newOwners(paths []string) *owners {
	o := &owners{paths: paths, found: make(map[string][]string)}
	for _, p := range paths {
		for p = canonical(p); ; p = path.Dir(p) {
			if _, known := o.found[p]; known {
				break
			}
			o.found[p] = nil
			if p == "/" {
				break
			}
		}
	}
	return o
}

// canonical gives the path by which systems that have merged /bin and /lib into /usr know a file.
func canonical(p string) string {
	p = path.Clean("/" + p)
	for _, dir := range []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"} {
		if p == dir || strings.HasPrefix(p, dir+"/") {
			return "/usr" + p
		}
	}
	return p
}

// add notes that a package owns a path.
func (o *owners) add(pkg, file string) {
	file = canonical(file)
	list, asked := o.found[file]
	if !asked || len(list) > 0 && list[0] == pkg {
		return
	}
	if len(list) == 0 || pkg < list[0] {
		list = append([]string{pkg}, list...)
	} else {
		list = append(list, pkg)
	}
	o.found[file] = list[:min(2, len(list))]
}

// result answers by the paths as they were asked for. Of several owners of a path itself the first by name counts.
func (o *owners) result() map[string]string {
	out := make(map[string]string)
	for _, asked := range o.paths {
		p := canonical(asked)
		if list := o.found[p]; len(list) > 0 {
			out[asked] = list[0]
			continue
		}
		for p != "/" && len(o.found[p]) == 0 {
			p = path.Dir(p)
		}
		if list := o.found[p]; len(list) == 1 {
			out[asked] = list[0]
		}
	}
	return out
}

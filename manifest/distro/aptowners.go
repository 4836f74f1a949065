package distro

import (
	"bufio"
	"context"
	"fmt"
	"strings"
)

var _ Owner = Apt{}

// Owners implements Owner by dpkg's lists of files.
func (Apt) Owners(ctx context.Context, sb Sandbox, paths []string) (map[string]string, error) {
	const info = "/var/lib/dpkg/info"
	names, err := sb.ReadDir(info)
	if err != nil {
		return nil, fmt.Errorf("read dpkg's lists of files: %w", err)
	}
	o := newOwners(paths)
	for _, n := range names {
		pkg, ok := strings.CutSuffix(n, ".list")
		if !ok {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		pkg, _, _ = strings.Cut(pkg, ":")
		if err := readList(sb, info+"/"+n, func(file string) { o.add(pkg, file) }); err != nil {
			return nil, fmt.Errorf("read dpkg's lists of files: %w", err)
		}
	}
	return o.result(), nil
}

func readList(sb Sandbox, name string, line func(string)) error {
	f, err := sb.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		line(s.Text())
	}
	return s.Err()
}

package distro

import (
	"context"
	"fmt"
	"strings"
)

// rpmOwners asks rpm for all its files once, which is faster than asking for some hundred paths.
func rpmOwners(ctx context.Context, sb Sandbox, paths []string) (map[string]string, error) {
	o := newOwners(paths)
	lines := &lineWriter{line: func(line string) {
		if name, file, ok := strings.Cut(line, "\t"); ok {
			o.add(name, file)
		}
	}}
	err := sb.Run(ctx, Command{Argv: []string{"rpm", "-qa", "--qf", `[%{=NAME}\t%{FILENAMES}\n]`}, Stdout: lines})
	if err != nil {
		return nil, fmt.Errorf("ask rpm for the owners of files: %w", err)
	}
	return o.result(), nil
}

// lineWriter calls line for each line written to it; longer ones than a path can be are cut.
type lineWriter struct {
	rest []byte
	line func(string)
}

const maxLine = 8 << 10

func (w *lineWriter) Write(b []byte) (int, error) {
	for _, c := range b {
		switch {
		case c == '\n':
			w.line(string(w.rest))
			w.rest = w.rest[:0]
		case len(w.rest) < maxLine:
			w.rest = append(w.rest, c)
		}
	}
	return len(b), nil
}

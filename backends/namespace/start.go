package namespace

import (
	"context"

	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/backends/internal/envlock"
	"github.com/karapace/karapace/backends/internal/nsproc"
	"github.com/karapace/karapace/backends/internal/pid1"
	"github.com/karapace/karapace/backends/internal/rawproc"
	"github.com/karapace/karapace/backends/internal/rootfs"
)

// start makes the container's first process.
func start(ctx context.Context, p *nsproc.Plan, lock *envlock.Session) (*nsproc.Process, error) {
	var b *rootfs.Builder
	first := &nsproc.First{
		Backend: Name, Session: lock, State: p.State, Mapping: p.Mapping, Flags: p.Flags, Last: becomeInit,
		Compose: func() (err error) {
			if err = p.Complete(); err == nil {
				b, err = rootfs.New(p)
			}
			return err
		},
		Early: func(p *rawproc.Program) { b.Early(p) },
		Late: func(p *rawproc.Program) {
			b.Prepare(p)
			b.Enter(p)
		},
	}
	return first.Start(ctx)
}

// becomeInit executes the program of package pid1.
func becomeInit(p *rawproc.Program, exe int) {
	nsproc.DropCaps(p)
	p.Call("become init", unix.SYS_EXECVEAT, rawproc.Int(exe), rawproc.Str(""), rawproc.Strs([]string{pid1.Name}), rawproc.Strs(nil), rawproc.Int(unix.AT_EMPTY_PATH))
}

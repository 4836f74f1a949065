package nsproc

import (
	"context"
	"errors"
	"fmt"

	"github.com/karapace/karapace/backends/internal/cgroup"
	"github.com/karapace/karapace/backends/internal/userscope"
)

// limit makes the groups that the container's limits are in force in. Where this process is nowhere that the user may make any, the
// user's systemd is asked to take it to such a place.
func (p *Plan) limit(ctx context.Context) ([]string, error) {
	host := cgroup.System()
	groups, err := host.Make(p.groupName(), p.Spec.Linux.Resources)
	if !errors.Is(err, cgroup.ErrUnavailable) || !host.Unified() {
		return groups, err
	}
	if moved := p.takeScope(ctx, host); moved != nil {
		return nil, fmt.Errorf("%w; systemd could give it one: %w", err, moved)
	}
	return host.Make(p.groupName(), p.Spec.Linux.Resources)
}

// reach brings this process where its children may enter groups that another session has made.
func (p *Plan) reach(ctx context.Context, groups []string) error {
	host := cgroup.System()
	if len(groups) == 0 || host.MayEnter(groups) {
		return nil
	}
	if err := p.takeScope(ctx, host); err != nil {
		return fmt.Errorf("enter the container's limits: the group of this session is not the user's, and systemd could give it one: %w", err)
	}
	return nil
}

func (p *Plan) takeScope(ctx context.Context, host cgroup.Host) error {
	return userscope.Host{Bus: p.UserBus, Root: host.Root, Self: host.Self}.Enter(ctx, p.groupName())
}

func (p *Plan) groupName() string { return "karapace-" + p.ID }

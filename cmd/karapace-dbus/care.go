package main

import (
	"context"

	"github.com/godbus/dbus/v5"

	"github.com/karapace/karapace/cmd/internal/engine"
)

// collecting removes what nothing needs, or only tells.
func collecting(dryRun, quarantine bool) work {
	return func(ctx context.Context, e *engine.Engine) (dict, error) {
		removed, err := e.GC(ctx, dryRun, quarantine)
		if err != nil {
			return nil, err
		}
		var total int64
		for _, g := range removed {
			total += g.Size
		}
		return dict{"dry_run": dbus.MakeVariant(dryRun), "removed": dbus.MakeVariant(dictionaries(removed)),
			"count": dbus.MakeVariant(int64(len(removed))), "bytes": dbus.MakeVariant(total)}, nil
	}
}

// verifying checks the store. Damage is what it tells, and no failure of its own.
func verifying(o engine.VerifyStoreOptions) work {
	return func(ctx context.Context, e *engine.Engine) (dict, error) {
		report, err := e.VerifyStore(ctx, o)
		if report == nil {
			return nil, err
		}
		out := dictionary(report)
		out["problem_count"], out["note_count"] = dbus.MakeVariant(int64(len(report.Problems))), dbus.MakeVariant(int64(len(report.Notes)))
		out["failed"] = dbus.MakeVariant(int64(engine.Failed(report)))
		return out, nil
	}
}

func (s *service) garbageCollect(_ dbus.Message, dryRun bool) (dict, *dbus.Error) {
	return s.wait("gc", "", collecting(dryRun, false))
}

func (s *service) startGarbageCollect(_ dbus.Message, given dict) (dbus.ObjectPath, *dbus.Error) {
	o := optionsOf(given)
	do := collecting(o.yes("dry_run"), o.yes("quarantine"))
	if refused := o.end(); refused != nil {
		return "/", refused
	}
	return s.begin("gc", "", do)
}

func (s *service) verifyStore(dbus.Message) (dict, *dbus.Error) {
	return s.wait("verify-store", "", verifying(engine.VerifyStoreOptions{}))
}

func (s *service) startVerifyStore(_ dbus.Message, given dict) (dbus.ObjectPath, *dbus.Error) {
	o := optionsOf(given)
	do := verifying(engine.VerifyStoreOptions{Repair: o.yes("repair"), Offline: o.yes("offline"), Backend: o.text("build_backend")})
	if refused := o.end(); refused != nil {
		return "/", refused
	}
	return s.begin("verify-store", "", do)
}

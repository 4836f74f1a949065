package main

import (
	"context"

	"github.com/godbus/dbus/v5"

	"github.com/karapace/karapace/cmd/internal/engine"
	"github.com/karapace/karapace/storage"
)

// becoming is a method that gives an environment another state.
func (s *service) becoming(verb func(*engine.Engine, context.Context, string) (*storage.Record, bool, error)) func(dbus.Message, string) (dict, *dbus.Error) {
	return func(_ dbus.Message, ref string) (dict, *dbus.Error) {
		e, r, refused := s.find(ref)
		if refused != nil {
			return nil, refused
		}
		r, _, err := verb(e, s.ctx, string(r.EnvID))
		if err != nil {
			return nil, fault(err)
		}
		s.look()
		return dictionary(e.Describe(r)), nil
	}
}

func (s *service) listSnapshots(_ dbus.Message, ref string) ([]dict, *dbus.Error) {
	e, r, refused := s.find(ref)
	if refused != nil {
		return nil, refused
	}
	_, all, err := e.Snapshots(string(r.EnvID))
	if err != nil {
		return nil, fault(err)
	}
	return dictionaries(all), nil
}

func (s *service) startCommit(_ dbus.Message, ref, message string) (dbus.ObjectPath, *dbus.Error) {
	return s.beginOn("commit", ref, func(ctx context.Context, e *engine.Engine, id string) (dict, error) {
		c, err := e.Commit(ctx, id, message)
		if err != nil {
			return nil, err
		}
		return dictionary(c), nil
	})
}

// named refuses an empty name of a snapshot, which no snapshot has.
func named(snapshot string) *dbus.Error {
	if snapshot == "" {
		return refuse(invalidArgument, "no snapshot is named")
	}
	return nil
}

func (s *service) startRestore(_ dbus.Message, ref, snapshot string, given dict) (dbus.ObjectPath, *dbus.Error) {
	o := optionsOf(given)
	discard := o.yes("discard")
	if refused := firstOf(named(snapshot), o.end()); refused != nil {
		return "/", refused
	}
	return s.beginOn("restore", ref, func(ctx context.Context, e *engine.Engine, id string) (dict, error) {
		r, err := e.Restore(ctx, id, snapshot, discard)
		if err != nil {
			return nil, err
		}
		return dictionary(r), nil
	})
}

func (s *service) startRemoveSnapshot(_ dbus.Message, ref, snapshot string) (dbus.ObjectPath, *dbus.Error) {
	if refused := named(snapshot); refused != nil {
		return "/", refused
	}
	return s.beginOn("snapshots rm", ref, func(ctx context.Context, e *engine.Engine, id string) (dict, error) {
		_, removed, err := e.RemoveSnapshot(ctx, id, snapshot)
		if err != nil {
			return nil, err
		}
		return dictionary(removed), nil
	})
}

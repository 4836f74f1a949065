package main

import (
	"context"

	"github.com/godbus/dbus/v5"

	"github.com/karapace/karapace/cmd/internal/engine"
)

func (s *service) startPush(_ dbus.Message, ref, reference string, given dict) (dbus.ObjectPath, *dbus.Error) {
	o := optionsOf(given)
	push := engine.PushOptions{
		To:          engine.Address{Ref: reference, Remote: o.text("remote"), Tag: o.text("tag")},
		Compression: o.text("compression"), Snapshots: o.yes("snapshots"), Packages: o.yes("with_packages"),
		SignKey: o.file("sign_key"), MountFrom: o.texts("mount_from"),
	}
	if refused := o.end(); refused != nil {
		return "/", refused
	}
	return s.beginOn("push", ref, func(ctx context.Context, e *engine.Engine, id string) (dict, error) {
		push.Env = id
		res, err := e.Push(ctx, push)
		if err != nil {
			return nil, err
		}
		return dictionary(res), nil
	})
}

func (s *service) startPull(_ dbus.Message, reference string, given dict) (dbus.ObjectPath, *dbus.Error) {
	o := optionsOf(given)
	pull := engine.PullOptions{
		From: engine.Address{Ref: reference, Remote: o.text("remote"), Tag: o.text("tag")}, Name: o.text("name"),
		Snapshots: o.yes("snapshots"), Packages: o.yes("with_packages"), VerifyKeys: o.files("verify_keys"),
	}
	if refused := o.end(); refused != nil {
		return "/", refused
	}
	if reference == "" && pull.From.Tag == "" {
		return "/", refuse(invalidArgument, "no image is named")
	}
	return s.begin("pull", reference, func(ctx context.Context, e *engine.Engine) (dict, error) {
		res, err := e.Pull(ctx, pull)
		if err != nil {
			return nil, err
		}
		return dictionary(res), nil
	})
}

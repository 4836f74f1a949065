package engine

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strings"

	"github.com/karapace/karapace/cmd/internal/credentials"
	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/manifest"
)

// baseRemote is what reaching the registry of a base image takes; nothing for a base of another kind.
func (e *Engine) baseRemote(ctx context.Context, image string, offline bool) (wire.Remote, error) {
	ref, err := manifest.ParseBaseRef(image)
	if err != nil || ref.Kind != manifest.BaseRegistry || offline {
		return wire.Remote{}, nil // a bad reference is explained by whoever uses it
	}
	return e.remote(ctx, ref)
}

// remote is what reaching the registry of a reference takes.
func (e *Engine) remote(ctx context.Context, ref manifest.BaseRef) (wire.Remote, error) {
	find := credentials.Finder{Getenv: e.Getenv, Home: e.User.Home, Run: runHelper}
	c, err := find.Find(ctx, ref.Registry, ref.Repository)
	if err != nil {
		return wire.Remote{}, failure.New(failure.Remote, err, "log in anew: podman login "+ref.Registry)
	}
	return wire.Remote{Credential: c, CertDirs: e.CertDirs}, nil
}

// runHelper runs a credential helper. What it complains about is the error's text.
func runHelper(ctx context.Context, program, stdin string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, program, "get")
	cmd.Stdin = strings.NewReader(stdin)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	if text := strings.TrimSpace(complaint.String()); err != nil && text != "" {
		err = errors.New(text)
	}
	return out.Bytes(), err
}

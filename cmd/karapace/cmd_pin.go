package main

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/karapace/karapace/cmd/internal/engine"
	"github.com/karapace/karapace/manifest"
)

func (p *program) pinCommand() *cli.Command {
	return &cli.Command{
		Name: "pin", Usage: "make base.image mean the same bytes for ever", ArgsUsage: "[MANIFEST]",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "check", Usage: "only tell whether it is pinned"},
			&cli.BoolFlag{Name: "write-lock", Usage: "write the lock too"},
			imageServerFlag(),
		},
		Action: p.working(p.pin),
	}
}

func (p *program) pin(c *cli.Context) error {
	file, err := p.optional(c, "MANIFEST")
	if err != nil {
		return err
	}
	o := engine.PinOptions{Manifest: file, Check: c.Bool("check"), WriteLock: c.Bool("write-lock")}
	if o.Check && o.WriteLock {
		return usage(errors.New("--check changes nothing and --write-lock does: choose one"))
	}
	res, err := p.engine.Pin(p.ctx, o)
	if err != nil {
		return err
	}
	if p.json {
		return p.document(map[string]any{
			"manifest": res.File, "base_image": res.BaseImage, "changed": res.Changed, "lock": res.LockFile, "lock_written": res.LockWritten, "lock_stale": res.LockStale,
		})
	}
	state := "pinned already, to"
	if res.Changed {
		state = "pinned to"
	}
	p.say("%s: %s %s", res.File, state, res.BaseImage)
	if res.LockWritten {
		p.say("wrote %s", p.relative(res.LockFile))
	}
	if res.LockStale {
		p.say("%s does not satisfy it any more: karapace pin --write-lock %s", p.relative(res.LockFile), res.File)
	}
	return nil
}

// imageServerFlag is for every command that may resolve a base image.
func imageServerFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "image-server", Usage: "ask this `URL` for images, in place of the configured ones (may be repeated)", EnvVars: []string{"KARAPACE_IMAGE_SERVER"}}
}

// takeImageServers hands the flag to the engine.
func (p *program) takeImageServers(c *cli.Context) error {
	if p.engine == nil {
		return nil
	}
	for _, url := range c.StringSlice("image-server") {
		if url == "" { // an empty variable
			continue
		}
		if err := manifest.CheckImageServer(url); err != nil {
			return usage(fmt.Errorf("--image-server: %w", err))
		}
		p.engine.ImageServers = append(p.engine.ImageServers, url)
	}
	return nil
}

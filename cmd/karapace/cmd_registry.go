package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/karapace/karapace/cmd/internal/engine"
)

func remoteFlag() cli.Flag {
	return &cli.StringFlag{Name: "remote", Usage: "URL of the registry, where no reference names one"}
}

func (p *program) pushCommand() *cli.Command {
	return &cli.Command{
		Name: "push", Usage: "send an environment to a registry", ArgsUsage: "ENV [REF]",
		Flags: []cli.Flag{
			remoteFlag(),
			&cli.StringFlag{Name: "tag", Aliases: []string{"t"}, Usage: "what it is called there: NAME@TAG"},
			&cli.BoolFlag{Name: "snapshots", Usage: "its snapshots too"},
			&cli.BoolFlag{Name: "with-packages", Usage: "the files it is built from too"},
			&cli.StringFlag{Name: "sign-key", Usage: "sign it with the private key in this file", TakesFile: true},
			&cli.StringFlag{Name: "compression", Usage: "of its layers: none, gzip or zstd"},
			&cli.StringSliceFlag{Name: "mount-from", Usage: "another repository of the registry that has some of its layers"},
		},
		Action: p.working(func(c *cli.Context) error {
			if c.NArg() > 2 {
				return usage(fmt.Errorf("karapace push takes ENV and REF, not %d arguments", c.NArg()))
			}
			res, err := p.engine.Push(p.ctx, engine.PushOptions{
				Env: c.Args().Get(0), To: engine.Address{Ref: c.Args().Get(1), Remote: c.String("remote"), Tag: c.String("tag")},
				Compression: c.String("compression"), Snapshots: c.Bool("snapshots"), Packages: c.Bool("with-packages"),
				SignKey: c.String("sign-key"), MountFrom: c.StringSlice("mount-from"),
			})
			if err != nil {
				return err
			}
			return p.pushed(res)
		}),
	}
}

func (p *program) pushed(res *engine.Pushed) error {
	if p.json {
		return p.document(res)
	}
	p.say("%s@%s  sent %s, %s were there", res.Reference, res.Digest, size(res.Sent), size(res.Kept+res.Mounted))
	return nil
}

func (p *program) pullCommand() *cli.Command {
	return &cli.Command{
		Name: "pull", Usage: "make an environment of what a registry has", ArgsUsage: "REF",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "name", Aliases: []string{"n"}, Usage: "name the environment"},
			remoteFlag(),
			&cli.StringFlag{Name: "tag", Aliases: []string{"t"}, Usage: "what it is called there: NAME@TAG"},
			&cli.BoolFlag{Name: "snapshots", Usage: "its snapshots too"},
			&cli.BoolFlag{Name: "with-packages", Usage: "the files it is built from too, for building it anew offline"},
			&cli.StringSliceFlag{Name: "verify-key", Usage: "refuse it unless the public key in this file has signed it", TakesFile: true},
		},
		Action: p.working(func(c *cli.Context) error {
			ref, err := p.optional(c, "REF")
			if err != nil {
				return err
			}
			if ref == "" && c.String("tag") == "" {
				return usage(fmt.Errorf("karapace pull needs REF"))
			}
			res, err := p.engine.Pull(p.ctx, engine.PullOptions{
				From: engine.Address{Ref: ref, Remote: c.String("remote"), Tag: c.String("tag")}, Name: c.String("name"),
				Snapshots: c.Bool("snapshots"), Packages: c.Bool("with-packages"), VerifyKeys: c.StringSlice("verify-key"),
			})
			if err != nil {
				return err
			}
			return p.pulled(res)
		}),
	}
}

func (p *program) pulled(res *engine.Pulled) error {
	if p.json {
		return p.document(res)
	}
	return p.describe(res.Environment)
}

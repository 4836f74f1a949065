package main

import (
	"errors"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/cmd/internal/engine"
)

func (p *program) exportCommand() *cli.Command {
	return &cli.Command{
		Name: "export", Usage: "write an environment for other runtimes and tools", ArgsUsage: "[ENV] --format FORMAT -o PATH [-- COMMAND...]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Usage: "bundle, oci, docker-archive, rootfs, diff, pod or devcontainer"},
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "where to; - is standard output"},
			&cli.StringFlag{Name: "snapshot", Usage: "as of a snapshot; of a diff: the layer of that snapshot"},
			&cli.BoolFlag{Name: "with-drift", Usage: "as it is now: with its snapshots, and what was changed since"},
			&cli.StringFlag{Name: "compression", Usage: "gzip, zstd or none; oci has gzip, rootfs and diff none"},
			&cli.StringFlag{Name: "tag", Usage: "the image's name in a layout or docker archive"},
			&cli.StringFlag{Name: "image", Usage: "of a pod or devcontainer: where the environment was pushed to, REGISTRY/NAME[@DIGEST]"},
			&cli.BoolFlag{Name: "rootless", Usage: "a bundle for the calling user's ids, as is usual but for root"},
			&cli.BoolFlag{Name: "force", Usage: "replace an earlier export"},
		},
		Action: p.working(func(c *cli.Context) error {
			ref, err := p.optional(c, "ENV")
			if err != nil {
				return err
			}
			o := engine.ExportOptions{
				Format: c.String("format"), Output: c.String("output"), Snapshot: c.String("snapshot"), Drift: c.Bool("with-drift"),
				Compression: c.String("compression"), Tag: c.String("tag"), Image: c.String("image"), Rootless: c.Bool("rootless"), Args: p.line.after, Force: c.Bool("force"), Stdout: p.stdout,
			}
			if o.Output == "-" {
				return p.exportStream(ref, o)
			}
			res, err := p.engine.Export(p.ctx, ref, o)
			if err != nil {
				return err
			}
			if p.json {
				return p.document(res)
			}
			p.say("%s  %s  %s  %s", res.Digest, res.Format, size(res.Size), p.relative(res.Path))
			return nil
		}),
	}
}

// exportStream writes to standard output, on which nothing else may be then.
func (p *program) exportStream(ref string, o engine.ExportOptions) error {
	if p.json {
		return usage(errors.New("-o - and --json both want standard output"))
	}
	if o.Format == "pod" || o.Format == "devcontainer" { // text, for a terminal too
		_, err := p.engine.Export(p.ctx, ref, o)
		return err
	}
	if _, err := unix.IoctlGetTermios(int(p.stdout.Fd()), unix.TCGETS); err == nil {
		return usage(errors.New("an archive is not for a terminal: redirect standard output, or name a file with -o"))
	}
	_, err := p.engine.Export(p.ctx, ref, o)
	return err
}

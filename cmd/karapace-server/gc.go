package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"github.com/karapace/karapace/cmd/karapace-server/internal/collect"
	"github.com/karapace/karapace/cmd/karapace-server/internal/observe"
	"github.com/karapace/karapace/cmd/karapace-server/internal/registry"
)

func gcCommand() *cli.Command {
	own := []cli.Flag{
		&cli.BoolFlag{Name: "dry-run", Usage: "say what would be removed, remove nothing"},
		&cli.BoolFlag{Name: "untagged", Usage: "remove manifests that no tag leads to, too"},
		&cli.DurationFlag{Name: "min-age", Usage: "keep what is younger", Value: 24 * time.Hour},
		&cli.BoolFlag{Name: "json", Usage: "one JSON document on standard output"},
	}
	return &cli.Command{Name: "gc", Usage: "remove what nothing needs, beside a running server", Flags: append(own, flags()...), Action: gc}
}

func gc(c *cli.Context) error {
	cfg, err := configuration(c)
	if err != nil {
		return err
	}
	if c.Args().Present() || c.Duration("min-age") < 0 {
		return usageError{fmt.Errorf("gc takes no arguments, and no negative --min-age")}
	}
	if _, err := observe.Logger(os.Stderr, cfg.LogLevel); err != nil {
		return usageError{err}
	}
	lock, err := registry.LockOf(cfg.Storage)
	if err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	driver, err := registry.Driver(c.Context, cfg.Storage)
	if err != nil {
		return err
	}
	report, err := collect.Run(c.Context, driver, lock, collect.Options{DryRun: c.Bool("dry-run"), Untagged: c.Bool("untagged"),
		MinAge: c.Duration("min-age"), UploadExpiry: time.Duration(cfg.Storage.UploadExpiry), Now: time.Now()})
	if err != nil {
		return err
	}
	return show(os.Stdout, report, c.Bool("json"))
}

func show(w io.Writer, report collect.Report, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(report)
	}
	for _, r := range report.Removed {
		fmt.Fprintf(w, "%-10s %s  %s  (%s)\n", r.Kind, r.ID, units.BytesSize(float64(r.Size)), r.Reason)
	}
	verb := "removed"
	if report.DryRun {
		verb = "would remove"
	}
	_, err := fmt.Fprintf(w, "%s %d, %s\n", verb, len(report.Removed), units.BytesSize(float64(report.Bytes)))
	return err
}

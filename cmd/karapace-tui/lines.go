package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/karapace/karapace/cmd/internal/engine"
)

const helpText = `up down j k      move               pgup pgdn g G    by pages, to the ends
/                search             esc              show all, or go back

enter  i         details of an environment
e                enter it
x                run a command in it
s                snapshots; enter there restores one
d                what was changed in it
c                commit: make that a snapshot
f                freeze, or let sessions write again
S                stop what runs in it
D                destroy it, when you type its name or y
b                build a manifest
z                gc: see what nothing needs, y removes it
l                log of the last piece of work
ctrl+c           interrupt it
ctrl+z           suspend; fg comes back
q                quit`

func detailLines(d *engine.Details) []string {
	rows := [][2]string{
		{"name", d.Name}, {"id", string(d.EnvID)}, {"state", state(d.Environment)}, {"base image", d.BaseImage}, {"architecture", d.Arch},
		{"backend", d.Backend}, {"created", d.CreatedAt.Format(time.RFC3339)}, {"at", short(string(d.Current))},
		{"base layer", size(d.Size.Base)}, {"package layer", size(d.Size.Packages)}, {"snapshots", size(d.Size.Snapshots)},
		{"drift", size(d.Size.Writable)}, {"packages", strings.Join(d.Packages, " ")}, {"apps", strings.Join(d.Apps, " ")},
		{"network", map[bool]string{true: "its own, empty", false: "the host's"}[d.NetworkIsolation]},
	}
	for _, mt := range d.Mounts {
		rows = append(rows, [2]string{"mount " + mt.Label, mt.Host + " -> " + mt.Container + map[bool]string{true: " (read-only)"}[mt.ReadOnly]})
	}
	for _, v := range d.Env {
		rows = append(rows, [2]string{"variable", v.Name + "=" + v.Value})
	}
	rows = append(rows, [2]string{"image", string(d.ImageDigest)}, [2]string{"lock", d.Lock}, [2]string{"directory", d.Directory})
	var lines []string
	for _, r := range rows {
		if r[1] == "" {
			r[1] = "-"
		}
		lines = append(lines, cell(clean(r[0]), 14)+"  "+clean(r[1]))
	}
	return lines
}

func snapshotLine(current bool, name string, old time.Duration, bytes, message string) string {
	return fmt.Sprintf("%s %s  %s  %s  %s", map[bool]string{true: "*", false: " "}[current], cell(name, 12), cell(age(old), 12), right(bytes, 9), clean(message))
}

func changeLine(c engine.Change) string {
	return fmt.Sprintf("%s %s  %s", clean(c.Op), right(size(c.Size), 9), clean(c.Path))
}

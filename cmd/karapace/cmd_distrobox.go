package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/karapace/karapace/cmd/internal/distrobox"
	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
)

func (p *program) importDistroboxCommand() *cli.Command {
	return &cli.Command{
		Name: "import-distrobox", Usage: "write manifests for boxes of distrobox and toolbox: those of a file of distrobox assemble, or one that is there", ArgsUsage: "[FILE]",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "box", Usage: "the box that podman or docker has by this `NAME`, instead of a file"},
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "replace manifests that are there"},
		},
		Action: p.importDistrobox,
	}
}

// imported is a manifest that was written.
type imported struct {
	Name     string   `json:"name"`
	Manifest string   `json:"manifest"`
	Left     []string `json:"left_out"` // what of the box has no place in it
	text     []byte
}

func (p *program) importDistrobox(c *cli.Context) error {
	all, err := p.boxes(c)
	if err != nil {
		return err
	}
	for i := range all { // nothing is written where one is in the way
		if _, err := os.Lstat(all[i].Manifest); err == nil && !c.Bool("force") {
			return failure.New(failure.Manifest, fmt.Errorf("%s is there already", all[i].Manifest), "--force replaces it")
		}
	}
	for i := range all {
		if err := storage.WriteDocument(all[i].Manifest, all[i].text, 0o644); err != nil {
			return failure.New(failure.General, err, "")
		}
		if p.json {
			continue
		}
		p.say("wrote %s; next: karapace build %s --name %s", all[i].Manifest, all[i].Manifest, all[i].Name)
		for _, l := range all[i].Left {
			p.say("  not in it: %s", printable(l))
		}
	}
	if p.json {
		return p.document(all)
	}
	return nil
}

// boxes are the manifests of those that the command line names.
func (p *program) boxes(c *cli.Context) ([]imported, error) {
	if name := c.String("box"); name != "" {
		if c.NArg() > 0 {
			return nil, usage(errors.New("karapace import-distrobox takes a FILE or --box, not both"))
		}
		return p.existingBox(name)
	}
	file, err := p.argument(c, "FILE")
	if err != nil {
		return nil, err
	}
	text, err := readAtMost(file, manifest.MaxSize)
	if err != nil {
		return nil, failure.New(failure.General, err, "distrobox assemble reads such files, distrobox.ini as a rule; karapace import-distrobox --box NAME asks for a box that is there")
	}
	found, err := distrobox.Parse(string(text))
	if err != nil {
		return nil, failure.New(failure.Manifest, fmt.Errorf("%s: %w", file, err), "")
	}
	if len(found) == 0 {
		return nil, failure.New(failure.Manifest, fmt.Errorf("%s has no box", file), "a box is a section: [NAME]")
	}
	return manifestsOf(file, found)
}

// existingBox asks podman, and then docker, for the container of a box.
func (p *program) existingBox(name string) ([]imported, error) {
	asked := 0
	for _, manager := range []string{"podman", "docker"} {
		program, err := exec.LookPath(manager)
		if err != nil {
			continue
		}
		asked++
		text, err := p.outputAtMost(maxInspected, program, "inspect", "--type", "container", "--", name)
		if errors.Is(err, errTooMuch) {
			return nil, failure.New(failure.General, fmt.Errorf("%s inspect %s: %w", manager, name, err), "no box has that much; distrobox list and toolbox list show boxes")
		}
		if err != nil { // no such container, or a docker without its daemon
			continue
		}
		box, err := distrobox.FromInspect(text)
		if err != nil {
			return nil, failure.New(failure.Manifest, fmt.Errorf("%s's container %s: %w", manager, name, err), "distrobox list and toolbox list show boxes")
		}
		all, err := manifestsOf(manager+"'s container "+name, []*distrobox.Box{box})
		if err == nil {
			all[0].Left = append(all[0].Left, "packages that were installed in it by hand: its own package manager knows them")
		}
		return all, err
	}
	if asked == 0 {
		return nil, failure.New(failure.Backend, errors.New("neither podman nor docker is installed, which have the boxes"), "install the one that made the box, or name a file of distrobox assemble")
	}
	return nil, failure.New(failure.General, fmt.Errorf("neither podman nor docker tells of a container %s of yours", name), "distrobox list and toolbox list show boxes; podman inspect "+name+" says why it cannot")
}

// manifestsOf makes those of all boxes; each has been read as a manifest. Errors name where the boxes are from.
func manifestsOf(file string, boxes []*distrobox.Box) ([]imported, error) {
	var all []imported
	for _, b := range boxes {
		if !manifest.ValidName(b.Name) {
			return nil, failure.New(failure.Manifest, fmt.Errorf("%s: the name %q cannot be used: letters, digits, - and _, at most 64", file, b.Name), "")
		}
		text, left, err := b.Manifest()
		if err == nil {
			_, err = manifest.Parse(b.Name+".toml", []byte(text))
		}
		if err != nil {
			return nil, failure.New(failure.Manifest, fmt.Errorf("%s: box %s: %w", file, b.Name, err), "")
		}
		all = append(all, imported{Name: b.Name, Manifest: b.Name + ".toml", Left: append([]string{}, left...), text: []byte(text)})
	}
	return all, nil
}

// maxInspected is more than any container has to be told of.
const maxInspected = 4 << 20

var errTooMuch = errors.New("it prints too much")

// outputAtMost is what a program prints, which is ended when it prints more than so many bytes.
func (p *program) outputAtMost(limit int64, program string, args ...string) ([]byte, error) {
	ctx, end := context.WithCancel(p.ctx)
	defer end()
	cmd := exec.CommandContext(ctx, program, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(out, limit+1))
	if int64(len(text)) > limit {
		end()
		cmd.Wait()
		return nil, fmt.Errorf("%w: more than %d bytes", errTooMuch, limit)
	}
	return text, errors.Join(err, cmd.Wait())
}

// readAtMost reads a file that may have so many bytes.
func readAtMost(file string, limit int64) ([]byte, error) {
	f, err := os.Open(filepath.Clean(file))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", file, limit)
	}
	return text, err
}

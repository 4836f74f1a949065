package main

import "github.com/urfave/cli/v2"

// chapter is a group of commands in help, manual and docs/cli.md.
type chapter struct {
	title    string
	commands []description
}

// description is what there is to say of a command beside its usage and its options.
type description struct {
	name, text string
	see        string // a document below docs
}

// chapters describe every command. Only help and the manual ask for them. Help sorts them by their titles.
func chapters() []chapter {
	return []chapter{
		{"Build", []description{
			{"new", "The manifest is karapace.toml in this directory, from a template: minimal, dev, gui-dev, rust-dev or ubuntu-dev.", "manifest-spec.md"},
			{"lock", "The lock of NAME.toml is NAME.lock, beside it. One that is there is only compared with the manifest; --update resolves anew and shows what changes, " +
				"and with names of packages all others keep their versions as far as they go together. --verify builds twice, under other circumstances, and writes the lock only if both give the same bytes.", "certainty.md"},
			{"pin", "The manifest's base.image becomes the form that means the same bytes for ever: the locked ones, without a lock the newest. A lock that fitted before keeps all its packages with --write-lock. " +
				"--check changes nothing, and the exit code is 4 when it is not pinned.", "certainty.md"},
			{"build", "Without a lock the manifest is resolved first, and the lock is written beside it. What is built already is not built again.", ""},
			{"rebuild", "Every layer is made anew, and what was changed by hand becomes a snapshot. An environment of another lock is replaced when the new one stands, if it holds neither snapshots nor changes, or with --force.", "snapshots.md"},
			{"verify", "With --rebuild the layers are built again from the lock, aside, and each path that differs is explained.", "certainty.md"},
			{"fetch", "The files stay in the store until they are built.", "fleet.md"},
			{"quick", "IMAGE is what base.image may be. Asked for again, it is built already.", ""},
			{"import-distrobox", "A manifest NAME.toml is written for each box, and what of it has no place in a manifest is told. With --box it is made from what podman inspect, or docker inspect, says of the box's container: image, volumes, and what distrobox was told to install.", "cookbook.md"},
		}},
		{"Enter", []description{
			{"enter", "A session has your user, home and directory, and a terminal of the environment's. An environment runs as long as a session is in it, whichever began first; what sessions leave running in the background ends with the last one.", "integration.md"},
			{"exec", "Standard input, output and error pass through, and signals. The exit code is the command's.", "integration.md"},
			{"run", "What the command writes to the root goes with it. It has the project's directory, or with --ephemeral nothing of the host.", ""},
			{"env-run", "Where this directory is not inside, the command does not run. Karapace itself says nothing, and the exit code is the command's.", "editors.md"},
			{"stop", "Everything inside gets TERM, and KILL after the time, also what has not got started by then. It returns when all is gone.", ""},
		}},
		{"Inspect", []description{
			{"list", "", ""},
			{"inspect", "The provenance is an in-toto statement (v1) with a SLSA provenance predicate (v1) about the image: it names manifest, lock, every input and the layers by digest, and is to be signed by whoever vouches for it.", ""},
			{"stats", "Without ENV it is told of all that run.", ""},
			{"diff", "It compares with the current snapshot, or another one, or what was built.", "drift.md"},
			{"sbom", "It is in SPDX 2.3 or CycloneDX 1.6, as JSON: base and packages with digest, location and package URL; the same bytes for the same lock. Licences are not known to a lock.", ""},
		}},
		{"Keep", []description{
			{"adopt", "", "drift.md"},
			{"commit", "The exit code is 1 when nothing was changed.", "snapshots.md"},
			{"snapshots", "The current one is marked. One that others lie on cannot be removed.", "snapshots.md"},
			{"restore", "What was changed since becomes a snapshot, or is dropped with --discard.", "snapshots.md"},
			{"freeze", "", "snapshots.md"},
			{"unfreeze", "", "snapshots.md"},
			{"archive", "", "snapshots.md"},
			{"unarchive", "", "snapshots.md"},
			{"rename", "Names are 1 to 64 of A-Z, a-z, 0-9, _ and -, and do not begin with -.", ""},
			{"destroy", "With --all it is the whole store.", ""},
		}},
		{"Menus and shells", []description{
			{"export-app", "Applications are named by desktop file id or package; without any they are those of [gui] apps, or everything. With --bin they are programs, and go to ~/.local/bin.", "apps.md"},
			{"unexport-app", "", "apps.md"},
			{"apps", "Without ENV it is told what all have exported.", "apps.md"},
			{"hook", "The output is what a shell's start-up file evaluates.", ""},
			{"completions", "The output is what a shell's start-up file evaluates.", ""},
			{"man-pages", "They are man1 and man5 below the directory.", ""},
		}},
		{"Share", []description{
			{"export", "With - as PATH it is written to standard output.", "export.md"},
			{"push", "Instead of REF, --remote and --tag, or the remote of the user's configuration, may say where to.", "registries.md"},
			{"pull", "The lock comes with it. Instead of REF, --remote and --tag, or the remote of the user's configuration, may say where from.", "registries.md"},
		}},
		{"Store", []description{
			{"images", "One that an environment uses is not removed, nor one that its packages were installed on where several bases give the same.", ""},
			{"gc", "The reason is told for each.", "store-spec.md"},
			{"verify-store", "Every layer, snapshot, image, record and file of the vault is read, and every reference followed in both directions; exit code 3 names what is damaged. -v tells also what is no damage: garbage, and files that would be fetched again. " +
				"--repair mends what can be mended and puts the rest aside.", "store-spec.md"},
			{"migrate", "A copy of its records stays in backup. It is the only command that the store of an earlier version takes.", "store-spec.md"},
		}},
		{"This machine", []description{
			{"backends", "It is told of each: version, place and features, or why not.", ""},
			{"compare", "What a process sees on each is compared, and how long start, run and stop take.", "compare.md"},
			{"tui", "", "tui.md"},
			{"doctor", "It is told what the host and the store lack, what that means, and the command that mends it.", "doctor.md"},
		}},
	}
}

// commands are all of them, as help shows them.
func (p *program) commands() []*cli.Command {
	var all []*cli.Command
	for _, ch := range chapters() {
		for _, d := range ch.commands {
			c := p.command(d.name)
			c.Category, c.Description, c.HideHelpCommand = ch.title, d.text, true
			all = append(all, c)
		}
	}
	return all
}

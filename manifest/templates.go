package manifest

import (
	"fmt"
	"strings"
)

// Starter is a manifest to begin with.
type Starter struct {
	Name    string
	Summary string // one line
	Text    string // a whole karapace.toml
}

// Templates lists what "karapace new --template" offers, the simplest first. The examples directory has the same texts.
func Templates() []Starter {
	return []Starter{
		{"minimal", "a bare Debian, nothing added", minimalTemplate},
		{"dev", "C and Python development with the usual tools", devTemplate},
		{"gui-dev", "graphical programs: GTK, GPU and audio, an editor in the menu", guiTemplate},
		{"rust-dev", "Rust with cargo, clippy and rustfmt", rustTemplate},
		{"ubuntu-dev", "the same tools as dev, on Ubuntu", ubuntuTemplate},
	}
}

// Template gives the text of one template.
func Template(name string) (string, error) {
	var names []string
	for _, t := range Templates() {
		if t.Name == name {
			return t.Text, nil
		}
		names = append(names, t.Name)
	}
	remedy := "there are " + strings.Join(names, ", ")
	if near := nearest(name, names); near != "" {
		remedy = fmt.Sprintf("did you mean %q?", near)
	}
	return "", &Error{Msg: fmt.Sprintf("no template is called %s", quote(name)), Remedy: remedy}
}

const minimalTemplate = `# The smallest environment: a Debian base and nothing else.
# "karapace build" makes it, "karapace enter" opens a shell in it.
manifest_version = 1

[base]
# Assembled from Debian's own signed packages. Every one is pinned in karapace.lock.
image = "bootstrap:debian/bookworm"

# Packages of the distribution go here:
# [system]
# packages = ["git", "curl"]
`

const devTemplate = `# Everyday development: a compiler, Python, and the tools around them.
manifest_version = 1

[base]
image = "bootstrap:debian/bookworm"

[system]
packages = [
  "build-essential",
  "ca-certificates",
  "cmake",
  "curl",
  "gdb",
  "git",
  "less",
  "openssh-client",
  "pkg-config",
  "python3",
  "vim",
]

[mounts]
# LABEL = "HOST:CONTAINER", with :ro at the end for read-only. ./ is the directory of this file.
workspace = "./:/workspace"

[env]
EDITOR = "vim"
`

const guiTemplate = `# Graphical programs: the display is there without asking, GPU and audio are let in here.
manifest_version = 1

[base]
image = "bootstrap:debian/bookworm"

[system]
packages = [
  "adwaita-icon-theme",
  "build-essential",
  "ca-certificates",
  "fonts-dejavu-core",
  "git",
  "libgtk-4-dev",
  "mesa-utils",
  "meson",
  "pkg-config",
]

[gui]
# Installed too; "karapace export-app" puts them into the menu of your desktop.
apps = ["geany"]

[hardware]
gpu = true
audio = true

[mounts]
workspace = "./:/workspace"
`

const rustTemplate = `# Rust as the distribution packages it: compiler, cargo, clippy, rustfmt and the library's source for editors.
manifest_version = 1

[base]
image = "bootstrap:debian/bookworm"

[system]
packages = [
  "build-essential",
  "ca-certificates",
  "cargo",
  "curl",
  "git",
  "libssl-dev",
  "pkg-config",
  "rust-clippy",
  "rust-src",
  "rustc",
  "rustfmt",
]

[mounts]
workspace = "./:/workspace"

[env]
# Crates are fetched once and stay with the project; keep this directory out of version control.
CARGO_HOME = "/workspace/.cargo-home"
`

const ubuntuTemplate = `# The tools of the dev template on Ubuntu 24.04.
manifest_version = 1

[base]
image = "bootstrap:ubuntu/noble"

[system]
packages = [
  "build-essential",
  "ca-certificates",
  "cmake",
  "curl",
  "gdb",
  "git",
  "less",
  "openssh-client",
  "pkg-config",
  "python3",
  "vim",
]

[mounts]
workspace = "./:/workspace"

[env]
EDITOR = "vim"
`

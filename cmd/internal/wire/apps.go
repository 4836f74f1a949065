package wire

import "github.com/karapace/karapace/manifest"

// Apps asks for applications of an environment.
type Apps struct {
	EnvID    manifest.EnvID `json:"env_id"`
	Names    []string       `json:"names,omitempty"`    // desktop file ids or packages; none: all there are, without icons
	Program  string         `json:"program,omitempty"`  // instead: whether there is a program of this name
	Packages *Build         `json:"packages,omitempty"` // what the environment's lock says, to ask its package manager
}

// AppsResult is the answer to Apps.
type AppsResult struct {
	Apps    []App    `json:"apps"`
	Missing []string `json:"missing,omitempty"` // names that nothing answers to
}

// App is an application with a desktop entry.
type App struct {
	ID    string `json:"id"`   // the desktop file's name without .desktop
	Name  string `json:"name"` // what people call it
	Shown bool   `json:"shown"`
	For   string `json:"for"`  // the name that was asked for
	Text  []byte `json:"text"` // of the desktop file
	Icons []Icon `json:"icons,omitempty"`
}

// Icon is an icon of an application, harmless.
type Icon struct {
	Size string `json:"size"` // directory of the icon theme: "48x48", "scalable"
	Ext  string `json:"ext"`  // "png" or "svg"
	Data []byte `json:"data"`
}

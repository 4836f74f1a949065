package manifest

import (
	"slices"

	"github.com/opencontainers/go-digest"
)

// Manifest is a parsed and normalised karapace.toml: trimmed, lists sorted and free of duplicates.
type Manifest struct {
	Base     Base
	Packages []string
	Apps     []string
	Hardware Hardware
	Mounts   []Mount  // by label
	Env      []EnvVar // by name
	Runtime  Runtime

	Integration []Setting // by name
}

// Base names the system an environment starts from.
type Base struct {
	Image  string // as written, see BaseRef
	Arch   string // a GOARCH name; empty is the host's
	Mirror string // package mirror or dated snapshot archive; empty is the image's own
}

// Hardware says which devices of the host are let in.
type Hardware struct {
	GPU   bool
	Audio bool
}

// Mount lets one host directory or file in. Host is kept as written: absolute, "~/...", or relative to the manifest's directory.
type Mount struct {
	Label     string
	Host      string
	Container string
	ReadOnly  bool
}

// String gives the mount as a manifest has it: HOST:CONTAINER[:ro].
func (m Mount) String() string {
	s := m.Host + ":" + m.Container
	if m.ReadOnly {
		s += ":ro"
	}
	return s
}

// EnvVar is one variable set inside the environment.
type EnvVar struct {
	Name  string
	Value string
}

// Runtime says how an environment runs.
type Runtime struct {
	Backend          string
	NetworkIsolation bool
	CPUShares        int64 // 0 is unset
	MemoryLimitMB    int64 // 0 is unset
}

// EnvID identifies a lock: 64 lower-case hexadecimal digits.
type EnvID string

// Short returns the first 12 digits.
func (id EnvID) Short() string { return string(id[:min(12, len(id))]) }

// Package is one package file, pinned.
type Package struct {
	Name      string
	Version   string // with epoch where the distribution has one
	Arch      string // the distribution's name for it
	Location  string // URL it was resolved at
	SHA256    string // hexadecimal
	Size      int64  // bytes
	Requested bool   // named by the manifest, not only a dependency
	// Signature is the SHA-256 of the detached signature that lies beside the file, at SignatureLocation, hexadecimal;
	// empty when the file has none that matters.
	Signature string `json:",omitempty"`
}

// SignatureLocation is the URL of the package's detached signature.
func (p Package) SignatureLocation() string { return p.Location + ".sig" }

// Repository is one signed package index that the resolution used.
type Repository struct {
	Location   string // base URL
	Suite      string
	Components string // separated by one space
	SHA256     string // of the signed index as fetched, hexadecimal
	Date       int64  // the index's own date, seconds since the epoch
}

// AddRepository adds one to those that a resolution used, unless it is among them: whoever configures it may have done so twice.
func AddRepository(list []Repository, r Repository) []Repository {
	if slices.Contains(list, r) {
		return list
	}
	return append(list, r)
}

// VolatilePath is a path left out of the package layer because two builds differ in it.
type VolatilePath struct {
	Path    string
	Package string
}

// Output is what building a lock gave. It is no part of the lock's identity.
type Output struct {
	BaseLayer    digest.Digest
	PackageLayer digest.Digest // empty when no package was asked for
	ImageDigest  digest.Digest
}

// Lock is every input of an environment by digest, and what they gave.
type Lock struct {
	Arch              string // a GOARCH name
	SourceDateEpoch   int64
	BaseImage         string // as the manifest has it
	BaseImageLocation string // where it was found, immutable where the source has such a form
	BaseImageDigest   digest.Digest
	BuildEnvironment  int64          // version of the fixed environment packages are installed in
	BasePackages      []Package      // what a bootstrapped base is made of
	Requested         []string       // packages as the manifest names them; one the base already has, or a virtual one, has no Package
	Packages          []Package      // the full closure installed on the base
	Apps              []string       // as requested
	Repositories      []Repository   // in the order they were used
	Volatile          []VolatilePath // by path
	Backend           string
	Hardware          Hardware
	NetworkIsolation  bool
	CPUShares         int64
	MemoryLimitMB     int64
	Mounts            []Mount
	Env               []EnvVar
	Integration       []Setting // by name
	Output            Output
}

// Package distro speaks to the distributions' own package managers: one file each.
//
// Resolving is not installing. Plan asks the manager inside the base which files it would install and returns them
// with their digests; nothing it writes is kept. Install runs the manager against a small repository made of exactly
// the locked files, without any network, always, the first time too; so building from a lock written a year ago and
// building right after locking are the same act.
//
// The package touches no network and mounts nothing: a Sandbox runs commands in the base, a Fetcher brings files.
package distro

import (
	"context"
	"errors"
	"io"

	"github.com/karapace/karapace/manifest"
)

// SharedDir is where Sandbox.Shared appears inside the base.
const SharedDir = "/run/karapace"

// Sandbox runs programs of a base system inside it, as root, in the fixed build environment, with an empty network.
type Sandbox interface {
	// Run returns an error that carries the tail of the output when the command does not exit with 0.
	Run(ctx context.Context, c Command) error
	// Shared is a directory of the caller's that appears at SharedDir inside; it is not part of the captured root.
	Shared() string
	// Open reads a regular file of the root; symbolic links resolve inside the root. Missing files give fs.ErrNotExist.
	Open(name string) (io.ReadCloser, error)
	// ReadDir lists the names in a directory of the root, sorted; a missing directory gives fs.ErrNotExist.
	ReadDir(name string) ([]string, error)
}

// Command is one program run in a Sandbox. Argv[0] is looked up in the fixed PATH of the build environment.
type Command struct {
	Argv   []string
	Env    []string  // added to the fixed environment
	Stdout io.Writer // nil: kept only for error messages
	Binds  []Bind    // directories of the caller's that appear inside, read-only
}

// Bind shows a directory of the caller's inside, where nothing can change it.
type Bind struct{ Source, Target string }

// File is one file to fetch, known by its digest.
type File struct {
	URL     string
	Mirrors []string // further places to try, in order, when URL fails
	SHA256  string   // hexadecimal
	Size    int64    // bytes, exact; 0 when nobody knows it
}

// PackageFiles are the files of packages, those of their signatures too.
func PackageFiles(pkgs []manifest.Package) []File {
	out := make([]File, 0, len(pkgs))
	for _, p := range pkgs {
		out = append(out, File{URL: p.Location, SHA256: p.SHA256, Size: p.Size})
		if p.Signature != "" {
			out = append(out, File{URL: p.SignatureLocation(), SHA256: p.Signature})
		}
	}
	return out
}

// Document is one small file to read that has no digest yet, a signed index for example.
type Document struct {
	URL   string
	Limit int64 // bytes; more is an error
	// Signed says that the caller checks a signature over the content, so that it may come over plain http.
	Signed bool
	// Keep keeps the document, so that its server sends it again only when it has changed.
	Keep bool
}

// Fetcher brings files from the network, or from the vault when they are there.
type Fetcher interface {
	// Get reads a document. One that its server says does not exist gives fs.ErrNotExist.
	Get(ctx context.Context, doc Document) ([]byte, error)
	// Fetch brings all files into the vault, in parallel, verified. what names them in the progress display ("packages").
	Fetch(ctx context.Context, what string, files []File) error
	// Add brings a document into the vault whose sha256 nobody knows, and says what it is. The caller checks it by another
	// digest.
	Add(ctx context.Context, what string, doc Document) (File, error)
	// Open reads a file of the vault and verifies it on the way: instead of io.EOF the last Read gives an error that
	// wraps ErrCorrupt when the bytes are not those of the digest. The file is out of the vault then, so that Fetch
	// brings it again. A file that the vault does not have gives fs.ErrNotExist.
	Open(sha256 string) (io.ReadCloser, error)
	// Path is where the vault keeps the file with this digest. Nothing read there is verified.
	Path(sha256 string) string
}

// ErrCorrupt says that a file of the vault does not have the bytes its name promises.
var ErrCorrupt = errors.New("the file does not have its digest")

// Request is what a manifest asks of a package manager.
type Request struct {
	Names  []string // packages and apps, sorted
	Arch   string   // a GOARCH name
	Mirror string   // replaces the base's own repositories when set
	// AllowExpired uses signed indexes after their Valid-Until, where this machine's own package manager does too.
	AllowExpired bool
	// Hold are packages of which no other version is considered, whatever the repositories have by now.
	Hold []manifest.Package
}

// Plan is the answer: the full closure, pinned.
type Plan struct {
	Packages     []manifest.Package // by name, then architecture
	Repositories []manifest.Repository
}

// Owner is a Manager that can say which packages own paths of an installed base.
type Owner interface {
	// Owners gives the package's name by path. Paths are absolute, inside the root. A path that nobody owns gets the owner
	// of its nearest owned directory above if that is exactly one package; one that has none is not in the result.
	Owners(ctx context.Context, sb Sandbox, paths []string) (map[string]string, error)
}

// Manager is one package manager.
type Manager interface {
	Name() string
	// Detect reports whether the base in the sandbox is managed by it.
	Detect(sb Sandbox) bool
	// Plan resolves names against the repositories.
	Plan(ctx context.Context, sb Sandbox, f Fetcher, req Request) (*Plan, error)
	// Install installs exactly pkgs from the vault; the requested ones are asked for by name.
	Install(ctx context.Context, sb Sandbox, f Fetcher, pkgs []manifest.Package) error
}

// Lister is a Manager that can list what is installed.
type Lister interface {
	// Installed lists the packages of the system in the sandbox, in no order.
	Installed(ctx context.Context, sb Sandbox) ([]Installed, error)
	// CompareVersions orders versions: negative when a is older than b.
	CompareVersions(a, b string) int
}

// Installed is an installed package.
type Installed struct {
	Name, Version, Arch string
	Explicit            bool // asked for by name, not only needed by others
	Guessed             bool // Explicit is no more than likely
	Foreign             bool // of another architecture than the system
}

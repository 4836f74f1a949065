// Package wire is what karapace and karapace-store say to each other. karapace starts karapace-store inside the user
// namespace, writes one Request to its standard input, and reads Events from its standard output, one JSON document a
// line, the last of which is a result or an error. Nothing else is written to that stream.
package wire

import (
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
)

// Request asks for one operation; exactly one of the pointers is set.
type Request struct {
	Store    string   `json:"store"`
	Rootless bool     `json:"rootless"` // inside a user namespace of Karapace's making
	User     User     `json:"user"`
	Overlay  string   `json:"overlay,omitempty"` // "kernel", "fuse", or empty: what works
	Build    *Build   `json:"build,omitempty"`
	Sweep    *Sweep   `json:"sweep,omitempty"`
	Images   *Images  `json:"images,omitempty"`
	Verify   *Verify  `json:"verify,omitempty"`
	GC       *GC      `json:"gc,omitempty"`
	Check    *Check   `json:"check,omitempty"`
	Diff     *Diff    `json:"diff,omitempty"`
	Apps     *Apps    `json:"apps,omitempty"`
	Migrate  *Migrate `json:"migrate,omitempty"`
	Export   *Export  `json:"export,omitempty"`
	Unpack   *Unpack  `json:"unpack,omitempty"`
	Clear    *Clear   `json:"clear,omitempty"`
	Push     *Push    `json:"push,omitempty"`
	Pull     *Pull    `json:"pull,omitempty"`

	Commit         *Commit         `json:"commit,omitempty"`
	RemoveSnapshot *RemoveSnapshot `json:"remove_snapshot,omitempty"`
}

// User is whose store it is.
type User struct {
	UID   int    `json:"uid"`
	GID   int    `json:"gid"`
	Name  string `json:"name"`
	Home  string `json:"home"`
	Shell string `json:"shell"`
}

// Build resolves when there is no lock, fetches, installs, and makes the environment.
type Build struct {
	File         string         `json:"file"`               // the manifest's name in messages
	Dir          string         `json:"dir"`                // the manifest's directory, absolute
	Manifest     []byte         `json:"manifest,omitempty"` // empty: the lock says it all
	Lock         []byte         `json:"lock,omitempty"`     // empty: resolve
	LockFile     string         `json:"lock_file"`
	Update       *Update        `json:"update,omitempty"` // resolve, but keep most of an earlier lock
	Name         string         `json:"name,omitempty"`
	LockOnly     bool           `json:"lock_only,omitempty"`
	FetchOnly    bool           `json:"fetch_only,omitempty"` // bring all files that the lock names, and keep them
	Pin          bool           `json:"pin,omitempty"`        // only find out what base.image means now
	Offline      bool           `json:"offline,omitempty"`
	Mend         bool           `json:"mend,omitempty"`     // layers that are there may be damaged
	Fresh        bool           `json:"fresh,omitempty"`    // make the layers anew, whatever the store has
	Replaces     manifest.EnvID `json:"replaces,omitempty"` // gives up its name to the new one
	ReplacesName string         `json:"replaces_name,omitempty"`
	Force        bool           `json:"force,omitempty"` // even if what it replaces holds work of the user's
	Config       []byte         `json:"config,omitempty"`
	ConfigFile   string         `json:"config_file,omitempty"`
	ImageServers []string       `json:"image_servers,omitempty"` // in place of the configured ones
	Backend      string         `json:"backend"`                 // what package managers run in
	AptDir       string         `json:"apt_dir"`                 // the host's apt configuration
	BackendDirs  []string       `json:"backend_dirs"`            // where runtimes are looked for beside PATH
	Twice        *Twice         `json:"twice,omitempty"`
	Remote       Remote         `json:"remote"` // how the base image's registry is reached
}

// Update asks for newer versions of some packages only.
type Update struct {
	Lock     []byte   `json:"lock"` // what everything else is kept from
	Packages []string `json:"packages"`
	Added    []string `json:"added,omitempty"` // packages that the earlier lock need not have
}

// Some tells whether only some packages may change.
func (u *Update) Some() bool { return len(u.Packages)+len(u.Added) > 0 }

// Twice asks for a second build under other circumstances, which must give the same bytes.
type Twice struct {
	Volatile []string `json:"volatile,omitempty"` // paths that may differ and are left out, with all below them
	Accept   bool     `json:"accept,omitempty"`   // whatever differs may
}

// Verify compares an environment's layers with what their names promise.
type Verify struct {
	EnvID   manifest.EnvID `json:"env_id"`
	Rebuild *Build         `json:"rebuild,omitempty"` // also make them again, aside
	Odd     bool           `json:"odd,omitempty"`     // with Rebuild: under other circumstances
}

// Sweep removes what nobody needs: abandoned scratch directories.
type Sweep struct {
	All   bool `json:"all,omitempty"`   // everything the store holds
	Force bool `json:"force,omitempty"` // whoever is in an environment
}

// Images removes base layers that no environment uses.
type Images struct {
	RemoveLayers []string `json:"remove_layers"`
}

// GC removes what no environment needs.
type GC struct {
	DryRun     bool `json:"dry_run,omitempty"`    // only tell
	Quarantine bool `json:"quarantine,omitempty"` // also what a repair has put aside
}

// Migrate brings the store to the version that the program knows; the answer is storage.Migrated.
type Migrate struct{}

// Check compares everything in the store with what it should be.
type Check struct {
	Repair bool  `json:"repair,omitempty"` // mend what can be mended, put the rest aside, and check again
	Build  Build `json:"build"`            // how layers are built again; its documents are those of environments
}

// CheckResult is the answer to Check.
type CheckResult struct {
	Checked  int       `json:"checked"` // things that were looked at
	Bytes    int64     `json:"bytes"`   // that were read of layers, snapshots and files
	Problems []Problem `json:"problems"`
	Notes    []Problem `json:"notes"` // what is no damage
}

// Problem is one thing in the store that is not as it should be.
type Problem struct {
	Kind   string `json:"kind"` // version, layer, image, index, environment, snapshot, name, lock, manifest, build, file or document; of notes also those of Garbage
	ID     string `json:"id"`
	Path   string `json:"path"` // below the store; may be empty in notes
	What   string `json:"what"`
	Remedy string `json:"remedy"`
	Mended string `json:"mended,omitempty"` // what repair did; empty: it is as it was
}

// Commit makes the drift of an environment a snapshot.
type Commit struct {
	EnvID   manifest.EnvID `json:"env_id"`
	Message string         `json:"message"`
	Discard bool           `json:"discard,omitempty"` // with To: the drift goes instead
	To      *digest.Digest `json:"to,omitempty"`      // the snapshot to go to then, or "" for the built state; nil: the new one
}

// CommitResult is the answer to Commit.
type CommitResult struct {
	Record   *storage.Record   `json:"record"`
	Snapshot *storage.Snapshot `json:"snapshot,omitempty"` // nil: there was no drift to keep
}

// RemoveSnapshot removes a snapshot that nothing lies on.
type RemoveSnapshot struct {
	EnvID manifest.EnvID `json:"env_id"`
	ID    digest.Digest  `json:"id"`
}

// GCResult is the answer to GC.
type GCResult struct {
	Removed []Garbage `json:"removed"`
}

// Garbage is one thing that nothing needs.
type Garbage struct {
	Kind   string `json:"kind"` // "scratch", "image", "layer", "file", "download", "damaged", "lock", "drift" or "quarantine"
	ID     string `json:"id"`
	Size   int64  `json:"size"` // bytes on disk
	Reason string `json:"reason"`
}

// Scratch is the garbage of a command that ended early: a file or directory.
func Scratch(id string, size int64) Garbage {
	return Garbage{Kind: "scratch", ID: id, Size: size, Reason: "a command that ended early has left it"}
}

// Count says how many there are of something.
func Count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Event is one line of the answer.
type Event struct {
	Step     string          `json:"step,omitempty"`     // a new step of the work began
	Transfer *Transfer       `json:"transfer,omitempty"` // how far the present one is
	Note     string          `json:"note,omitempty"`     // something the user should know
	Changes  []byte          `json:"changes,omitempty"`  // the next part of the answer to Diff: Changes, see Change.Append
	Error    *Error          `json:"error,omitempty"`
	Result   json.RawMessage `json:"result,omitempty"`
}

// Transfer is the progress of a step that moves bytes.
type Transfer struct {
	What  string `json:"what"`
	Files int    `json:"files"`
	Done  int64  `json:"done"`  // bytes
	Total int64  `json:"total"` // bytes; 0 when unknown
	End   bool   `json:"end,omitempty"`
}

// Error is a failure that crosses the process boundary.
type Error struct {
	Kind    failure.Kind   `json:"kind"`
	Message string         `json:"message"`
	Hint    string         `json:"hint,omitempty"`
	Reason  failure.Reason `json:"reason,omitempty"`
}

// BuildResult is the answer to Build.
type BuildResult struct {
	Lock    []byte          `json:"lock"` // canonical text
	Record  *storage.Record `json:"record,omitempty"`
	Created bool            `json:"created"` // false: the environment was there
	Timings []Timing        `json:"timings"`
	Pinned  string          `json:"pinned,omitempty"` // base.image in its pinned form, the answer to Pin

	Files int   `json:"files,omitempty"` // of a fetch: all that the lock names
	Bytes int64 `json:"bytes,omitempty"` // their sizes

	Differences []Difference `json:"differences,omitempty"` // between two builds; there is no record then
	Varied      []string     `json:"varied,omitempty"`      // what was different about the second build
}

// VerifyResult is the answer to Verify.
type VerifyResult struct {
	Layers      []VerifiedLayer `json:"layers"`
	Differences []Difference    `json:"differences"` // between the layers and what was made again
	Varied      []string        `json:"varied,omitempty"`
}

// VerifiedLayer is what became of one layer, or of the image.
type VerifiedLayer struct {
	What    string        `json:"what"` // "base layer", "package layer", "image", or SnapshotLayer and 12 digits
	Digest  digest.Digest `json:"digest"`
	Found   digest.Digest `json:"found,omitempty"`   // of what is in the store; empty when nothing is
	Rebuilt digest.Digest `json:"rebuilt,omitempty"` // of what was made again
}

// SnapshotLayer begins the name of a snapshot among verified layers; the beginning of its id follows.
const SnapshotLayer = "snapshot "

// Difference is a path that two builds do not agree about.
type Difference struct {
	Layer   string `json:"layer"` // "base" or "packages"
	Path    string `json:"path"`  // absolute
	Kind    string `json:"kind"`  // as in fstree.Difference, or "order"
	Package string `json:"package,omitempty"`
	Cause   string `json:"cause,omitempty"`
}

// Timing tells where the time went.
type Timing struct {
	Step   string `json:"step"`
	Millis int64  `json:"ms"`
}

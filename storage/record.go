package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/manifest"
)

// Record is what makes an environment exist, and all that entering it needs to know.
type Record struct {
	RecordVersion int            `json:"record_version"` // 1
	EnvID         manifest.EnvID `json:"env_id"`
	Name          string         `json:"name,omitempty"`
	State         string         `json:"state"`         // StateBuilt, StateFrozen or StateArchived
	Was           string         `json:"was,omitempty"` // of an archived one: what it is again when it leaves the archive
	Arch          string         `json:"arch"`
	Backend       string         `json:"backend"`
	CreatedAt     time.Time      `json:"created_at"`

	ManifestID   manifest.ManifestID `json:"manifest_id"` // preliminary id of the manifest it was built for
	BaseImage    string              `json:"base_image"`
	BaseLayer    digest.Digest       `json:"base_layer"`
	PackageLayer digest.Digest       `json:"package_layer,omitempty"`
	ImageDigest  digest.Digest       `json:"image_digest"`
	BaseSize     int64               `json:"base_size"`    // bytes of the base layer's tar
	PackageSize  int64               `json:"package_size"` // bytes of the package layer's tar
	Packages     []string            `json:"packages,omitempty"`
	Apps         []string            `json:"apps,omitempty"`

	Host             string            `json:"host,omitempty"`      // directory of what the host adds below the environment's; empty is "host"
	HostLayer        digest.Digest     `json:"host_layer"`          // of the canonical tar of that
	Lower            []string          `json:"lower"`               // directories of the built layers below the store, top first
	Upper            string            `json:"upper,omitempty"`     // directory of the writable layer below the environment's; empty is "upper"
	Snapshots        []Snapshot        `json:"snapshots,omitempty"` // oldest first
	Current          digest.Digest     `json:"current,omitempty"`   // the snapshot the writable layer lies on; empty is the built state
	ImageEnv         []string          `json:"image_env,omitempty"`
	ManifestDir      string            `json:"manifest_dir"` // what relative mounts are relative to
	Mounts           []manifest.Mount  `json:"mounts,omitempty"`
	Env              []manifest.EnvVar `json:"env,omitempty"`
	Hardware         manifest.Hardware `json:"hardware"`
	NetworkIsolation bool              `json:"network_isolation"`
	CPUShares        int64             `json:"cpu_shares,omitempty"`
	MemoryLimitMB    int64             `json:"memory_limit_mb,omitempty"`

	Integration []manifest.Setting `json:"integration,omitempty"`

	text string // of the file it was read from
}

// Title is what people call the environment: its name, else its short id.
func (r *Record) Title() string { return cmp.Or(r.Name, r.EnvID.Short()) }

// NotFoundError says that no environment, or more than one, answers to a reference.
type NotFoundError struct {
	Ref     string
	Matches []string // more than one: the reference is ambiguous
}

func (e *NotFoundError) Error() string {
	if len(e.Matches) > 1 {
		return fmt.Sprintf("environment %q is ambiguous: it could be %s", e.Ref, strings.Join(e.Matches, ", "))
	}
	ref := e.Ref
	if IsID(ref) { // people are shown, and give, the beginning
		ref = manifest.EnvID(ref).Short()
	}
	return fmt.Sprintf("there is no environment %q", ref)
}

const recordLimit = 4 << 20

// EnvDir is the directory of an environment.
func (s *Store) EnvDir(id manifest.EnvID, elem ...string) string {
	return filepath.Join(append([]string{s.root, "envs", string(id)}, elem...)...)
}

// firstUpper is the writable layer an environment is built with.
const firstUpper = "upper"

// UpperName is the directory of the writable layer, below the environment's.
func (r *Record) UpperName() string { return cmp.Or(r.Upper, firstUpper) }

// UpperDir is the writable layer of an environment.
func (s *Store) UpperDir(r *Record) string { return s.EnvDir(r.EnvID, r.UpperName()) }

// firstHost is what the host adds to an environment when it is built.
const firstHost = "host"

// HostName is the directory of what the host adds, below the environment's.
func (r *Record) HostName() string { return cmp.Or(r.Host, firstHost) }

// HostDir is what the host adds to an environment: a lower directory.
func (s *Store) HostDir(r *Record) string { return s.EnvDir(r.EnvID, r.HostName()) }

// Record reads the record of id; a missing one is a NotFoundError.
func (s *Store) Record(id manifest.EnvID) (*Record, error) {
	return s.readRecord(id, s.EnvDir(id, recordName))
}

func (s *Store) readRecord(id manifest.EnvID, path string) (*Record, error) {
	b, err := readBounded(path, recordLimit)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return nil, &NotFoundError{Ref: string(id)}
	}
	if Starved(err) {
		return nil, fmt.Errorf("read the record of environment %s: %w", id.Short(), err)
	}
	if err != nil {
		return nil, &Error{Path: s.root, Msg: fmt.Sprintf("read record: %v", err)}
	}
	r := &Record{text: string(b)}
	if err := Unseal(b, r); err != nil {
		return nil, s.damaged(id, err.Error())
	}
	if why := r.check(id); why != "" {
		return nil, s.damaged(id, why)
	}
	return r, nil
}

// check says what is wrong with a record that was read.
func (r *Record) check(id manifest.EnvID) string {
	if r.EnvID != id || r.RecordVersion != 1 {
		return fmt.Sprintf("it says it is version %d of %q", r.RecordVersion, r.EnvID)
	}
	if r.Name != "" && !manifest.ValidName(r.Name) {
		return fmt.Sprintf("%q is no name", r.Name)
	}
	for _, l := range append([]string{r.UpperName(), r.HostName()}, r.Lower...) {
		if !filepath.IsLocal(l) {
			return fmt.Sprintf("the layer directory %q leaves the store", l)
		}
	}
	return cmp.Or(r.checkState(), r.checkSnapshots())
}

// Changed tells whether the record on disk is another one than r, which was read from it, or gone.
func (s *Store) Changed(r *Record) bool {
	b, err := readBounded(s.EnvDir(r.EnvID, recordName), recordLimit)
	return err != nil || string(b) != r.text
}

func (s *Store) damaged(id manifest.EnvID, why string) error {
	return &Error{Path: s.root, Msg: fmt.Sprintf("the record of environment %s is damaged: %s", id.Short(), why),
		Hint: "karapace verify-store --repair; or build it again from its lock: karapace rebuild"}
}

// Update changes the record of an environment: f is given what it says now, while nobody else changes one.
func (s *Store) Update(ctx context.Context, id manifest.EnvID, f func(*Record) error) (r *Record, err error) {
	err = s.ChangeNames(ctx, func() error {
		if r, err = s.Record(id); err != nil {
			return err
		}
		if err := f(r); err != nil {
			return err
		}
		if why := r.check(id); why != "" {
			return s.damaged(id, "as it was to be written: "+why)
		}
		return s.WriteRecord(r)
	})
	return r, err
}

// WriteRecord replaces the record of an environment that is there, and with the same rename the time when the directory of all was
// changed, see Summaries. Call it within ChangeNames.
func (s *Store) WriteRecord(r *Record) error {
	b, err := EncodeRecord(r)
	if err != nil {
		return err
	}
	if err := writeFile(s.Path("envs"), s.EnvDir(r.EnvID, recordName), b, 0o644); err != nil {
		return err
	}
	WriteCopy(s.EnvDir(r.EnvID), recordName, b)
	return nil
}

// EncodeRecord gives the bytes of a record file.
func EncodeRecord(r *Record) ([]byte, error) {
	b, err := Seal(r)
	if err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	if len(b) > recordLimit {
		return nil, fmt.Errorf("encode record: %d bytes are more than a record may have; remove snapshots", len(b))
	}
	return b, nil
}

// Records reads all records, oldest first. Damaged ones are returned as errors beside the good ones.
func (s *Store) Records() ([]*Record, []error) {
	ids, err := s.ids()
	if err != nil {
		return nil, []error{err}
	}
	all, bad := s.recordsOf(ids)
	slices.SortFunc(all, func(a, b *Record) int {
		if c := a.CreatedAt.Compare(b.CreatedAt); c != 0 {
			return c
		}
		return strings.Compare(string(a.EnvID), string(b.EnvID))
	})
	return all, bad
}

// recordsOf reads some of them.
func (s *Store) recordsOf(ids []manifest.EnvID) (all []*Record, bad []error) {
	records, errs := make([]*Record, len(ids)), make([]error, len(ids))
	eachOf(len(ids), func(i int) { records[i], errs[i] = s.Record(ids[i]) })
	for i, r := range records {
		var gone *NotFoundError
		switch err := errs[i]; {
		case errors.As(err, &gone):
			if err := s.lost(ids[i]); err != nil {
				bad = append(bad, err)
			}
		case err != nil:
			bad = append(bad, err)
		default:
			all = append(all, r)
		}
	}
	return all, bad
}

// alone is how many records one processor reads sooner than it has got another to help.
const alone = 16

// eachOf calls f with the numbers below n, on as many processors as are worth it.
func eachOf(n int, f func(int)) {
	var next atomic.Int64
	work := func() {
		for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
			f(int(i))
		}
	}
	var others sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0)-1, n/alone) {
		others.Go(work)
	}
	work()
	others.Wait()
}

func (s *Store) ids() ([]manifest.EnvID, error) {
	entries, err := os.ReadDir(s.Path("envs"))
	if err != nil {
		return nil, &Error{Path: s.root, Msg: err.Error()}
	}
	var ids []manifest.EnvID
	for _, e := range entries {
		if IsID(e.Name()) {
			ids = append(ids, manifest.EnvID(e.Name()))
		}
	}
	return ids, nil
}

// Find reads the record that ref names: a full id, a name, or a prefix of one id.
func (s *Store) Find(ref string) (*Record, error) {
	if IsID(ref) {
		return s.Record(manifest.EnvID(ref))
	}
	if r, err := s.named(ref); r != nil || err != nil {
		return r, err
	}
	if ref == "" || !isHex(ref) {
		return nil, &NotFoundError{Ref: ref}
	}
	ids, err := s.ids()
	if err != nil {
		return nil, err
	}
	var matches []string
	for _, id := range ids {
		if strings.HasPrefix(string(id), ref) {
			matches = append(matches, string(id))
		}
	}
	if len(matches) != 1 {
		return nil, &NotFoundError{Ref: ref, Matches: matches}
	}
	return s.Record(manifest.EnvID(matches[0]))
}

// named returns the record that holds the name, or nil: a link whose record says otherwise was left by a crash. A record that cannot
// be read may be the one.
func (s *Store) named(name string) (*Record, error) {
	if !manifest.ValidName(name) {
		return nil, nil
	}
	id, err := os.Readlink(s.Path("names", name))
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.EINVAL): // not a link
		return nil, nil
	case err != nil:
		return nil, err
	case !IsID(id):
		return nil, nil
	}
	r, err := s.Record(manifest.EnvID(id))
	var gone *NotFoundError
	switch {
	case errors.As(err, &gone):
		return nil, s.lost(manifest.EnvID(id))
	case err != nil || r.Name != name:
		return nil, err
	}
	return r, nil
}

// lost is the error that a record is not there while its environment is, which would have gone whole.
func (s *Store) lost(id manifest.EnvID) error {
	if !Lacks(s.EnvDir(id), recordName) {
		return nil
	}
	return s.damaged(id, "it is missing")
}

// Lacks tells whether a directory is there without a file that it is never without. One that was removed and made again
// while the file was looked for has it.
func Lacks(dir, name string) bool {
	d, err := os.Open(dir)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	defer d.Close()
	return errors.Is(unix.Faccessat(int(d.Fd()), name, unix.F_OK, unix.AT_SYMLINK_NOFOLLOW), fs.ErrNotExist) && isAt(d, dir)
}

// IsID tells whether a file name can be the full id of an environment, or a sha256.
func IsID(s string) bool { return len(s) == 64 && isHex(s) }

// isDigest tells whether d can be the digest of a layer.
func isDigest(d digest.Digest) bool {
	encoded, ok := strings.CutPrefix(string(d), string(digest.SHA256)+":")
	return ok && IsID(encoded)
}

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

package engine

import (
	"errors"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/backends"
	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
)

// Environment is what the program tells about one environment. The JSON names are a promise, see docs/cli.md.
type Environment struct {
	EnvID        manifest.EnvID `json:"env_id"`
	ShortID      string         `json:"short_id"`
	Name         string         `json:"name"`
	State        string         `json:"state"`
	Running      bool           `json:"running"`
	Arch         string         `json:"arch"`
	BaseImage    string         `json:"base_image"`
	BaseLayer    digest.Digest  `json:"base_layer"`
	PackageLayer digest.Digest  `json:"package_layer"`
	ImageDigest  digest.Digest  `json:"image_digest"`
	Backend      string         `json:"backend"`
	CreatedAt    time.Time      `json:"created_at"`
	Current      digest.Digest  `json:"current_snapshot"` // empty is the built state
}

// Describe tells about a record, and asks the kernel whether it runs.
func (e *Engine) Describe(r *storage.Record) Environment {
	runs, _ := e.runs(r.EnvID)
	return environment(r.Summary(), runs)
}

// runs asks the kernel.
func (e *Engine) runs(id manifest.EnvID) (bool, error) {
	st, err := backends.Running(e.stateDir(id))
	return st.Running, err
}

func (e *Engine) stateDir(id manifest.EnvID) string {
	return filepath.Join(e.StoreRoot, "envs", string(id), "state")
}

func environment(s storage.Summary, running bool) Environment {
	return Environment{
		EnvID: s.EnvID, ShortID: s.EnvID.Short(), Name: s.Name, State: s.State, Running: running, Arch: s.Arch,
		BaseImage: s.BaseImage, BaseLayer: s.BaseLayer, PackageLayer: s.PackageLayer, ImageDigest: s.ImageDigest,
		Backend: s.Backend, CreatedAt: s.CreatedAt, Current: s.Current,
	}
}

// List tells about all environments, oldest first. Damaged records come as errors beside the good ones.
func (e *Engine) List() ([]Environment, []error) {
	s, err := e.store()
	if errors.Is(err, storage.ErrNoStore) {
		return []Environment{}, nil
	}
	if err != nil {
		return nil, []error{err}
	}
	summaries, bad := s.Summaries()
	ids := make([]manifest.EnvID, len(summaries))
	for i, sum := range summaries {
		ids[i] = sum.EnvID
	}
	running := s.Running(ids, e.runs)
	list := make([]Environment, 0, len(summaries))
	for _, sum := range summaries {
		list = append(list, environment(sum, running[sum.EnvID]))
	}
	for i := range bad {
		bad[i] = storeFailure(bad[i])
	}
	return list, bad
}

// Details are everything inspect tells.
type Details struct {
	Environment
	Packages         []string `json:"packages"`
	Apps             []string `json:"apps"`
	Mounts           []Mount  `json:"mounts"`
	Env              []EnvVar `json:"env"`
	Hardware         Hardware `json:"hardware"`
	NetworkIsolation bool     `json:"network_isolation"`
	CPUShares        int64    `json:"cpu_shares,omitempty"`
	MemoryLimitMB    int64    `json:"memory_limit_mb,omitempty"`
	Size             Sizes    `json:"size"`
	Lock             string   `json:"lock"`      // file
	Directory        string   `json:"directory"` // of the environment
	Policy           *Policy  `json:"policy"`    // what a session reaches of the host
}

// Mount is manifest.Mount by the names of documents: in records, which are sealed, it keeps those it has.
type Mount struct {
	Label     string `json:"label"`
	Host      string `json:"host"`
	Container string `json:"container"`
	ReadOnly  bool   `json:"read_only"`
}

// EnvVar is manifest.EnvVar, likewise.
type EnvVar struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Hardware is manifest.Hardware, likewise.
type Hardware struct {
	GPU   bool `json:"gpu"`
	Audio bool `json:"audio"`
}

// Sizes are in bytes. Base and Packages are shared by every environment with the same layer.
type Sizes struct {
	Base      int64 `json:"base"`
	Packages  int64 `json:"packages"`
	Writable  int64 `json:"writable"`
	Snapshots int64 `json:"snapshots"` // all of them
}

// Inspect tells all about one environment.
func (e *Engine) Inspect(ref string) (*Details, error) {
	s, r, err := e.find(ref)
	if err != nil {
		return nil, err
	}
	policy, err := e.policyOf(s, r, SessionOptions{})
	if err != nil {
		return nil, err
	}
	mounts, env := []Mount{}, []EnvVar{}
	for _, m := range r.Mounts {
		mounts = append(mounts, Mount(m))
	}
	for _, v := range r.Env {
		env = append(env, EnvVar(v))
	}
	return &Details{
		Environment: e.Describe(r), Packages: list(r.Packages), Apps: list(r.Apps), Mounts: mounts, Env: env, Hardware: Hardware(r.Hardware),
		NetworkIsolation: r.NetworkIsolation, CPUShares: r.CPUShares, MemoryLimitMB: r.MemoryLimitMB,
		Size:      Sizes{Base: r.BaseSize, Packages: r.PackageSize, Writable: storage.Size(s.UpperDir(r)), Snapshots: snapshotSize(r)},
		Lock:      s.EnvDir(r.EnvID, "karapace.lock"),
		Directory: filepath.Clean(s.EnvDir(r.EnvID)),
		Policy:    policy,
	}, nil
}

// list makes an empty list of a missing one, for JSON.
func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

func badName(name string) error {
	return failure.New(failure.Usage, &nameError{name}, "use letters, digits, - and _, at most 64, and no - at the beginning")
}

type nameError struct{ name string }

func (e *nameError) Error() string { return "the name " + quoted(e.name) + " cannot be used" }

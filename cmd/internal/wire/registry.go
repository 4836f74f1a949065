package wire

import (
	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/cmd/internal/credentials"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/storage"
)

// Remote is what is needed to reach a registry, beside the configuration.
type Remote struct {
	Credential credentials.Credential `json:"credential"`
	CertDirs   []string               `json:"cert_dirs,omitempty"` // see containers-certs.d(5)
}

// Push sends an environment to a registry.
type Push struct {
	EnvID       manifest.EnvID `json:"env_id"`
	Ref         string         `json:"ref"`                   // as manifest.ParseImageRef takes it
	Compression string         `json:"compression,omitempty"` // as ociimage.ParseCompression; empty: the configuration's
	Snapshots   bool           `json:"snapshots,omitempty"`
	Packages    bool           `json:"packages,omitempty"`
	SignKey     []byte         `json:"sign_key,omitempty"` // PEM
	MountFrom   []string       `json:"mount_from,omitempty"`
	Config      []byte         `json:"config,omitempty"`
	ConfigFile  string         `json:"config_file,omitempty"`
	Remote      Remote         `json:"remote"`
}

// PushResult is the answer to Push. Sizes are bytes of blobs.
type PushResult struct {
	Ref      string        `json:"ref"`
	Image    digest.Digest `json:"image"`  // over plain layers: the environment's own
	Digest   digest.Digest `json:"digest"` // what the registry calls it
	Sent     int64         `json:"sent"`
	Kept     int64         `json:"kept"`    // were there already
	Mounted  int64         `json:"mounted"` // were taken over from other repositories
	Signed   bool          `json:"signed"`
	Packages int           `json:"packages"` // files of the vault
	Snapshot int           `json:"snapshots"`
}

// Pull makes an environment of what a registry has.
type Pull struct {
	Ref        string   `json:"ref"`
	Name       string   `json:"name,omitempty"`
	Dir        string   `json:"dir"` // what relative mounts are relative to, absolute
	Snapshots  bool     `json:"snapshots,omitempty"`
	Packages   bool     `json:"packages,omitempty"`
	VerifyKeys [][]byte `json:"verify_keys,omitempty"` // PEM; beside them the configuration's
	Config     []byte   `json:"config,omitempty"`
	ConfigFile string   `json:"config_file,omitempty"`
	Remote     Remote   `json:"remote"`
}

// PullResult is the answer to Pull.
type PullResult struct {
	Record   *storage.Record `json:"record"`
	Created  bool            `json:"created"` // false: the environment was there
	Digest   digest.Digest   `json:"digest"`  // what the registry calls it
	Signed   bool            `json:"signed"`  // and by whom was checked
	Packages int             `json:"packages"`
}

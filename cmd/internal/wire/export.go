package wire

import (
	"github.com/opencontainers/go-digest"

	"github.com/karapace/karapace/manifest"
)

// Descriptors that karapace-store gets beside its standard ones, for the requests that speak of them.
const (
	OutputFD = 3 // what is written to: a file, a pipe or an empty directory
	InputFD  = 4 // what is read
)

// Format is a form in which an environment leaves the store.
type Format string

// The formats. All but FormatOCI, which fills a directory, are one stream. A bundle is a FormatRootFS that is unpacked.
const (
	FormatBundle Format = "bundle"
	FormatOCI    Format = "oci"
	FormatDocker Format = "docker-archive"
	FormatRootFS Format = "rootfs"
	FormatDiff   Format = "diff"
)

// Export writes an environment to OutputFD.
type Export struct {
	EnvID       manifest.EnvID `json:"env_id"`
	Format      Format         `json:"format"`
	Snapshot    digest.Digest  `json:"snapshot,omitempty"` // as of when; empty is the built state. Of FormatDiff: whose layer; empty is the drift
	Drift       bool           `json:"drift,omitempty"`    // as it is now
	Compression string         `json:"compression"`        // as ociimage.ParseCompression
	Tag         string         `json:"tag,omitempty"`      // the image's name in what is written
}

// ExportResult is the answer to Export.
type ExportResult struct {
	Image  digest.Digest `json:"image,omitempty"` // of the image manifest over plain layers; empty where no image is written
	Digest digest.Digest `json:"digest"`          // of the image manifest that was written, or of the stream
	Size   int64         `json:"size"`            // bytes written
}

// Unpack fills the directory OutputFD, which belongs to the root of this user namespace then, from the tar InputFD. It
// needs no store.
type Unpack struct{}

// Clear removes all that is in the directory OutputFD. It needs no store.
type Clear struct{}

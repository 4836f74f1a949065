package builder

import (
	"encoding/json"
	"time"

	ispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/karapace/karapace/manifest"
)

// What an image says about the environment it is. The identity binds image and lock: no other lock has it, wherever the
// lock's text comes from. The text is where no runtime looks, and without its output, of which the image is a part.
const (
	labelEnvID = "dev.karapace.env-id" // in the configuration's labels
	noteLock   = "dev.karapace.lock"   // in the annotations of the configuration's descriptor
)

// noteLimit bounds the lock's text in an image manifest, of which registries take 4 MiB. A longer one travels as an
// artifact only.
const noteLimit = 1 << 20

// imageConfig is the configuration of the image of a lock. env are the variables that its base sets.
func imageConfig(l *manifest.Lock, env []string) ispec.Image {
	created := time.Unix(l.SourceDateEpoch, 0).UTC()
	return ispec.Image{
		Created:  &created,
		Platform: ispec.Platform{Architecture: l.Arch, OS: "linux"},
		Config:   ispec.ImageConfig{Env: env, Labels: map[string]string{labelEnvID: string(l.ID())}},
	}
}

// namesLock tells whether the configuration of an image is that of an environment.
func namesLock(config []byte, id manifest.EnvID) bool {
	var image ispec.Image
	return json.Unmarshal(config, &image) == nil && image.Config.Labels[labelEnvID] == string(id)
}

func imageNotes(l *manifest.Lock) map[string]string {
	text := withoutOutput(l)
	if len(text) > noteLimit {
		return nil
	}
	return map[string]string{noteLock: string(text)}
}

// withoutOutput is the text of a lock that has not been built.
func withoutOutput(l *manifest.Lock) []byte {
	bare := *l
	bare.Output = manifest.Output{}
	return bare.Encode()
}

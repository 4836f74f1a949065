package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/karapace/karapace/cmd/internal/failure"
	"github.com/karapace/karapace/manifest"
	"github.com/karapace/karapace/manifest/sbom"
)

// SBOM is the bill of materials of an environment, or of a lock file, as its lock has it: in the format spdx or cyclonedx, by the
// program of that version. An empty ref is the nearest lock, whether it is built or not.
func (e *Engine) SBOM(ref, format, version string) ([]byte, error) {
	subject, _, err := e.subject(ref, version)
	if err != nil {
		return nil, err
	}
	var text []byte
	switch format {
	case "spdx":
		text, err = subject.SPDX()
	case "cyclonedx":
		text, err = subject.CycloneDX()
	default:
		return nil, failure.New(failure.Usage, fmt.Errorf("there is no format %q: it is spdx or cyclonedx", format), "")
	}
	return text, failure.New(failure.General, err, "")
}

// Provenance is a statement about where the image of an environment comes from.
func (e *Engine) Provenance(ref, version string) ([]byte, error) {
	s, r, err := e.find(ref)
	if err != nil {
		return nil, err
	}
	subject, text, err := e.lockSubject(s.EnvDir(r.EnvID, "karapace.lock"), version)
	if err != nil {
		return nil, err
	}
	subject.Name = r.Name
	text, err = subject.Provenance(r.ManifestID, text)
	return text, failure.New(failure.General, err, "")
}

func (e *Engine) subject(ref, version string) (*sbom.Subject, []byte, error) {
	switch {
	case ref == "":
		path, _, err := e.nearestLockFile()
		if err != nil {
			return nil, nil, err
		}
		return e.lockSubject(path, version)
	case strings.ContainsRune(ref, os.PathSeparator), strings.HasSuffix(ref, ".lock"):
		if !filepath.IsAbs(ref) {
			ref = filepath.Join(e.Cwd, ref)
		}
		return e.lockSubject(ref, version)
	}
	s, r, err := e.find(ref)
	if err != nil {
		return nil, nil, err
	}
	subject, text, err := e.lockSubject(s.EnvDir(r.EnvID, "karapace.lock"), version)
	if err == nil {
		subject.Name = r.Name
	}
	return subject, text, err
}

func (e *Engine) lockSubject(path, version string) (*sbom.Subject, []byte, error) {
	text, err := readFile(path, lockLimit)
	if err != nil {
		return nil, nil, failure.New(failure.Lock, fmt.Errorf("read lock: %w", err), "karapace lock writes one")
	}
	l, err := manifest.ParseLock(path, text)
	if err != nil {
		return nil, nil, failure.New(failure.Lock, err, "")
	}
	return &sbom.Subject{Lock: l, Program: version}, text, nil
}

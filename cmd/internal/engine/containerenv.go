package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/karapace/karapace/integration"
	"github.com/karapace/karapace/storage"
)

// containerEnv is the file by which prompts, scripts and programs see that they are inside of a container, and of which: lines of
// NAME="value" as Podman writes them, which shells may read.
// A store that cannot be written to keeps nobody from entering: then there is none.
func (e *Engine) containerEnv(s *storage.Store, r *storage.Record) []integration.Mount {
	var b strings.Builder
	for _, kv := range [...][2]string{
		{"engine", "karapace"}, {"name", displayName(r)}, {"id", string(r.EnvID)}, {"image", r.BaseImage}, {"imageid", strings.TrimPrefix(string(r.ImageDigest), "sha256:")},
	} {
		fmt.Fprintf(&b, "%s=%s\n", kv[0], quotedValue(kv[1]))
	}
	rootless := 1
	if e.User.UID == 0 {
		rootless = 0
	}
	fmt.Fprintf(&b, "rootless=%d\n", rootless)
	file, err := beside(s, r, "containerenv", []byte(b.String()), 0o644)
	if err != nil {
		e.Progress.Note("/run/.containerenv stays out: " + err.Error())
		return nil
	}
	return []integration.Mount{{Source: file, Target: "/run/.containerenv", ReadOnly: true}}
}

// quotedValue is a value in double quotes, in which a shell finds nothing to do.
func quotedValue(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c < ' ' || c == 0x7f:
			continue
		case strings.ContainsRune("\"\\$`", c):
			b.WriteByte('\\')
		}
		b.WriteRune(c)
	}
	b.WriteByte('"')
	return b.String()
}

const besideLimit = 1 << 20 // bytes of a file beside an environment

// beside puts a small file of sessions beside the environment and gives its path, without symbolic links, as mounts take
// it. Sessions before may hold the file of before, which stays as it was. Nothing is lost with it.
func beside(s *storage.Store, r *storage.Record, name string, text []byte, mode os.FileMode) (string, error) {
	dir, err := filepath.EvalSymlinks(s.EnvDir(r.EnvID))
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, name)
	if have, err := readFile(file, besideLimit); err == nil && string(have) == string(text) {
		return file, nil
	}
	f, err := os.CreateTemp(dir, ".tmp-"+name+"-*") // mode 0600
	if err != nil {
		return "", err
	}
	_, err = f.Write(text)
	if chmod := f.Chmod(mode); err == nil {
		err = chmod
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return file, err
}

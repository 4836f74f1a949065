package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// fixturesDir is what hack/fixtures made: small real base systems of other distributions, and repositories for them.
func fixturesDir() string { return filepath.Join(cacheDir(), "fixtures", "current") }

func haveFixtures() bool {
	_, err := os.Stat(fixturesDir())
	return err == nil
}

// nowhereURL stands in the fixtures for the place of a repository.
const nowhereURL = "http://repository.invalid"

// fixture MANAGER FILE [signed] writes the base system of a package manager, with $SERVER as the place of its
// repositories. A signed one knows keys and wants signatures.
func fixture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 || (len(args) == 3 && args[2] != "signed") || ts.Getenv("SERVER") == "" {
		ts.Fatalf("usage: fixture MANAGER FILE [signed], after serve DIR")
	}
	over := make(map[string][]byte)
	if len(args) == 3 {
		root := os.DirFS(filepath.Join(fixturesDir(), "signed", "base", args[0]))
		ts.Check(fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				over[name], err = fs.ReadFile(root, name)
			}
			return err
		}))
	}
	ts.Check(writeFixture(filepath.Join(fixturesDir(), "base", args[0]+".tar"), ts.MkAbs(args[1]), over, ts.Getenv("SERVER")))
}

// writeFixture copies a base's archive with files replaced, and url for nowhereURL in its configuration.
func writeFixture(from, to string, over map[string][]byte, url string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	tr, tw := tar.NewReader(in), tar.NewWriter(out)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		name := path.Clean(h.Name)
		if over[name] != nil {
			continue
		}
		var content io.Reader = tr
		if h.Typeflag == tar.TypeReg && h.Size < 64<<10 && strings.HasPrefix(name, "etc/") {
			b, err := io.ReadAll(tr)
			if err != nil {
				return err
			}
			b = bytes.ReplaceAll(b, []byte(nowhereURL), []byte(url))
			h.Size, content = int64(len(b)), bytes.NewReader(b)
		}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(tw, content); err != nil {
			return err
		}
	}
	for name, b := range over {
		b = bytes.ReplaceAll(b, []byte(nowhereURL), []byte(url))
		if err := regularOver(tw, name, b); err != nil {
			return err
		}
	}
	return errors.Join(tw.Close(), out.Close())
}

// regularOver writes a file and the directories it is in.
func regularOver(tw *tar.Writer, name string, b []byte) error {
	for i, c := range name {
		if c != '/' {
			continue
		}
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "./" + name[:i+1], Mode: 0o755, ModTime: fixtureEpoch}); err != nil {
			return err
		}
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: "./" + name, Mode: 0o644, Size: int64(len(b)), ModTime: fixtureEpoch}
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	_, err := tw.Write(b)
	return err
}

// fixtureEpoch is the newest time in the fixtures.
var fixtureEpoch = time.Unix(1704067200, 0)

// What testdata/repository says holds for every package manager.
func TestRepositoryScripts(t *testing.T) {
	if followed() {
		t.Skip("the user who follows does")
	}
	if !haveFixtures() {
		t.Skip("hack/setup fixtures makes what this needs")
	}
	for _, m := range []struct{ manager, repository, alias, image string }{
		{"apt", "apt", "debian", "debian/bookworm"}, {"dnf", "rpm", "fedora", "fedora/43"},
		{"zypper", "rpm", "opensuse/tumbleweed", "opensuse/tumbleweed"}, {"pacman", "pacman", "archlinux", "archlinux/current"},
	} {
		t.Run(m.manager, func(t *testing.T) {
			testscript.Run(t, params("repository", "", "MANAGER="+m.manager, "REPOSITORY="+m.repository, "ALIAS="+m.alias, "IMAGE="+m.image))
		})
	}
}

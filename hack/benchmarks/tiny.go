package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// epoch is the time of everything in the archives.
var epoch = time.Unix(1700000000, 0)

// archiver writes archives of root file systems.
type archiver struct {
	f *os.File
	*tar.Writer
}

func newArchive(file string) (*archiver, error) {
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	return &archiver{f, tar.NewWriter(f)}, nil
}

func (a *archiver) Close() error {
	return errors.Join(a.Writer.Close(), a.f.Close())
}

func (a *archiver) dir(name string) error {
	return a.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755, ModTime: epoch})
}

func (a *archiver) link(name, target string) error {
	return a.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777, ModTime: epoch})
}

func (a *archiver) text(name, text string) error {
	return a.regular(name, 0o644, int64(len(text)), strings.NewReader(text))
}

func (a *archiver) file(name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return a.regular(name, int64(info.Mode().Perm()), info.Size(), f)
}

func (a *archiver) regular(name string, mode, size int64, r io.Reader) error {
	if err := a.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: size, ModTime: epoch}); err != nil {
		return err
	}
	_, err := io.CopyN(a, r, size)
	return err
}

// tiny adds a root file system of the machine's static busybox: the quickest there is to start a program in, so that
// what is measured is the container and not the program.
func (a *archiver) tiny() error {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("the root file system is made of busybox-static: %w", err)
	}
	for _, d := range []string{"bin", "dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "usr", "usr/bin", "var"} {
		if err := a.dir(d); err != nil {
			return err
		}
	}
	err = errors.Join(
		a.text("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
		a.text("etc/group", "root:x:0:\ntty:x:5:\n"),
		a.text("etc/os-release", "ID=tiny\nNAME=tiny\n"),
		a.file("bin/busybox", busybox),
	)
	for _, applet := range []string{"sh", "sleep", "true"} {
		err = errors.Join(err, a.link("bin/"+applet, "busybox"))
	}
	return err
}

func writeTiny(file string) error {
	a, err := newArchive(file)
	if err != nil {
		return err
	}
	return errors.Join(a.tiny(), a.Close())
}

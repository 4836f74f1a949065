package testground

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

// Epoch is the time of everything in the tiny root file system.
var Epoch = time.Unix(1700000000, 0)

// WriteTiny makes a root file system of the machine's static busybox.
func WriteTiny(file string) error {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("the tests need busybox-static: %w", err)
	}
	applets, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	tw := tar.NewWriter(f)
	for _, d := range []string{"bin", "dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "usr", "usr/bin", "var"} {
		mode := int64(0o755)
		if d == "tmp" {
			mode = 0o1777
		}
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: d + "/", Mode: mode, ModTime: Epoch}); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{
		"etc/passwd":     "root:x:0:0:root:/root:/bin/sh\nservice:x:42:42:service:/var:/bin/false\n",
		"etc/group":      "root:x:0:\ntty:x:5:\nservice:x:42:\nextra:x:43:service\n",
		"etc/os-release": "ID=tiny\nNAME=tiny\n",
	} {
		if err := Regular(tw, name, 0o644, int64(len(text)), strings.NewReader(text)); err != nil {
			return err
		}
	}
	if err := AddFile(tw, "bin/busybox", busybox); err != nil {
		return err
	}
	for name := range strings.FieldsSeq(string(applets)) {
		if name == "busybox" {
			continue
		}
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: "busybox", Mode: 0o777, ModTime: Epoch}); err != nil {
			return err
		}
	}
	if err := tw.Close(); err != nil {
		return err
	}
	return f.Close()
}

// AddFile puts the file at path into an archive, for everybody to execute.
func AddFile(tw *tar.Writer, name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return Regular(tw, name, 0o755, info.Size(), f)
}

// Regular puts a file into an archive.
func Regular(tw *tar.Writer, name string, mode, size int64, r io.Reader) error {
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: size, ModTime: Epoch}); err != nil {
		return err
	}
	_, err := io.Copy(tw, r)
	return err
}

// WriteMinute makes a root file system with next to nothing in it.
func WriteMinute(file, text string) error {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("the tests need busybox-static: %w", err)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	tw := tar.NewWriter(f)
	for _, d := range []string{"bin", "dev", "etc", "proc", "root", "run", "sys", "tmp"} {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: d + "/", Mode: 0o755, ModTime: Epoch}); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{"etc/passwd": "root:x:0:0:root:/root:/bin/sh\n", "etc/group": "root:x:0:\n", "etc/text": text + "\n"} {
		if err := Regular(tw, name, 0o644, int64(len(text)), strings.NewReader(text)); err != nil {
			return err
		}
	}
	if err := AddFile(tw, "bin/busybox", busybox); err != nil {
		return err
	}
	for _, name := range []string{"sh", "true"} {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: "busybox", Mode: 0o777, ModTime: Epoch}); err != nil {
			return err
		}
	}
	return errors.Join(tw.Close(), f.Close())
}

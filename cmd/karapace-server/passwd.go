package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sys/unix"
)

// maxPassword is what bcrypt looks at, in bytes.
const maxPassword = 72

func passwdCommand(c *cli.Context) error {
	if c.NArg() != 2 {
		return usageError{errors.New("passwd takes FILE and USER, and the password on standard input")}
	}
	password, err := readPassword(os.Stdin)
	if err != nil {
		return err
	}
	return setPassword(c.Args().Get(0), c.Args().Get(1), password)
}

func readPassword(r io.Reader) ([]byte, error) {
	line, err := bufio.NewReader(io.LimitReader(r, maxPassword+3)).ReadBytes('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	line = bytes.TrimRight(line, "\r\n")
	if len(line) == 0 || len(line) > maxPassword {
		return nil, usageError{fmt.Errorf("a password has 1 to %d bytes", maxPassword)}
	}
	return line, nil
}

// setPassword adds a user to the file, or replaces the user's line. Running servers see it at once.
func setPassword(path, user string, password []byte) error {
	if user == "" || len(user) > 255 || strings.ContainsAny(user, ":\n\r#") {
		return usageError{fmt.Errorf("user %q: a name has no colon, line end or #", user)}
	}
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	hash, err := bcrypt.GenerateFromPassword(password, bcrypt.DefaultCost)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	for line := range strings.Lines(string(old)) {
		if !strings.HasPrefix(line, user+":") {
			out.WriteString(strings.TrimRight(line, "\r\n") + "\n")
		}
	}
	fmt.Fprintf(&out, "%s:%s\n", user, hash)
	return replace(path, out.Bytes())
}

// replace writes a file whole or not at all.
func replace(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".users-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone after the rename
	if _, err := f.Write(content); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(keepOwner(f, path), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// keepOwner lets a file that takes another's place be read by the same people.
func keepOwner(f *os.File, path string) error {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Chown(int(st.Uid), int(st.Gid)), f.Chmod(os.FileMode(st.Mode&0o777)))
}

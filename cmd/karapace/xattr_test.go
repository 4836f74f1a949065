package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// xattrName is what this test program is called where it is the tool that sessions set and read extended attributes with.
const xattrName = "xattr"

// xattrTool is "xattr FILE NAME" and "xattr FILE NAME HEX"; done is false when this program is not that tool.
func xattrTool(args []string) (code int, done bool) {
	if filepath.Base(args[0]) != xattrName {
		return 0, false
	}
	var err error
	buf := make([]byte, 1024)
	if len(args) == 4 {
		var value []byte
		if value, err = hex.DecodeString(args[3]); err == nil {
			err = unix.Setxattr(args[1], args[2], value, 0)
		}
	} else {
		var n int
		if n, err = unix.Getxattr(args[1], args[2], buf); err == nil {
			fmt.Println(hex.EncodeToString(buf[:n]))
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, strings.Join(args, " "), err)
		return 1, true
	}
	return 0, true
}

// xattrtool DIR puts the tool, a static program, into a directory.
func putXattrTool(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: xattrtool DIR")
	}
	putTool(ts, filepath.Join(ts.MkAbs(args[0]), xattrName))
}

// putTool copies this test program, which is static and does what its name says.
func putTool(ts *testscript.TestScript, path string) {
	self, err := os.Executable()
	ts.Check(err)
	in, err := os.Open(self)
	ts.Check(err)
	defer in.Close()
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	ts.Check(err)
	_, err = io.Copy(out, in)
	ts.Check(err)
	ts.Check(out.Close())
}

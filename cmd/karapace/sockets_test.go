package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"
)

// connectName is what this test program is called where it is the tool that sessions reach sockets with.
const connectName = "connect"

// connectTool is "connect SOCKET": it prints what listens there says. A name that begins with @ is an abstract one.
func connectTool(args []string) (code int, done bool) {
	if filepath.Base(args[0]) != connectName || len(args) != 2 {
		return 0, false
	}
	conn, err := net.Dial("unix", args[1])
	if err == nil {
		_, err = io.Copy(os.Stdout, conn)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1, true
	}
	return 0, true
}

// connecttool DIR puts the tool into a directory.
func putConnectTool(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: connecttool DIR")
	}
	putTool(ts, filepath.Join(ts.MkAbs(args[0]), connectName))
}

// listen SOCKET WORD answers everybody who connects with the word, until the script ends.
func listen(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: listen SOCKET WORD")
	}
	name := args[0]
	if name[0] != '@' {
		name = ts.MkAbs(name)
		ts.Check(os.MkdirAll(filepath.Dir(name), 0o700))
	}
	l, err := net.Listen("unix", name)
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(conn, args[1])
			conn.Close()
		}
	}()
}

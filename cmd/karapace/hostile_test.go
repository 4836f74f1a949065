package main

import (
	"archive/tar"
	"bytes"
	"os"

	"github.com/rogpeppe/go-internal/testscript"
)

// hostile KIND FILE writes an archive that is a root file system but for one entry that tries to get out.
func hostile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: hostile KIND FILE")
	}
	entries, ok := map[string][]*tar.Header{
		"dotdot":   {{Typeflag: tar.TypeReg, Name: "../escaped", Mode: 0o644}},
		"absolute": {{Typeflag: tar.TypeReg, Name: "/escaped", Mode: 0o644}},
		"symlink": {
			{Typeflag: tar.TypeSymlink, Name: "out", Linkname: ts.Getenv("WORK"), Mode: 0o777},
			{Typeflag: tar.TypeReg, Name: "out/escaped", Mode: 0o644},
		},
		"hardlink": {{Typeflag: tar.TypeLink, Name: "inside", Linkname: "../../../../../../../etc/passwd", Mode: 0o644}},
		"device":   {{Typeflag: tar.TypeBlock, Name: "disk", Devmajor: 8, Mode: 0o666}},
	}[args[0]]
	if !ok {
		ts.Fatalf("unknown kind %q", args[0])
	}
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, d := range []string{"etc/", "usr/", "bin/"} {
		ts.Check(tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: d, Mode: 0o755}))
	}
	for _, h := range entries {
		ts.Check(tw.WriteHeader(h))
	}
	ts.Check(tw.Close())
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), buf.Bytes(), 0o644))
}

// halve FILE cuts a file in the middle.
func halve(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: halve FILE")
	}
	path := ts.MkAbs(args[0])
	info, err := os.Stat(path)
	ts.Check(err)
	ts.Check(os.Truncate(path, info.Size()/2))
}

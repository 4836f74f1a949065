package main

import (
	"encoding/json"
	"os"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// devcontainerArgs gives the command devcontainerargs FILE FOLDER OUT: the arguments of docker run, each with a NUL behind it, that editors
// make of a devcontainer.json for a folder, by what https://containers.dev/implementors/json_reference/ says of its keys. A key that is
// not one of these fails.
func devcontainerArgs(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: devcontainerargs FILE FOLDER OUT")
	}
	folder := ts.MkAbs(args[1])
	text := strings.ReplaceAll(ts.ReadFile(args[0]), "${localWorkspaceFolder}", folder)
	if at := strings.Index(text, "${"); at >= 0 {
		ts.Fatalf("an editor would replace %.40q", text[at:])
	}
	var d struct {
		Name, Image, WorkspaceFolder, WorkspaceMount string
		ContainerEnv                                 map[string]string
		Mounts, RunArgs                              []string
	}
	in := json.NewDecoder(strings.NewReader(text))
	in.DisallowUnknownFields()
	ts.Check(in.Decode(&d))
	if d.Name == "" {
		ts.Fatalf("it has no name")
	}
	out := []string{"--mount", d.WorkspaceMount, "--workdir", d.WorkspaceFolder}
	for _, m := range d.Mounts {
		out = append(out, "--mount", m)
	}
	for name, value := range d.ContainerEnv {
		out = append(out, "-e", name+"="+value)
	}
	out = append(append(out, d.RunArgs...), d.Image)
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(strings.Join(out, "\x00")+"\x00"), 0o644))
}

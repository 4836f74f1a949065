package bundle

import "testing"

func TestDevContainer(t *testing.T) {
	d := &DevContainer{Name: "work", Image: "localhost/karapace:0123", RunArgs: []string{"--memory=64m"}}
	d.Workspace()
	if d.Variable("SECRET", "${localEnv:TOKEN}") || !d.Variable("PRICE", "$5 <&> {x}") {
		t.Error("a reference to the host's environment is a value, or a value is none")
	}
	if d.Mount("/a/${localEnv:HOME}", "/b", false) == nil {
		t.Error("a reference is a path")
	}
	for _, m := range [][2]string{{"/data", "/data"}, {`/with,comma and "quotes"`, "/b"}} {
		if err := d.Mount(m[0], m[1], m[1] == "/b"); err != nil {
			t.Error(err)
		}
	}
	const want = `{
  "name": "work",
  "image": "localhost/karapace:0123",
  "workspaceFolder": "${localWorkspaceFolder}",
  "workspaceMount": "source=${localWorkspaceFolder},target=${localWorkspaceFolder},type=bind",
  "containerEnv": {
    "PRICE": "$5 <&> {x}"
  },
  "mounts": [
    "source=/data,target=/data,type=bind",
    "\"source=/with,comma and \"\"quotes\"\"\",target=/b,type=bind,readonly"
  ],
  "runArgs": [
    "--memory=64m"
  ]
}
`
	text, err := d.Encode()
	if err != nil || string(text) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, text, want)
	}
}

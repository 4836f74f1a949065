package bundle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// DevContainer is a devcontainer.json (https://containers.dev/implementors/json_reference/): what editors start a container from that
// they work in.
type DevContainer struct {
	Name            string            `json:"name"`
	Image           string            `json:"image"`
	WorkspaceFolder string            `json:"workspaceFolder"`
	WorkspaceMount  string            `json:"workspaceMount"`
	Env             map[string]string `json:"containerEnv,omitempty"`
	Mounts          []string          `json:"mounts,omitempty"`
	RunArgs         []string          `json:"runArgs,omitempty"`
}

// Workspace has the editor open the directory that it is started for, under its own path, as sessions see it.
func (d *DevContainer) Workspace() {
	d.WorkspaceFolder = "${localWorkspaceFolder}"
	d.WorkspaceMount = "source=${localWorkspaceFolder},target=${localWorkspaceFolder},type=bind"
}

// Variable reports false for what editors would take for a reference to something of the host's: there is no way to write that
// otherwise.
func (d *DevContainer) Variable(name, value string) bool {
	if refers(name) || refers(value) {
		return false
	}
	if d.Env == nil {
		d.Env = map[string]string{}
	}
	d.Env[name] = value
	return true
}

// Mount adds a bind mount, in the words of docker's --mount, whose values are CSV.
func (d *DevContainer) Mount(source, target string, readOnly bool) error {
	if refers(source) || refers(target) {
		return fmt.Errorf("editors would take %q for a reference to something of the host's", source+":"+target)
	}
	text := csv("source="+source) + "," + csv("target="+target) + ",type=bind"
	if readOnly {
		text += ",readonly"
	}
	d.Mounts = append(d.Mounts, text)
	return nil
}

func refers(s string) bool { return strings.Contains(s, "${") }

func csv(field string) string {
	if !strings.ContainsAny(field, ",\"\r\n") {
		return field
	}
	return `"` + strings.ReplaceAll(field, `"`, `""`) + `"`
}

// Encode is the file.
func (d *DevContainer) Encode() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(d); err != nil {
		return nil, fmt.Errorf("encode devcontainer.json: %w", err)
	}
	return b.Bytes(), nil
}

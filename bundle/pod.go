package bundle

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Pod is an environment for a Kubernetes engine: one Pod (core/v1) with one container, pinned to an image by digest.
type Pod struct {
	Name            string   // of the pod: lower-case letters, digits and -
	Image           string   // REPOSITORY@DIGEST
	ShortID         string   // of the environment
	Args            []string // empty: a shell, with a terminal
	Env             []string // NAME=value
	Capabilities    []string // with CAP_
	ReadOnly        bool     // the root
	MillicpuRequest int64    // thousandths of a processor; 0 is unset
	MemoryBytes     int64    // 0 is unset
	Mounts          []PodMount
	Left            []string // what a Pod cannot say, one line each
}

// PodMount is a directory or file of the node.
type PodMount struct {
	Name, Source, Target string
	ReadOnly             bool
	File                 bool
}

// Encode writes the Pod as YAML, whose strings are all quoted as JSON does it (YAML 1.2, section 1.3: JSON is a subset). The same
// Pod gives the same bytes.
func (p *Pod) Encode() []byte {
	w := &yaml{}
	for _, line := range p.Left {
		w.line(0, "# not in this pod: "+line)
	}
	w.line(0, "apiVersion: v1")
	w.line(0, "kind: Pod")
	w.line(0, "metadata:")
	w.text(1, "name", p.Name)
	w.line(1, "labels:")
	w.text(2, "app.kubernetes.io/managed-by", "karapace")
	w.text(2, "dev.karapace.short-id", p.ShortID) // of 63 characters at most, as the whole id is not
	w.line(0, "spec:")
	w.text(1, "restartPolicy", "Never")
	w.text(1, "hostname", p.Name)
	w.line(1, "containers:")
	w.line(1, "- name: environment")
	p.container(w)
	if len(p.Mounts) > 0 {
		w.line(1, "volumes:")
	}
	for _, m := range p.Mounts {
		w.line(1, "- name: "+quoteYAML(m.Name))
		w.line(2, "hostPath:")
		w.text(3, "path", m.Source)
		w.text(3, "type", map[bool]string{true: "File", false: "Directory"}[m.File])
	}
	return []byte(w.String())
}

func (p *Pod) container(w *yaml) {
	w.text(2, "image", p.Image)
	w.list(2, "command", p.literal(p.Args...))
	if len(p.Args) == 0 { // as entering does
		w.list(2, "command", []string{"/bin/sh"})
		w.line(2, "stdin: true")
		w.line(2, "tty: true")
	}
	if len(p.Env) > 0 {
		w.line(2, "env:")
	}
	for _, kv := range p.Env {
		name, value, _ := strings.Cut(kv, "=")
		w.line(2, "- name: "+quoteYAML(name))
		w.text(3, "value", p.literal(value)[0])
	}
	p.resources(w)
	w.line(2, "securityContext:")
	w.line(3, "allowPrivilegeEscalation: false")
	w.line(3, "readOnlyRootFilesystem: "+strconv.FormatBool(p.ReadOnly))
	w.line(3, "capabilities:")
	w.list(4, "drop", []string{"ALL"})
	var add []string
	for _, c := range p.Capabilities {
		add = append(add, strings.TrimPrefix(c, "CAP_"))
	}
	w.list(4, "add", add)
	w.line(3, "seccompProfile:")
	w.text(4, "type", "RuntimeDefault")
	if len(p.Mounts) > 0 {
		w.line(2, "volumeMounts:")
	}
	for _, m := range p.Mounts {
		w.line(2, "- name: "+quoteYAML(m.Name))
		w.text(3, "mountPath", m.Target)
		w.line(3, "readOnly: "+strconv.FormatBool(m.ReadOnly))
	}
}

// literal keeps Kubernetes from putting a variable of the pod in the place of $(NAME). Other references are left alone by it,
// and podman knows no way to write them.
func (p *Pod) literal(texts ...string) []string {
	kept := slices.Clone(texts)
	for i := range kept {
		for _, kv := range p.Env {
			name, _, _ := strings.Cut(kv, "=")
			kept[i] = strings.ReplaceAll(kept[i], "$("+name+")", "$$("+name+")")
		}
	}
	return kept
}

func (p *Pod) resources(w *yaml) {
	if p.MillicpuRequest == 0 && p.MemoryBytes == 0 {
		return
	}
	w.line(2, "resources:")
	if p.MillicpuRequest != 0 {
		w.line(3, "requests:")
		w.text(4, "cpu", fmt.Sprintf("%dm", p.MillicpuRequest))
	}
	if p.MemoryBytes != 0 {
		w.line(3, "limits:")
		w.text(4, "memory", strconv.FormatInt(p.MemoryBytes, 10))
	}
}

// yaml writes lines, indented by two blanks a level.
type yaml struct{ strings.Builder }

func (w *yaml) line(level int, text string) {
	w.WriteString(strings.Repeat("  ", level) + text + "\n")
}

func (w *yaml) text(level int, key, value string) { w.line(level, key+": "+quoteYAML(value)) }

func (w *yaml) list(level int, key string, values []string) {
	if len(values) == 0 {
		return
	}
	w.line(level, key+":")
	for _, v := range values {
		w.line(level, "- "+quoteYAML(v))
	}
}

// quoteYAML quotes a string; one that is not UTF-8 is shown as well as can be, as JSON does.
func quoteYAML(s string) string {
	b, err := json.Marshal(s)
	if err != nil { // which no string gives
		return strconv.Quote(s)
	}
	return string(b)
}

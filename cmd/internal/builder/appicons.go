package builder

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/karapace/karapace/cmd/internal/wire"
	"github.com/karapace/karapace/integration/icons"
	"github.com/karapace/karapace/storage/rootview"
)

var iconForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.+@-]{0,127}$`)

// iconSizes are the directories of the hicolor theme that are looked at.
func iconSizes() []int { return []int{16, 22, 24, 32, 36, 48, 64, 72, 96, 128, 192, 256, 512} }

// findIcons reads the icons of a name or an absolute path; those that are not harmless are none. room is how many bytes they
// may have still.
func findIcons(v rootview.View, name string, room *int) (found []wire.Icon) {
	have := map[string]bool{}
	add := func(file string) {
		icon, err := readIcon(v, file)
		if err != nil || have[icon.Size] || len(icon.Data) > *room {
			return
		}
		have[icon.Size] = true
		*room -= len(icon.Data)
		found = append(found, icon)
	}
	if path.IsAbs(name) {
		add(name)
		return found
	}
	if ext := path.Ext(name); ext == ".png" || ext == ".svg" || ext == ".xpm" {
		name = strings.TrimSuffix(name, ext) // which the specification forbids and many do
	}
	if !iconForm.MatchString(name) {
		return nil
	}
	const theme = "/usr/share/icons/hicolor"
	for _, n := range iconSizes() {
		add(fmt.Sprintf("%s/%dx%d/apps/%s.png", theme, n, n, name))
	}
	add(theme + "/scalable/apps/" + name + ".svg")
	if len(found) == 0 {
		add("/usr/share/pixmaps/" + name + ".svg")
		add("/usr/share/pixmaps/" + name + ".png")
	}
	return found
}

// readIcon reads one icon. A bitmap's size is what it is, whatever the directory says.
func readIcon(v rootview.View, file string) (wire.Icon, error) {
	data, err := readFrom(v, file, icons.Limit)
	if err != nil {
		return wire.Icon{}, err
	}
	if path.Ext(file) == ".svg" {
		return wire.Icon{Size: "scalable", Ext: "svg", Data: data}, icons.SVG(data)
	}
	clean, side, err := icons.PNG(data)
	return wire.Icon{Size: fmt.Sprintf("%dx%d", side, side), Ext: "png", Data: clean}, err
}

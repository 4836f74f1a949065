package integration

import (
	"io/fs"
	"path"
	"strings"
)

func (e *Edits) device(path string) {
	e.Mounts = append(e.Mounts, Mount{Source: path, Target: path, Device: true})
}

// dri brings the graphics cards that speak the kernel's direct rendering interface.
type dri struct{}

func (dri) Name() string { return "gpu" }

func (dri) Edits(h Host) Edits {
	var e Edits
	for _, p := range []string{"/dev/dri", "/dev/kfd", "/dev/dxg"} {
		if isDir(h, p) || isCharDevice(h, p) {
			e.device(p)
		}
	}
	return e
}

// snd brings the sound cards themselves, for programs that use no sound server.
type snd struct{}

func (snd) Name() string { return "snd" }

func (snd) Edits(h Host) Edits {
	var e Edits
	if isDir(h, "/dev/snd") {
		e.device("/dev/snd")
	}
	return e
}

type camera struct{}

func (camera) Name() string { return "camera" }

func (camera) Edits(h Host) Edits { return nodes(h, "video", "media") }

type input struct{}

func (input) Name() string { return "input" }

func (input) Edits(h Host) Edits {
	e := nodes(h, "hidraw")
	for _, p := range []string{"/dev/input", "/dev/uinput"} {
		if isDir(h, p) || isCharDevice(h, p) {
			e.device(p)
		}
	}
	return e
}

// nodes brings the character devices of /dev whose names are a prefix and a number.
func nodes(h Host, prefixes ...string) Edits {
	var e Edits
	names, _ := h.List("/dev")
	for _, name := range names {
		for _, prefix := range prefixes {
			number, ok := strings.CutPrefix(name, prefix)
			if ok && number != "" && strings.Trim(number, "0123456789") == "" && isCharDevice(h, path.Join("/dev", name)) {
				e.device(path.Join("/dev", name))
			}
		}
	}
	return e
}

func isCharDevice(h Host, path string) bool {
	return has(h, path, fs.ModeDevice|fs.ModeCharDevice)
}

// fonts, icons and themes of the host come as one more data directory (XDG Base Directory Specification), which programs
// search after the environment's own.
const sharedData = "/run/host/share"

func data(h Host, dirs ...string) Edits {
	var e Edits
	for _, dir := range dirs {
		if isDir(h, "/usr/share/"+dir) {
			e.mount("/usr/share/"+dir, sharedData+"/"+dir, true)
		}
	}
	if len(e.Mounts) > 0 {
		e.set("XDG_DATA_DIRS", "/usr/local/share:/usr/share:"+sharedData)
	}
	return e
}

type fonts struct{}

func (fonts) Name() string { return "fonts" }

func (fonts) Edits(h Host) Edits { return data(h, "fonts") }

type themes struct{}

func (themes) Name() string { return "themes" }

func (themes) Edits(h Host) Edits {
	e := data(h, "themes", "icons")
	e.Env = append(e.Env, pass(h, "XCURSOR_THEME", "XCURSOR_SIZE", "GTK_THEME", "QT_QPA_PLATFORMTHEME").Env...)
	return e
}

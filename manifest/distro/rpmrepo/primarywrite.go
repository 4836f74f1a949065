package rpmrepo

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// Entry is a package file to list in an index.
type Entry struct {
	RPM      *RPM
	Location string
	SHA256   string
	Size     int64 // bytes
}

// WritePrimary writes a primary.xml of package files from their own headers: what a solver without weak dependencies
// looks at, with every file of the packages, so that no other index is needed.
func WritePrimary(w io.Writer, entries []Entry) error {
	out := bufio.NewWriterSize(w, 256<<10)
	out.WriteString(PrimaryBegin)
	for _, e := range entries {
		writeEntry(out, e)
	}
	out.WriteString(PrimaryEnd)
	return out.Flush()
}

func writeEntry(out *bufio.Writer, e Entry) {
	h := e.RPM.Header
	text := func(tag uint32) string { return escape(h.String(tag)) }
	fmt.Fprintf(out, "<package type=\"rpm\">\n<name>%s</name>\n<arch>%s</arch>\n<version epoch=\"%d\" ver=\"%s\" rel=\"%s\"/>\n",
		text(TagName), text(TagArch), h.Number(TagEpoch), text(TagVersion), text(TagRelease))
	fmt.Fprintf(out, "<checksum type=\"sha256\" pkgid=\"YES\">%s</checksum>\n<summary>%s</summary>\n<description>%s</description>\n<packager></packager>\n<url>%s</url>\n",
		e.SHA256, text(tagSummary), text(tagDescription), text(tagURL))
	fmt.Fprintf(out, "<time file=\"%d\" build=\"%[1]d\"/>\n<size package=\"%d\" installed=\"%d\" archive=\"0\"/>\n<location href=\"%s\"/>\n",
		h.Number(TagBuildTime), e.Size, max(h.Number(tagSize), h.Number(tagLongSize)), escape(e.Location))
	fmt.Fprintf(out, "<format>\n<rpm:license>%s</rpm:license>\n<rpm:vendor>%s</rpm:vendor>\n<rpm:group>%s</rpm:group>\n<rpm:sourcerpm>%s</rpm:sourcerpm>\n<rpm:header-range start=\"%d\" end=\"%d\"/>\n",
		text(tagLicense), text(tagVendor), text(tagGroup), text(tagSourceRPM), e.RPM.Start, e.RPM.End)
	for _, d := range []struct {
		element              string
		name, flags, version uint32
	}{
		{"provides", tagProvideName, tagProvideFlags, tagProvideVer}, {"requires", tagRequireName, tagRequireFlags, tagRequireVer},
		{"conflicts", tagConflictName, tagConflictFlags, tagConflictVer}, {"obsoletes", tagObsoleteName, tagObsoleteFlags, tagObsoleteVer},
	} {
		writeRelations(out, d.element, h.Strings(d.name), h.Numbers(d.flags), h.Strings(d.version))
	}
	writeFiles(out, h)
	out.WriteString("</format>\n</package>\n")
}

// Flags of a relation (rpmds.h).
const (
	senseLess, senseGreater, senseEqual = 1 << 1, 1 << 2, 1 << 3
	sensePrereq                         = 1<<6 | 1<<9 | 1<<10 | 1<<11 | 1<<12 // to be there before scripts run
	senseMissingOK                      = 1 << 19
	senseRpmlib                         = 1 << 24 // of rpm itself
)

func writeRelations(out *bufio.Writer, element string, names []string, flags []uint64, versions []string) {
	var lines strings.Builder
	seen := make(map[string]bool)
	for i, name := range names {
		var f uint64
		if i < len(flags) {
			f = flags[i]
		}
		if f&(senseRpmlib|senseMissingOK) != 0 || strings.HasPrefix(name, "rpmlib(") {
			continue
		}
		line := `<rpm:entry name="` + escape(name) + `"`
		if op := operator(f); op != "" && i < len(versions) {
			line += ` flags="` + op + `"` + versionAttributes(versions[i])
		}
		if element == "requires" && f&sensePrereq != 0 {
			line += ` pre="1"`
		}
		if !seen[line] {
			seen[line] = true
			lines.WriteString(line + "/>\n")
		}
	}
	if lines.Len() > 0 {
		fmt.Fprintf(out, "<rpm:%s>\n%s</rpm:%[1]s>\n", element, lines.String())
	}
}

func operator(flags uint64) string {
	switch flags & (senseLess | senseGreater | senseEqual) {
	case senseLess:
		return "LT"
	case senseGreater:
		return "GT"
	case senseEqual:
		return "EQ"
	case senseLess | senseEqual:
		return "LE"
	case senseGreater | senseEqual:
		return "GE"
	}
	return ""
}

func versionAttributes(v string) string {
	epoch, rest, ok := strings.Cut(v, ":")
	if !ok {
		epoch, rest = "0", v
	}
	version, release, ok := rest, "", false
	if i := strings.LastIndexByte(rest, '-'); i >= 0 {
		version, release, ok = rest[:i], rest[i+1:], true
	}
	out := ` epoch="` + escape(epoch) + `" ver="` + escape(version) + `"`
	if ok {
		out += ` rel="` + escape(release) + `"`
	}
	return out
}

func writeFiles(out *bufio.Writer, h *Header) {
	const ghost, typeMask, directory = 1 << 6, 0o170000, 0o040000
	modes, flags := h.Numbers(tagFileModes), h.Numbers(tagFileFlags)
	for i, name := range h.Files() {
		kind := ""
		switch {
		case i < len(flags) && flags[i]&ghost != 0:
			kind = ` type="ghost"`
		case i < len(modes) && modes[i]&typeMask == directory:
			kind = ` type="dir"`
		}
		fmt.Fprintf(out, "<file%s>%s</file>\n", kind, escape(name))
	}
}

// Files lists the paths of a package.
func (h *Header) Files() []string {
	dirs, indexes, names := h.Strings(tagDirnames), h.Numbers(tagDirIndexes), h.Strings(tagBasenames)
	if names == nil {
		return h.Strings(tagOldFilenames)
	}
	out := make([]string, 0, len(names))
	for i, n := range names {
		if i < len(indexes) && indexes[i] < uint64(len(dirs)) {
			n = dirs[indexes[i]] + n
		}
		out = append(out, n)
	}
	return out
}

package manifest

import "strings"

// ParseImageRef parses the reference of an image in a registry, as push and pull take it: base.image's form, or the same
// without oci://. Errors are *Error without a position.
func ParseImageRef(s string) (BaseRef, error) {
	s = strings.TrimSpace(s)
	if !strings.Contains(s, "://") {
		s = "oci://" + s
	}
	r, err := ParseBaseRef(s)
	if err == nil && r.Kind != BaseRegistry {
		err = &Error{Msg: quote(s) + " names no image in a registry", Remedy: "write HOST/REPOSITORY:TAG"}
	}
	return r, err
}

// Reference is the tag or the digest a registry is asked for; the digest counts where both are there.
func (r BaseRef) Reference() string {
	switch {
	case r.Digest != "":
		return string(r.Digest)
	case r.Tag != "":
		return r.Tag
	}
	return "latest"
}

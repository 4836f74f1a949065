package rawproc

const (
	machine        = 183                                // EM_AARCH64
	interpreterEnd = "\x00\x00\x20\xd4\x00\x00\x20\xd4" // BRK, twice
)

package rawproc

const (
	machine        = 62                 // EM_X86_64
	interpreterEnd = "\x0f\x0b\x0f\x0b" // UD2, twice
)

package backends

// Kind classifies what kept a command from running; callers map it to an exit code.
type Kind int

const (
	// Failed is a failure of the backend itself or of the kernel (exit code 125).
	Failed Kind = iota
	// NotExecutable: the command is there but cannot be executed (126).
	NotExecutable
	// NotFound: the command is not there (127).
	NotFound
	// Prerequisite: the host lacks something the container needs (5).
	Prerequisite
	// Invalid: the spec asks for what this backend refuses or cannot do.
	Invalid
	// Busy: the container runs under another backend, or must not run for what was asked.
	Busy
)

// Error is every error that a backend returns, apart from a context's own.
type Error struct {
	Kind Kind
	Op   string // what was being done, as a verb and a noun: "mount overlay"
	Err  error  // the cause
	Hint string // what the user can do about it; may be empty
}

func (e *Error) Error() string {
	switch {
	case e.Op == "":
		return e.Err.Error()
	case e.Err == nil:
		return e.Op
	}
	return e.Op + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

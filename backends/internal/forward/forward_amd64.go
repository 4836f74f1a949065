package forward

// restorer is what a handler returns to.
func restorer() uintptr

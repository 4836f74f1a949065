package manifest

// CanonicalManifest and CanonicalLock give the encodings the ids are digests of.
func CanonicalManifest(m *Manifest) []byte { return m.canonical() }
func CanonicalLock(l *Lock) []byte         { return l.sorted().canonical() }

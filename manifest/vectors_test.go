package manifest_test

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/karapace/karapace/manifest"
)

const contract = "../docs/hash-contract.md"

// TestVectors recomputes the test vectors of the contract. A vector is three fenced blocks: a document ("manifest" or
// "lock"), its canonical encoding in hexadecimal, and its id.
func TestVectors(t *testing.T) {
	text, err := os.ReadFile(contract)
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "```")
	vectors := 0
	for i := 1; i+4 < len(blocks); i += 2 {
		kind, document, _ := strings.Cut(blocks[i], "\n")
		if kind != "toml manifest" && kind != "toml lock" {
			continue
		}
		vectors++
		encoding, id := encodeVector(t, kind, document)
		if sum := sha256.Sum256(encoding); hex.EncodeToString(sum[:]) != id {
			t.Errorf("vector %d: the id is not the digest of the encoding", vectors)
		}
		want := [2]string{"hex\n" + wrapHex(encoding), "id\n" + id + "\n"}
		if *update {
			blocks[i+2], blocks[i+4] = want[0], want[1]
		}
		if blocks[i+2] != want[0] || blocks[i+4] != want[1] {
			t.Errorf("vector %d: the contract has\n%s%s\nthe code\n%s%s", vectors, blocks[i+2], blocks[i+4], want[0], want[1])
		}
	}
	if vectors < 4 {
		t.Errorf("the contract has %d vectors", vectors)
	}
	if *update {
		if err := os.WriteFile(contract, []byte(strings.Join(blocks, "```")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func encodeVector(t *testing.T, kind, document string) (encoding []byte, id string) {
	t.Helper()
	if kind == "toml manifest" {
		m := parse(t, document)
		return manifest.CanonicalManifest(m), string(m.PreliminaryID())
	}
	l, err := manifest.ParseLock(contract, []byte(document))
	if err != nil {
		t.Fatal(err)
	}
	return manifest.CanonicalLock(l), string(l.ID())
}

func wrapHex(b []byte) string {
	const width = 32 // bytes a line
	var s strings.Builder
	for len(b) > 0 {
		n := min(width, len(b))
		s.WriteString(hex.EncodeToString(b[:n]) + "\n")
		b = b[n:]
	}
	return s.String()
}

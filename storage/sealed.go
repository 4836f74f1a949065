package storage

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

// A sealed file is one line of JSON, an object whose last member is the sha256 of all bytes before that member. Damage is
// found before anything believes the file, in whatever byte it is.

const (
	sealBegin  = `,"sum":"sha256:`
	sealEnd    = "\"}\n"
	sealLength = len(sealBegin) + 2*sha256.Size + len(sealEnd)
)

// ErrSeal means that a sealed file is not what was written.
var ErrSeal = errors.New("its checksum is not that of its content")

// Seal encodes v, which is an object with members.
func Seal(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if len(b) < 3 || b[0] != '{' {
		return nil, fmt.Errorf("seal %T: it is no object with members", v)
	}
	b = b[:len(b)-1]
	sum := sha256.Sum256(b)
	b = append(b, sealBegin...)
	b = hex.AppendEncode(b, sum[:])
	return append(b, sealEnd...), nil
}

// Unseal decodes what Seal encoded; anything else gives ErrSeal.
func Unseal(data []byte, v any) error {
	n := len(data) - sealLength
	if n < 1 {
		return ErrSeal
	}
	sum := sha256.Sum256(data[:n])
	if string(data[n:]) != sealBegin+hex.EncodeToString(sum[:])+sealEnd {
		return ErrSeal
	}
	return json.Unmarshal(data, v)
}

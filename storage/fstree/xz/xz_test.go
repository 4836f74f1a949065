package xz

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	other "github.com/ulikunitz/xz"
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// xzTool compresses with the program of that name.
func xzTool(t testing.TB, data []byte, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath("xz")
	if err != nil {
		t.Skip("no xz program")
	}
	cmd := exec.Command(path, append([]string{"-z", "-c"}, args...)...)
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	check(t, err)
	return out
}

func unpack(b []byte, workers int) ([]byte, error) {
	return io.ReadAll(NewReader(bytes.NewReader(b), workers))
}

// samples are data of different kinds.
func samples() map[string][]byte {
	random := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 150_000)
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	words := &bytes.Buffer{}
	for words.Len() < 600_000 {
		fmt.Fprintf(words, "%s %d\n", []string{"package", "layer", "environment", "lock", "manifest"}[random.IntN(5)], random.IntN(1000))
	}
	far := slices.Concat(noise, make([]byte, 700_000), noise[:100_000], []byte("end"))
	return map[string][]byte{"nothing": {}, "one byte": {7}, "zeros": make([]byte, 2_500_000), "noise": noise, "words": words.Bytes(), "far matches": far}
}

func TestXZ(t *testing.T) {
	for name, data := range samples() {
		t.Run(name, func(t *testing.T) {
			for _, args := range []string{"-0", "-6", "-9e", "--check=none", "--check=crc32", "--check=sha256", "-T2 --block-size=100000", "-T1 --block-size=65537",
				"--block-list=1000,5000,0", "--lzma2=dict=4KiB", "--lzma2=dict=4KiB,lc=0,lp=4,pb=4", "--lzma2=lc=4,lp=0,pb=0", "--lzma2=preset=0,mode=fast,nice=5",
				"-T2 -6 --block-size=1MiB"} {
				b := xzTool(t, data, strings.Fields(args)...)
				for _, workers := range []int{1, 3} {
					got, err := unpack(b, workers)
					if err != nil || !bytes.Equal(got, data) {
						t.Errorf("%s, %d workers: %d bytes of %d, error %v", args, workers, len(got), len(data), err)
					}
				}
			}
		})
	}
}

func TestXZStreams(t *testing.T) {
	data := samples()["words"]
	a, b := xzTool(t, data, "-T2", "--block-size=200000"), xzTool(t, data[:1000], "-1")
	want := slices.Concat(data, data[:1000], data)
	for name, joined := range map[string][]byte{
		"joined":       slices.Concat(a, b, a),
		"with padding": slices.Concat(a, make([]byte, 4), b, make([]byte, 8), a, make([]byte, 400)),
	} {
		got, err := io.ReadAll(NewReader(iotest.OneByteReader(bytes.NewReader(joined)), 2))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes of %d, error %v", name, len(got), len(want), err)
		}
	}
	for name, bad := range map[string][]byte{
		"tail":             slices.Concat(a, []byte("tail of something")),
		"short tail":       slices.Concat(a, []byte("x")),
		"odd padding":      slices.Concat(a, make([]byte, 3)),
		"padding in front": slices.Concat(make([]byte, 4), a),
		"nothing":          {},
		"only padding":     make([]byte, 4),
	} {
		if _, err := unpack(bad, 2); !errors.Is(err, ErrFormat) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// Every bit counts: whatever is changed or cut off is noticed.
func TestXZDamage(t *testing.T) {
	words := samples()["words"]
	for _, args := range [][]string{{"-T1", "-6"}, {"-T2", "--block-size=700", "--check=crc32"}, {"-T1", "--block-size=700", "--check=sha256"}} {
		good := xzTool(t, words[:2000], args...)
		for i := range good {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << (i % 8)
			if got, err := unpack(bad, 2); err == nil {
				t.Errorf("%v: byte %d of %d changed, and %d bytes came out", args, i, len(good), len(got))
			}
			if _, err := unpack(good[:i], 2); err == nil {
				t.Errorf("%v: cut to %d bytes of %d", args, i, len(good))
			}
		}
	}
}

func TestXZReaderFails(t *testing.T) {
	b := xzTool(t, samples()["noise"], "-T2", "--block-size=50000")
	broken := errors.New("the line is cut")
	for _, at := range []int{0, 5, 12, 20, 60_000, len(b) - 5} {
		got, err := io.ReadAll(NewReader(io.MultiReader(bytes.NewReader(b[:at]), iotest.ErrReader(broken)), 2))
		if !errors.Is(err, broken) {
			t.Errorf("after %d bytes: %d bytes, error %v", at, len(got), err)
		}
	}
}

// stub builds a stream with one block whose header has the given fields.
func stub(fields ...byte) []byte {
	b := []byte(headerMagic + "\x00\x01")
	b = appendSum(b, b[6:])
	header := append([]byte{0}, fields...)
	for len(header)%4 != 0 {
		header = append(header, 0)
	}
	header[0] = byte(len(header) / 4)
	return appendSum(append(b, header...), header)
}

func appendSum(b, of []byte) []byte {
	s := crc32.ChecksumIEEE(of)
	return append(b, byte(s), byte(s>>8), byte(s>>16), byte(s>>24))
}

func TestXZHeaders(t *testing.T) {
	for name, c := range map[string]struct {
		fields []byte
		want   string
	}{
		"huge dictionary":    {[]byte{0, 0x21, 1, 40}, "dictionary of 4095 MiB"},
		"large dictionary":   {[]byte{0, 0x21, 1, 31}, "dictionary of 192 MiB"},
		"unknown dictionary": {[]byte{0, 0x21, 1, 41}, "unknown properties"},
		"other filter":       {[]byte{0, 0x03, 1, 0}, "filter 0x3"},
		"two filters":        {[]byte{1, 0x04, 0, 0x21, 1, 22}, "filters before LZMA2"},
		"reserved flag":      {[]byte{4, 0x21, 1, 22}, "block flags"},
		"zero size":          {[]byte{0x40, 0, 0x21, 1, 22}, "proper size"},
		"long number":        {[]byte{0x40, 0x81, 0x00, 0x21, 1, 22}, "proper size"},
		"endless number":     {[]byte{0x40, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x21, 1, 22}, "proper size"},
		"more fields":        {[]byte{0, 0x21, 1, 22, 9}, "unknown fields"},
		"cut":                {[]byte{0, 0x21, 1, 22}, "EOF"},
	} {
		if _, err := unpack(stub(c.fields...), 2); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func FuzzXZ(f *testing.F) {
	words := samples()["words"]
	for _, args := range [][]string{{"-T1", "-6"}, {"-T2", "--block-size=700"}, {"--lzma2=dict=4KiB,lc=0,lp=4,pb=4"}} {
		f.Add(xzTool(f, words[:3000], args...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		limit := int64(1 << 20)
		serial, err1 := io.ReadAll(io.LimitReader(NewReader(bytes.NewReader(b), 1), limit))
		beside, err2 := io.ReadAll(io.LimitReader(NewReader(bytes.NewReader(b), 3), limit))
		if (err1 == nil) != (err2 == nil) || err1 == nil && !bytes.Equal(serial, beside) {
			t.Errorf("one worker %d bytes, %v; three %d bytes, %v", len(serial), err1, len(beside), err2)
		}
		if err1 != nil || int64(len(serial)) == limit {
			return
		}
		r, err := other.NewReader(bytes.NewReader(b))
		if err != nil {
			return // it knows less
		}
		if got, err := io.ReadAll(r); err == nil && !bytes.Equal(got, serial) {
			t.Errorf("another program reads %d bytes, this one %d", len(got), len(serial))
		}
	})
}

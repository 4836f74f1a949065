package storage

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/karapace/karapace/manifest"
)

// Summary is what a list of environments tells about one of them.
type Summary struct {
	EnvID        manifest.EnvID
	Name         string
	State        string
	Arch         string
	Backend      string
	BaseImage    string
	BaseLayer    digest.Digest
	PackageLayer digest.Digest
	ImageDigest  digest.Digest
	Current      digest.Digest
	CreatedAt    time.Time
}

// Summary is the record's.
func (r *Record) Summary() Summary {
	return Summary{r.EnvID, r.Name, r.State, r.Arch, r.Backend, r.BaseImage, r.BaseLayer, r.PackageLayer, r.ImageDigest, r.Current, r.CreatedAt.UTC()}
}

// A store of many environments remembers their summaries in one file. One counts as long as its record is the file it was
// taken from, unchanged; the file as a whole is worth nothing more than the time to read all records.
const (
	summariesName  = "summaries"
	summariesLimit = 64 << 20
	summariesMagic = "karapace summaries 1\n"
	manySummaries  = 100
	// settledAfter is how long ago a record was changed at least, so that another change would have another time.
	settledAfter = 2 * time.Second
)

// identity tells a file, and its content, from every other one.
type identity struct{ ino, size, changed uint64 }

type summaryEntry struct {
	Summary
	identity
}

// Summaries are those of all records, oldest first. Damaged records come as errors beside the good ones.
func (s *Store) Summaries() ([]Summary, []error) {
	ids, err := s.ids()
	if err != nil {
		return nil, []error{err}
	}
	if len(ids) < manySummaries {
		all, bad := s.readSummaries(ids)
		sortSummaries(all)
		return all, bad
	}
	known := s.rememberedSummaries()
	seen := make([]identity, len(ids))
	eachOf(len(ids), func(i int) { seen[i] = identify(s.EnvDir(ids[i], recordName)) })
	entries := make([]summaryEntry, 0, len(ids))
	var others []manifest.EnvID
	identities := make(map[manifest.EnvID]identity)
	for i, id := range ids {
		if k, ok := slices.BinarySearchFunc(known, id, func(e summaryEntry, id manifest.EnvID) int { return strings.Compare(string(e.EnvID), string(id)) }); ok && known[k].identity == seen[i] {
			entries = append(entries, known[k])
			continue
		}
		others = append(others, id)
		identities[id] = seen[i]
	}
	read, bad := s.readSummaries(others)
	for _, r := range read {
		entries = append(entries, summaryEntry{r, identities[r.EnvID]})
	}
	if len(read) > 0 {
		s.rememberSummaries(entries)
	}
	all := make([]Summary, len(entries))
	for i, e := range entries {
		all[i] = e.Summary
	}
	sortSummaries(all)
	return all, bad
}

func (s *Store) readSummaries(ids []manifest.EnvID) ([]Summary, []error) {
	records, bad := s.recordsOf(ids)
	all := make([]Summary, len(records))
	for i, r := range records {
		all[i] = r.Summary()
	}
	return all, bad
}

func sortSummaries(all []Summary) {
	slices.SortFunc(all, func(a, b Summary) int {
		if c := a.CreatedAt.Compare(b.CreatedAt); c != 0 {
			return c
		}
		return strings.Compare(string(a.EnvID), string(b.EnvID))
	})
}

// identify gives the zero identity for what is no file, and for what has been changed just now.
func identify(path string) identity {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil || time.Since(time.Unix(st.Ctim.Unix())) < settledAfter {
		return identity{}
	}
	return identity{st.Ino, uint64(st.Size), uint64(st.Ctim.Nano())}
}

// rememberSummaries is for the next list; that it cannot be written harms nobody.
func (s *Store) rememberSummaries(entries []summaryEntry) {
	slices.SortFunc(entries, func(a, b summaryEntry) int { return strings.Compare(string(a.EnvID), string(b.EnvID)) })
	b := []byte(summariesMagic)
	b = append(b, 0, 0, 0, 0)
	for _, e := range entries {
		if e.identity == (identity{}) {
			continue
		}
		for _, text := range []string{string(e.EnvID), e.Name, e.State, e.Arch, e.Backend, e.BaseImage,
			string(e.BaseLayer), string(e.PackageLayer), string(e.ImageDigest), string(e.Current)} {
			b = binary.AppendUvarint(b, uint64(len(text)))
			b = append(b, text...)
		}
		for _, n := range []uint64{uint64(e.CreatedAt.UnixNano()), e.ino, e.size, e.changed} {
			b = binary.LittleEndian.AppendUint64(b, n)
		}
	}
	body := b[len(summariesMagic)+4:]
	binary.LittleEndian.PutUint32(b[len(summariesMagic):], crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	f, err := os.CreateTemp(s.Path("tmp"), summariesName)
	if err != nil {
		return
	}
	_, err = f.Write(b)
	if errors.Join(err, f.Close()) != nil || os.Rename(f.Name(), s.Path(summariesName)) != nil {
		os.Remove(f.Name())
	}
}

// rememberedSummaries are ordered by id; nothing is remembered by a file with a wrong byte.
func (s *Store) rememberedSummaries() []summaryEntry {
	file, err := readBounded(s.Path(summariesName), summariesLimit)
	if err != nil || len(file) < len(summariesMagic)+4 || string(file[:len(summariesMagic)]) != summariesMagic {
		return nil
	}
	sum := binary.LittleEndian.Uint32(file[len(summariesMagic):])
	body := file[len(summariesMagic)+4:]
	if crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) != sum {
		return nil
	}
	return decodeSummaries(string(body))
}

func decodeSummaries(body string) []summaryEntry {
	d := summaryDecoder{rest: body}
	entries := make([]summaryEntry, 0, len(body)/256)
	for d.rest != "" {
		e := summaryEntry{Summary: Summary{
			EnvID: manifest.EnvID(d.text()), Name: d.text(), State: d.text(), Arch: d.text(), Backend: d.text(), BaseImage: d.text(),
			BaseLayer: digest.Digest(d.text()), PackageLayer: digest.Digest(d.text()), ImageDigest: digest.Digest(d.text()), Current: digest.Digest(d.text()),
			CreatedAt: time.Unix(0, int64(d.number())).UTC(),
		}}
		e.identity = identity{d.number(), d.number(), d.number()}
		if d.failed {
			return nil
		}
		entries = append(entries, e)
	}
	return entries
}

type summaryDecoder struct {
	rest   string
	failed bool
}

func (d *summaryDecoder) take(n uint64) string {
	if n > uint64(len(d.rest)) {
		d.rest, d.failed = "", true
		return ""
	}
	taken := d.rest[:n]
	d.rest = d.rest[n:]
	return taken
}

func (d *summaryDecoder) text() string {
	var n uint64
	for shift := 0; ; shift += 7 {
		b := d.take(1)
		if b == "" || shift > 28 {
			d.rest, d.failed = "", true
			return ""
		}
		n |= uint64(b[0]&0x7f) << shift
		if b[0] < 0x80 {
			return d.take(n)
		}
	}
}

func (d *summaryDecoder) number() uint64 {
	b := d.take(8)
	if b == "" {
		return 0
	}
	return binary.LittleEndian.Uint64([]byte(b))
}

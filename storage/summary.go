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

// A store of many environments remembers their summaries in one file. All count as long as the directory of environments is as it
// was: whatever comes, goes or changes its record by a rename there, which changes the directory's time. Otherwise each counts whose
// record is the file it was taken from. After a boot the time may be an earlier one than that of the records. The file as a whole is worth
// nothing more than the time to read all records; one that is damaged by others may stay unnoticed until the next change.
const (
	summariesName   = "summaries"
	rememberedLimit = 64 << 20
	summariesMagic  = "karapace summaries 3\n"
	manySummaries   = 100
	// settledAfter is how long ago a record was changed at least, so that another change would have another time: some ticks of
	// the kernel's clock, or more than a second where a file system keeps no smaller part of one.
	settledAfter  = 100 * time.Millisecond
	settledCoarse = 2 * time.Second
)

// identity tells a file, and its content, from every other one.
type identity struct{ ino, size, changed uint64 }

type summaryEntry struct {
	Summary
	identity
}

// Summaries are those of all records, oldest first. Damaged records come as errors beside the good ones. Of several with one name, as
// there are while a rebuild replaces an environment, or when it has ended early, only the one that the name leads to has it.
func (s *Store) Summaries() ([]Summary, []error) {
	all, bad := s.allSummaries()
	holders := make(map[string]int, len(all))
	for i := range all {
		name := all[i].Name
		j, twice := holders[name]
		holders[name] = i
		if name == "" || !twice {
			continue
		}
		holder, err := s.named(name)
		switch {
		case err != nil:
			bad = append(bad, err)
		case holder == nil:
		case holder.EnvID == all[j].EnvID:
			all[i].Name, holders[name] = "", j
		default:
			all[j].Name = ""
		}
	}
	return all, bad
}

func (s *Store) allSummaries() ([]Summary, []error) {
	known := decodeSummaries(s.remembered(summariesName, summariesMagic))
	envs, err := os.Open(s.Path("envs"))
	if err != nil {
		return nil, []error{&Error{Path: s.root, Msg: err.Error()}}
	}
	defer envs.Close()
	present := generation{boot(), identify(int(envs.Fd()), ".")}
	if present.is(known.generation) && len(known.summaries) > 0 {
		return known.summaries, nil
	}
	now := make([]identity, len(known.summaries))
	eachOf(len(now), func(i int) { now[i] = identify(int(envs.Fd()), string(known.summaries[i].EnvID)+"/"+recordName) })
	entries := make([]summaryEntry, 0, len(now))
	for i, of := range known.identities {
		if now[i].is(of) {
			entries = append(entries, summaryEntry{known.summaries[i], of})
		}
	}
	return s.readOthers(int(envs.Fd()), present, known.generation, entries)
}

// readOthers reads all records but those whose entries are given, and remembers all if that is more than was.
func (s *Store) readOthers(envs int, present, seen generation, entries []summaryEntry) ([]Summary, []error) {
	ids, err := s.ids()
	if err != nil {
		return nil, []error{err}
	}
	known := make(map[manifest.EnvID]bool, len(entries))
	for _, e := range entries {
		known[e.EnvID] = true
	}
	ids = slices.DeleteFunc(ids, func(id manifest.EnvID) bool { return known[id] })
	identities := make(map[manifest.EnvID]identity, len(ids))
	for _, id := range ids {
		identities[id] = identify(envs, string(id)+"/"+recordName)
	}
	records, bad := s.recordsOf(ids)
	learned := false
	for _, r := range records {
		entries = append(entries, summaryEntry{r.Summary(), identities[r.EnvID]})
		learned = learned || identities[r.EnvID] != identity{}
	}
	slices.SortFunc(entries, func(a, b summaryEntry) int {
		if c := a.CreatedAt.Compare(b.CreatedAt); c != 0 {
			return c
		}
		return strings.Compare(string(a.EnvID), string(b.EnvID))
	})
	if len(bad) > 0 {
		present = generation{} // these are to be told of the next time too
	}
	if learned = learned || present != seen && present.known(); learned && len(entries) >= manySummaries {
		s.rememberSummaries(present, entries)
	}
	return summariesOf(entries), bad
}

func summariesOf(entries []summaryEntry) []Summary {
	all := make([]Summary, len(entries))
	for i, e := range entries {
		all[i] = e.Summary
	}
	return all
}

// is says whether both are known, and the same.
func (i identity) is(j identity) bool { return i == j && i != identity{} }

// generation tells a time from every other one by what a file or directory was that everybody changes.
type generation struct {
	boot string
	of   identity
}

func (g generation) known() bool { return g.boot != "" && g.of != identity{} }

// is says whether both are known, and the same.
func (g generation) is(h generation) bool { return g == h && g.known() }

// boot names the time since the machine was started; empty when it cannot be told.
func boot() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}

// identify gives the zero identity for what is not there, and for what has been changed just now.
func identify(dir int, path string) identity {
	var st unix.Stat_t
	if unix.Fstatat(dir, path, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return identity{}
	}
	age := settledAfter
	if st.Ctim.Nsec == 0 {
		age = settledCoarse
	}
	if time.Since(time.Unix(st.Ctim.Unix())) < age {
		return identity{}
	}
	return identity{st.Ino, uint64(st.Size), uint64(st.Ctim.Nano())}
}

// rememberSummaries is for the next list; that it cannot be written harms nobody.
func (s *Store) rememberSummaries(present generation, entries []summaryEntry) {
	b := present.append(nil)
	shared := sharedTexts{}
	for _, e := range entries {
		b = appendText(appendText(b, string(e.EnvID)), e.Name)
		for _, text := range []string{e.State, e.Arch, e.Backend, e.BaseImage,
			string(e.BaseLayer), string(e.PackageLayer), string(e.ImageDigest), string(e.Current)} {
			b = shared.append(b, text)
		}
		b = binary.LittleEndian.AppendUint64(b, uint64(e.CreatedAt.UnixNano()))
		b = e.identity.append(b)
	}
	s.remember(summariesName, summariesMagic, b)
}

// remember writes a file that is worth nothing more than the time it saves.
func (s *Store) remember(name, magic string, body []byte) {
	head := binary.LittleEndian.AppendUint32([]byte(magic), crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	_ = s.replace(name, append(head, body...))
}

// replace makes a file of the store hold data, for other processes at once. It is not flushed.
func (s *Store) replace(name string, data []byte) error {
	f, err := os.CreateTemp(s.Path("tmp"), name)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), s.Path(name))
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// remembered is what such a file holds, nothing where it has a wrong byte.
func (s *Store) remembered(name, magic string) (body string) {
	file, err := readBounded(s.Path(name), rememberedLimit)
	if err != nil || len(file) < len(magic)+4 || string(file[:len(magic)]) != magic {
		return ""
	}
	sum, rest := binary.LittleEndian.Uint32(file[len(magic):]), file[len(magic)+4:]
	if crc32.Checksum(rest, crc32.MakeTable(crc32.Castagnoli)) != sum {
		return ""
	}
	return string(rest)
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// sharedTexts are the numbers of texts that many environments have in common, of which each is written once: what is new has the next
// number, and stands behind it.
type sharedTexts map[string]uint64

func (t sharedTexts) append(b []byte, text string) []byte {
	if n, ok := t[text]; ok {
		return binary.AppendUvarint(b, n)
	}
	n := uint64(len(t))
	t[text] = n
	return appendText(binary.AppendUvarint(b, n), text)
}

func (g generation) append(b []byte) []byte { return g.of.append(appendText(b, g.boot)) }

func (i identity) append(b []byte) []byte {
	for _, n := range [...]uint64{i.ino, i.size, i.changed} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return b
}

// rememberedSummaries are all there were, in order, at a time.
type rememberedSummaries struct {
	generation
	summaries  []Summary
	identities []identity // of their records
}

func decodeSummaries(body string) rememberedSummaries {
	const usual = 128 // bytes of one
	if body == "" {
		return rememberedSummaries{}
	}
	d := summaryDecoder{rest: body}
	r := rememberedSummaries{d.generation(), make([]Summary, 0, len(body)/usual), make([]identity, 0, len(body)/usual)}
	for d.rest != "" {
		r.summaries = append(r.summaries, Summary{
			EnvID: manifest.EnvID(d.text()), Name: d.text(), State: d.shared(), Arch: d.shared(), Backend: d.shared(), BaseImage: d.shared(),
			BaseLayer: digest.Digest(d.shared()), PackageLayer: digest.Digest(d.shared()), ImageDigest: digest.Digest(d.shared()), Current: digest.Digest(d.shared()),
			CreatedAt: time.Unix(0, int64(d.number())).UTC(),
		})
		r.identities = append(r.identities, d.identity())
	}
	if d.failed {
		return rememberedSummaries{}
	}
	return r
}

type summaryDecoder struct {
	rest   string
	texts  []string // shared
	failed bool
}

func (d *summaryDecoder) fail() { d.rest, d.failed = "", true }

func (d *summaryDecoder) take(n uint64) string {
	if n > uint64(len(d.rest)) {
		d.fail()
		return ""
	}
	taken := d.rest[:n]
	d.rest = d.rest[n:]
	return taken
}

func (d *summaryDecoder) uvarint() (n uint64) {
	for shift := 0; ; shift += 7 {
		b := d.take(1)
		if b == "" || shift > 28 {
			d.fail()
			return 0
		}
		n |= uint64(b[0]&0x7f) << shift
		if b[0] < 0x80 {
			return n
		}
	}
}

func (d *summaryDecoder) text() string { return d.take(d.uvarint()) }

func (d *summaryDecoder) shared() string {
	n := d.uvarint()
	switch have := uint64(len(d.texts)); {
	case n < have:
		return d.texts[n]
	case n > have:
		d.fail()
		return ""
	}
	d.texts = append(d.texts, d.text())
	return d.texts[n]
}

func (d *summaryDecoder) generation() generation { return generation{d.text(), d.identity()} }

func (d *summaryDecoder) identity() identity { return identity{d.number(), d.number(), d.number()} }

func (d *summaryDecoder) number() uint64 {
	b := d.take(8)
	if b == "" {
		return 0
	}
	return binary.LittleEndian.Uint64([]byte(b))
}

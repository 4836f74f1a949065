package main

import (
	"archive/tar"
	"cmp"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/karapace/karapace/cmd/internal/testground"
)

// slowDoor is what stands before a registry: it lets through so many bytes a second, remembers what is asked for, and cuts connections.
type slowDoor struct {
	*httptest.Server
	spacing, next  atomic.Int64 // bytes: the most between two cuts, 0 for none, and how many are left before the next one
	cuts           atomic.Int64
	mu             sync.Mutex
	first, arrived map[string]int64 // by blob: where it was first asked for from, and how much of it had arrived before, in bytes
}

const doorRate = 16 << 20 // bytes a second each way

func newSlowDoor(t *testing.T, registry string) *slowDoor {
	d := &slowDoor{first: map[string]int64{}, arrived: map[string]int64{}}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: registry})
	proxy.FlushInterval = -1
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, err error) {
		if errors.Is(err, errCut) {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusBadGateway)
	}
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	proxy.ModifyResponse = func(r *http.Response) error {
		r.Body = &slowly{r.Body, d}
		return nil
	}
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.note(r)
		if r.Body != nil && (r.Method == http.MethodPut || r.Method == http.MethodPatch) {
			r.Body = &slowly{r.Body, d}
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(d.Close)
	return d
}

// note remembers where the first request for a blob wants it to begin.
func (d *slowDoor) note(r *http.Request) {
	_, blob, ok := strings.Cut(r.URL.Path, "/blobs/sha256:")
	if !ok || r.Method != http.MethodGet {
		return
	}
	var first int64
	if asked := r.Header.Get("Range"); asked != "" {
		fmt.Sscanf(asked, "bytes=%d-", &first)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, again := d.first[blob]; !again {
		d.first[blob] = first
	}
}

// goesOn makes sure that what had arrived was not asked for again, and looks at what has arrived now.
func (d *slowDoor) goesOn(t *testing.T, partials ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	for blob, first := range d.first {
		if first != d.arrived[blob] {
			t.Errorf("of %s had arrived %d bytes, and it was asked for from %d on", blob, d.arrived[blob], first)
		}
	}
	d.first, d.arrived = map[string]int64{}, map[string]int64{}
	for _, dir := range partials {
		files, _ := filepath.Glob(filepath.Join(dir, "*"))
		for _, file := range files {
			if info, err := os.Stat(file); err == nil && filepath.Ext(file) == "" {
				d.arrived[filepath.Base(file)] = info.Size()
			}
		}
	}
}

// cutEvery cuts connections, whoever's, when so many bytes at most have gone through since the last time.
func (d *slowDoor) cutEvery(bytes int64) {
	d.spacing.Store(bytes)
	d.next.Store(rand.Int64N(bytes + 1))
}

var errCut = errors.New("cut")

// passes counts bytes, and says when it is time for a cut.
func (d *slowDoor) passes(n int) error {
	if spacing := d.spacing.Load(); spacing > 0 && d.next.Add(-int64(n)) < 0 {
		d.next.Store(rand.Int64N(spacing + 1))
		d.cuts.Add(1)
		return errCut
	}
	return nil
}

type slowly struct {
	io.ReadCloser
	door *slowDoor
}

func (s *slowly) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p[:min(len(p), 64<<10)])
	time.Sleep(time.Duration(n) * time.Second / doorRate)
	return n, cmp.Or(s.door.passes(n), err)
}

const bulkSize = 4 << 20

// writeBulky is WriteTiny with bytes that take a while.
func writeBulky(file string) error {
	if err := testground.WriteTiny(file); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Seek(-1024, io.SeekEnd); err != nil { // the end of the archive
		return err
	}
	w := tar.NewWriter(f)
	bulk := io.LimitReader(rand.NewChaCha8([32]byte{1}), bulkSize)
	return errors.Join(testground.Regular(w, "usr/bulk", 0o644, bulkSize, bulk), w.Close(), f.Close())
}

// kills is how often a push and a pull are interrupted: KARAPACE_FAULTS=full asks for all that was promised.
func kills() int {
	if os.Getenv("KARAPACE_FAULTS") == "full" {
		return 50
	}
	return 4
}

// transfers is an environment that is pushed to a new registry, and pulled from there, with its snapshot and what it was made from.
type transfers struct {
	*stateBench
	serve func(dir string) (addr string, stop func(), err error)
	image string // the environment's
}

// overRegistries runs a test with each of the servers there are.
func overRegistries(t *testing.T, test func(*transfers, *testing.T)) {
	for name, serve := range map[string]func(string) (string, func(), error){"docker-registry": testground.ServeRegistry, "karapace-server": serveOurs} {
		t.Run(name, func(t *testing.T) {
			if followed() {
				t.Skip("the user who follows does")
			}
			b := newStateBench(t)
			must(t, writeBulky(filepath.Join(b.dir, "base.tar")))
			files := httptest.NewServer(http.FileServer(http.Dir(b.dir)))
			t.Cleanup(files.Close)
			must(t, os.WriteFile(filepath.Join(b.dir, "t.toml"), []byte("manifest_version = 1\n[base]\nimage = \""+files.URL+"/base.tar\"\n"), 0o644))
			b.karapace("build", "t.toml", "--name", "t")
			b.karapace("exec", "t", "-u", "0", "--", "sh", "-c", "head -c 1000000 /dev/urandom >/usr/drift")
			b.karapace("commit", "t")
			test(&transfers{b, serve, field(b.karapace("inspect", "t", "--json"), "image_digest")}, t)
		})
	}
}

// behindDoor starts a registry, and gives the place to push to: through a door.
func (b *transfers) behindDoor(t *testing.T) (door *slowDoor, ref string) {
	addr, stop, err := b.serve(t.TempDir())
	must(t, err)
	t.Cleanup(stop)
	door = newSlowDoor(t, addr)
	return door, strings.TrimPrefix(door.URL, "http://") + "/team/bulky:1"
}

func (b *transfers) pushing(ref string) []string {
	return []string{"push", "t", ref, "--snapshots", "--with-packages"}
}

func (b *transfers) pulling(ref string) []string {
	return []string{"pull", ref, "--name", "t", "--snapshots", "--with-packages"}
}

// clear makes the store as good as new.
func (b *transfers) clear() {
	b.karapace("destroy", "--all", "--force")
}

// arrived makes sure that the environment is what was pushed, with nothing left over from getting here.
func (b *transfers) arrived(t *testing.T) {
	t.Helper()
	b.same(t, b.image)
	if got := b.karapace("snapshots", "t", "--json"); strings.Count(got, `"snapshot"`) != 1 {
		t.Errorf("of the snapshot has come\n%s", got)
	}
	b.karapace("gc")
	if got := b.karapace("gc", "--dry-run"); !strings.Contains(got, "nothing to remove") {
		t.Errorf("left behind:\n%s", got)
	}
}

// A push and a pull that are killed go on where they were, show nothing before they are through, and end with the same
// environment, with nothing left over.
func TestTransferKilled(t *testing.T) { overRegistries(t, (*transfers).killed) }

func (b *transfers) killed(t *testing.T) {
	door, ref := b.behindDoor(t)
	const whole = 2 * bulkSize * int(time.Second) / doorRate // the layer, and the archive it was made from
	moment := func() time.Duration { return time.Duration(rand.IntN(2 * whole)) }
	for range kills() {
		b.kill(moment(), b.pushing(ref)...)
	}
	b.karapace(b.pushing(ref)...)

	b.clear()
	done, partials := 0, []string{b.path("transit", "*", "partial"), b.path("vault", "partial")}
	for range kills() {
		through := b.kill(moment(), b.pulling(ref)...)
		if through {
			done++
		}
		if through || strings.TrimSpace(b.karapace("list", "--json")) != "[]" { // killed after it was there
			b.same(t, b.image)
			b.clear()
		}
		door.goesOn(t, partials...)
	}
	b.karapace(b.pulling(ref)...)
	b.arrived(t)
	door.goesOn(t, partials...)
	t.Logf("%d of %d pulls were through before they were killed", done, kills())
}

// Connections that break at any byte are made again, and what is through goes on from there. A command that gives up says so, leaves nothing
// visible, and succeeds when it is given again.
func TestTransferCut(t *testing.T) { overRegistries(t, (*transfers).cut) }

func (b *transfers) cut(t *testing.T) {
	gaveUp, cuts := 0, int64(0)
	for round := range kills() / 4 {
		door, ref := b.behindDoor(t)
		for _, command := range [][]string{b.pushing(ref), b.pulling(ref)} {
			if command[0] == "pull" {
				b.clear()
			}
			door.cutEvery(2 * bulkSize)
			out, err := b.command(command...).CombinedOutput()
			door.cutEvery(0)
			if err == nil {
				continue
			}
			gaveUp++
			if code := err.(*exec.ExitError).ExitCode(); code != 6 {
				t.Errorf("round %d: %s ends with %d\n%s", round, command[0], code, out)
			}
			if got := b.karapace("list", "--json"); command[0] == "pull" && strings.TrimSpace(got) != "[]" {
				t.Errorf("round %d: visible before it is whole:\n%s", round, got)
			}
			b.karapace(command...)
		}
		b.arrived(t)
		cuts += door.cuts.Load()
	}
	if cuts == 0 {
		t.Error("nothing was cut")
	}
	t.Logf("%d cuts, %d commands gave up", cuts, gaveUp)
}

// same makes sure that the environment is what was pushed, to the last byte.
func (b *stateBench) same(t *testing.T, image string) {
	t.Helper()
	if got := field(b.karapace("inspect", "t", "--json"), "image_digest"); got != image {
		t.Errorf("it is %s, not %s", got, image)
	}
	b.karapace("verify", "t")
	b.karapace("exec", "t", "--", "true")
}

// field is a text in a JSON document.
func field(document, name string) string {
	_, rest, _ := strings.Cut(document, `"`+name+`": "`)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

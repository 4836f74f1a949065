package distro

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/karapace/karapace/manifest/distro/rpmrepo"
)

// rpmClock takes the time of the installation out of rpm's database. From 4.18 on rpm does that itself, by
// SOURCE_DATE_EPOCH; with an older one the database is exported, edited and imported again. The formats sqlite and ndb
// are the same bytes then; Berkeley DB gives every file a random identity, so it is refused.
type rpmClock struct {
	old   bool
	epoch uint32 // of the build environment
}

func newRPMClock(ctx context.Context, sb Sandbox) (rpmClock, error) {
	out := limited{most: 64 << 10}
	if err := sb.Run(ctx, Command{Argv: []string{"sh", "-c", `rpm --version && echo "$SOURCE_DATE_EPOCH"`}, Stdout: &out}); err != nil {
		return rpmClock{}, fmt.Errorf("ask rpm for its version: %w", err)
	}
	version, rest, _ := strings.Cut(strings.TrimSpace(out.String()), "\n")
	old, err := oldRPM(version)
	if err != nil {
		return rpmClock{}, err
	}
	epoch, err := strconv.ParseUint(strings.TrimSpace(rest), 10, 32)
	if err != nil {
		return rpmClock{}, fmt.Errorf("read the time of the build environment: %w", err)
	}
	if old && berkeley(sb) {
		return rpmClock{}, fmt.Errorf("%s of the base keeps its database as Berkeley DB, whose files are other bytes in every build: take a base whose rpm has sqlite or ndb", version)
	}
	return rpmClock{old, uint32(epoch)}, nil
}

// oldRPM reads "RPM version 4.16.1.3".
func oldRPM(line string) (bool, error) {
	_, version, ok := strings.Cut(line, "version ")
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	a, err1 := strconv.Atoi(major)
	b, err2 := strconv.Atoi(minor)
	if !ok || err1 != nil || err2 != nil {
		return false, fmt.Errorf("rpm of the base says that it is %q, which is not understood", line)
	}
	return a < 4 || a == 4 && b < 18, nil
}

func berkeley(sb Sandbox) bool {
	for _, dir := range rpmDirs() {
		if exists(sb, dir+"/Packages") {
			return true
		}
	}
	return false
}

// normalise sets the times of the packages that were not there before.
func (c rpmClock) normalise(ctx context.Context, sb Sandbox, d rpmDir, before rpmSet) error {
	if !c.old {
		return nil
	}
	sh := func(script string) error {
		if err := sb.Run(ctx, Command{Argv: []string{"sh", "-ec", "cd " + d.inside + "\n" + script}}); err != nil {
			return fmt.Errorf("write rpm's database anew: %w", err)
		}
		return nil
	}
	if err := sh("rpmdb --exportdb >exported"); err != nil {
		return err
	}
	if err := retimeFile(filepath.Join(d.host, "exported"), filepath.Join(d.host, "edited"), before, c.epoch); err != nil {
		return fmt.Errorf("write rpm's database anew: %w", err)
	}
	return sh(`mkdir db
rpmdb --dbpath "$PWD/db" --initdb
rpmdb --dbpath "$PWD/db" --importdb <edited
to=$(rpm --eval '%{_dbpath}')
rm -f "$to"/rpmdb.sqlite* "$to"/Packages.db "$to"/Index.db
for f in db/rpmdb.sqlite db/Packages.db db/Index.db; do
	[ ! -e "$f" ] || cp "$f" "$to/"
done`)
}

func retimeFile(from, to string, before rpmSet, epoch uint32) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	return writeFile(to, func(w io.Writer) error { return retime(in, w, before, epoch) })
}

// retime copies headers of rpm's database; those of packages that were not there before get epoch for their time and
// for the number of their transaction, which is a time too.
func retime(in io.Reader, out io.Writer, before rpmSet, epoch uint32) error {
	r, w := bufio.NewReaderSize(in, 256<<10), bufio.NewWriterSize(out, 256<<10)
	for {
		h, err := rpmrepo.ReadHeader(r)
		if errors.Is(err, io.EOF) {
			return w.Flush()
		}
		if err != nil {
			return err
		}
		p := rpmPackage{h.String(rpmrepo.TagName), h.Version(), cmp.Or(h.String(rpmrepo.TagArch), "(none)")} // keys have none
		if _, was := before[p.String()]; !was {
			if !h.SetNumber(rpmrepo.TagInstallTime, epoch) || !h.SetNumber(rpmrepo.TagInstallTID, epoch) {
				return fmt.Errorf("%s has no time of installation", p)
			}
		}
		if _, err := w.Write(h.Raw); err != nil {
			return err
		}
	}
}

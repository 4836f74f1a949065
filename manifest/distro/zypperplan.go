package distro

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/karapace/karapace/manifest/distro/rpmrepo"
)

// Plan resolves names with the zypper of the base against its own repositories, or against req.Mirror.
func (Zypper) Plan(ctx context.Context, sb Sandbox, f Fetcher, req Request) (*Plan, error) {
	z, err := newZypper(sb, req.Arch)
	if err != nil {
		return nil, err
	}
	p, err := newRPMPlan(ctx, sb, f, req, z.repos, z.expand, z.signedMetadata)
	if err != nil {
		return nil, err
	}
	dir, err := newRPMDir(sb, "zypper-plan")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir.host)
	steps, err := p.resolve(ctx, dir, req.Names, []string{"primary"}, func() ([]rpmStep, error) {
		var repos strings.Builder
		for id, r := range p.localIDs {
			repos.WriteString(zyppRepo(id, dir.inside+"/"+id, zyppPriority(r)))
		}
		if err := z.prepare(dir, repos.String()); err != nil {
			return nil, err
		}
		return z.plan(ctx, dir, req.Names)
	})
	if err != nil {
		return nil, err
	}
	return p.answer(ctx, req.Names, steps)
}

func (z *zypper) plan(ctx context.Context, dir rpmDir, names []string) ([]rpmStep, error) {
	if err := z.run(ctx, dir, nil, "refresh"); err != nil {
		return nil, err
	}
	out := limited{most: maxRPMList}
	args := append([]string{"--xmlout", "--no-refresh", "install", "--dry-run", "--details", "--no-recommends", "--auto-agree-with-licenses", "--"}, names...)
	if err := z.run(ctx, dir, &out, args...); err != nil {
		return nil, fmt.Errorf("%w%s", err, zyppMessages(out.String()))
	}
	if out.over {
		return nil, errors.New("zypper's answer is too long")
	}
	return parseZyppPlan(out.String())
}

// run calls zypper. Exit codes 100 to 103 tell of something, not of a failure (zypper(8)).
func (z *zypper) run(ctx context.Context, dir rpmDir, out io.Writer, args ...string) error {
	script := `zypper --non-interactive --reposd-dir "$0/repos" --cache-dir "$0/cache" "$@"
code=$?
case $code in 10[0-3]) code=0 ;; esac
exit $code`
	return z.sb.Run(ctx, Command{
		Argv: append([]string{"sh", "-c", script, dir.inside}, args...), Stdout: out,
		Env: []string{"ZYPP_CONF=" + dir.inside + "/zypp.conf", "ZYPP_LOGFILE=" + dir.inside + "/log/zypper.log"},
	})
}

// zyppMessages gives what zypper said in its XML, for an error.
func zyppMessages(text string) string {
	var said strings.Builder
	d := xml.NewDecoder(strings.NewReader(text))
	inside := false
	for {
		t, err := d.Token()
		if err != nil {
			return said.String()
		}
		switch e := t.(type) {
		case xml.StartElement:
			inside = slices.Contains([]string{"message", "description", "option"}, e.Name.Local)
		case xml.EndElement:
			inside = false
		case xml.CharData:
			if s := strings.TrimSpace(string(e)); inside && s != "" && said.Len() < 4<<10 {
				said.WriteString("\n" + s)
			}
		}
	}
}

// parseZyppPlan reads the summary: lists by what is to be done with their packages.
func parseZyppPlan(text string) ([]rpmStep, error) {
	var steps []rpmStep
	var gone []rpmPackage
	d := xml.NewDecoder(strings.NewReader(text))
	todo := ""
	summaries := 0
	for {
		t, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read zypper's plan: %w", err)
		}
		e, ok := t.(xml.StartElement)
		if !ok {
			if e, end := t.(xml.EndElement); end && e.Name.Local == todo {
				todo = ""
			}
			continue
		}
		switch {
		case e.Name.Local == "install-summary":
			summaries++
		case strings.HasPrefix(e.Name.Local, "to-"):
			todo = e.Name.Local
		case e.Name.Local == "solvable" && todo != "":
			p, err := zyppSolvable(e)
			if err != nil {
				return nil, err
			}
			if p.name == "" {
				continue
			}
			switch {
			case todo == "to-remove":
				gone = append(gone, p)
			case todo == "to-install" || todo == "to-reinstall" || strings.HasPrefix(todo, "to-upgrade") || strings.HasPrefix(todo, "to-downgrade") || strings.HasPrefix(todo, "to-change-"):
				steps = append(steps, rpmStep{rpmPackage: p})
			default:
				return nil, fmt.Errorf("zypper's plan has %q for %s, which is not understood", todo, p.name)
			}
		}
	}
	if summaries > 1 {
		return nil, errors.New("zypper's plan has more than one summary")
	}
	return steps, refuseRemovals(steps, gone)
}

// zyppSolvable reads a package of the summary; what is none, a product for instance, has no name.
func zyppSolvable(e xml.StartElement) (rpmPackage, error) {
	a := make(map[string]string)
	for _, attr := range e.Attr {
		a[attr.Name.Local] = attr.Value
	}
	if a["type"] != "package" {
		return rpmPackage{}, nil
	}
	p := rpmPackage{a["name"], strings.TrimPrefix(a["edition"], "0:"), a["arch"]}
	if rpmrepo.CheckName(p.name) != nil || rpmrepo.CheckVersion(p.version) != nil || p.arch == "" {
		return p, fmt.Errorf("zypper's plan has the package %q %q (%s), which is not understood", p.name, p.version, p.arch)
	}
	return p, nil
}

// Owners implements Owner.
func (Zypper) Owners(ctx context.Context, sb Sandbox, paths []string) (map[string]string, error) {
	return rpmOwners(ctx, sb, paths)
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	cFloor    = "C floor"
	fresh     = "karapace exec"
	throughOC = "karapace exec --backend crun"
	crunRun   = "crun run"
	ociRun    = "karapace-runtime run"
	runcRun   = "runc run, the user as root"
	ociAsRoot = "karapace-runtime run, the user as root"
	podmanRun = "podman run --rm"
	bwrap     = "bwrap"
	freshRow  = "karapace exec, 10 in a row"
	floorRow  = "C floor, 10 in a row"
	joining   = "karapace exec, joining"
	crunExec  = "crun exec"
)

// startRows start `true` in a new container.
var startRows = []row{
	{What: fresh, Against: cFloor, AtMost: 1.6, Goal: 1.3},
	{What: fresh, Against: crunRun, AtMost: 1, Goal: 0.8},
	{What: fresh, Against: podmanRun, AtMost: 0.08},
	{What: throughOC, Against: crunRun, AtMost: 1.5},
	{What: ociRun, Against: crunRun, AtMost: 1},
	{What: ociAsRoot, Against: runcRun, AtMost: 0.4},
	{What: freshRow, Against: floorRow},
	{What: crunRun, Against: cFloor},
	{What: bwrap, Against: cFloor},
}

// joinRows start `true` in a container that runs.
var joinRows = []row{
	{What: joining, Against: crunExec, AtMost: 0.7},
}

// program is what is started: static, so that nothing is measured but its start.
const program = "/bin/true"

func starts(ctx context.Context, l *lab) *group {
	g := &group{name: "starting", rounds: l.rounds}
	l.addFresh(ctx, g)
	if _, err := l.build(ctx, "bench-crun", "crun"); err != nil {
		g.missing(throughOC, err)
	} else {
		g.add(throughOC, l.karapace, "exec", "bench-crun", "--backend", "crun", "--", program)
	}
	if err := l.unpackRoot(ctx); err != nil {
		for _, name := range [...]string{crunRun, ociRun, runcRun, ociAsRoot, bwrap} {
			g.missing(name, err)
		}
	} else {
		l.addRuns(ctx, g)
		g.add(bwrap, "bwrap", "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try",
			"--bind", l.path("rootfs"), "/", "--proc", "/proc", "--dev", "/dev", "--", program)
	}
	l.addPodman(ctx, g)
	return g
}

func (l *lab) addFresh(ctx context.Context, g *group) {
	err := l.buildBench(ctx)
	if err != nil {
		g.missing(fresh, err)
		g.missing(cFloor, err)
		return
	}
	exec := []string{l.karapace, "exec", "bench", "--", program}
	g.add(fresh, exec...)
	g.add(freshRow, tenTimes(exec...)...)
	lower, err := l.lower()
	if err == nil {
		_, err = l.do(ctx, "mkdir", l.path("floor"), l.path("floor", "upper"), l.path("floor", "work"), l.path("floor", "root"))
	}
	if err != nil {
		g.missing(cFloor, err)
		return
	}
	least := []string{l.floor, "run", l.uids, l.gids, lower, l.path("floor", "upper"), l.path("floor", "work"), l.path("floor", "root"), program}
	g.add(cFloor, least...)
	g.add(floorRow, tenTimes(least...)...)
}

// tenTimes shows what a run leaves to be done after its end, which the next one waits for.
func tenTimes(argv ...string) []string {
	return append([]string{"sh", "-c", `for i in 0 1 2 3 4 5 6 7 8 9; do "$@" || exit; done`, "sh"}, argv...)
}

func (l *lab) buildBench(ctx context.Context) error {
	_, err := l.build(ctx, "bench", "bench")
	return err
}

// lower is what the floor mounts: the directories that lie under the environment's writable layer, top first.
func (l *lab) lower() (string, error) {
	records, err := filepath.Glob(l.path("store", "envs", "*", "record.json"))
	if err != nil {
		return "", err
	}
	for _, file := range records {
		b, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		var record struct {
			Name  string
			Lower []string
		}
		if err := json.Unmarshal(b, &record); err != nil {
			return "", fmt.Errorf("%s: %w", file, err)
		}
		if record.Name != "bench" {
			continue
		}
		dirs := []string{filepath.Join(filepath.Dir(file), "host")}
		for _, d := range record.Lower {
			dirs = append(dirs, l.path("store", d))
		}
		return strings.Join(dirs, ":"), nil
	}
	return "", fmt.Errorf("no environment bench among %d records", len(records))
}

// unpackRoot makes a root file system that is ready to be started in: the peers mount nothing for it.
func (l *lab) unpackRoot(ctx context.Context) error {
	root := l.path("rootfs")
	if err := os.Mkdir(root, 0o755); os.IsExist(err) {
		return nil
	} else if err != nil {
		return err
	}
	_, err := l.do(ctx, l.mapped("tar", "--numeric-owner", "-xf", l.archive, "-C", root)...)
	return err
}

// addRuns runs bundles by several runtimes. runc cannot run one whose root is not the user.
func (l *lab) addRuns(ctx context.Context, g *group) {
	own := func(name string) []string {
		return []string{l.karapace + "-runtime", "--root", l.path("run", "oci"), "run", "--bundle", l.path(name), "bench"}
	}
	if err := l.bundle(ctx, "true", program); err != nil {
		g.missing(crunRun, err)
		g.missing(ociRun, err)
	} else {
		g.add(crunRun, l.crun("run", "--bundle", l.path("true"), "bench")...)
		g.add(ociRun, own("true")...)
	}
	if err := l.bundleAs(ctx, "asroot", userAsRoot(l.uids), userAsRoot(l.gids), program); err != nil {
		g.missing(runcRun, err)
		g.missing(ociAsRoot, err)
	} else {
		g.add(runcRun, "runc", "--root", l.path("run", "runc"), "run", "--bundle", l.path("asroot"), "bench")
		g.add(ociAsRoot, own("asroot")...)
	}
}

// userAsRoot changes a mapping in which the user is the same inside to one in which the user is root.
func userAsRoot(words string) string {
	own, sub, size := 0, 0, 0
	for _, m := range mappings(words) {
		if m["containerID"] == m["hostID"] {
			own = m["hostID"]
		} else if m["containerID"] == 0 {
			sub, size = m["hostID"], m["size"]
		}
	}
	return fmt.Sprintf("0 %d 1 1 %d %d", own, sub, size)
}

func (l *lab) crun(argv ...string) []string {
	return append([]string{"crun", "--root", l.path("run", "crun")}, argv...)
}

// bundle writes a bundle with the document that Karapace itself runs, so that crun does the same work, and with a user
// namespace and a root file system that is there, both of which Karapace has to make.
func (l *lab) bundle(ctx context.Context, name string, args ...string) error {
	return l.bundleAs(ctx, name, l.uids, l.gids, args...)
}

func (l *lab) bundleAs(ctx context.Context, name, uids, gids string, args ...string) error {
	if err := l.buildBench(ctx); err != nil {
		return err
	}
	out, err := l.do(ctx, l.karapace, "enter", "bench", "--print-spec", "--", program)
	if err != nil {
		return err
	}
	var spec map[string]any
	if err := json.Unmarshal(out, &spec); err != nil {
		return fmt.Errorf("read the runtime document: %w", err)
	}
	process, ok1 := spec["process"].(map[string]any)
	linux, ok2 := spec["linux"].(map[string]any)
	if !ok1 || !ok2 {
		return fmt.Errorf("the runtime document has no process or no linux part")
	}
	spec["ociVersion"] = "1.0.2" // old releases of crun refuse newer ones, which say nothing else about what is used here
	process["args"], process["terminal"] = args, false
	spec["root"] = map[string]any{"path": l.path("rootfs")}
	namespaces, _ := linux["namespaces"].([]any)
	linux["namespaces"] = append(namespaces, map[string]any{"type": "user"})
	linux["uidMappings"], linux["gidMappings"] = mappings(uids), mappings(gids)
	b, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	if err := os.Mkdir(l.path(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(l.path(name, "config.json"), b, 0o644)
}

func mappings(words string) []map[string]int {
	var all []map[string]int
	for r := strings.NewReader(words); r.Len() > 0; {
		var inside, outside, size int
		if _, err := fmt.Fscan(r, &inside, &outside, &size); err != nil {
			break
		}
		all = append(all, map[string]int{"containerID": inside, "hostID": outside, "size": size})
	}
	return all
}

func (l *lab) addPodman(ctx context.Context, g *group) {
	podman := []string{"podman", "--root", l.path("podman"), "--runroot", l.path("run", "podman"), "--storage-driver", "overlay"}
	g.closers = append(g.closers, func() { l.do(context.Background(), append(podman, "system", "migrate")...) }) // ends its pause process
	if _, err := l.do(ctx, append(podman, "import", l.archive, "bench")...); err != nil {
		g.missing(podmanRun, err)
		return
	}
	c := g.add(podmanRun, append(podman, "run", "--rm", "--network", "host", "bench", program)...)
	c.settle = 300 * time.Millisecond
}

func joins(ctx context.Context, l *lab) *group {
	g := &group{name: "joining", rounds: l.rounds}
	err := l.buildBench(ctx)
	if err == nil {
		err = l.hold(ctx, g, []string{l.karapace, "exec", "bench", "--"}, []string{l.karapace, "stop", "bench", "--time", "0"})
	}
	if err != nil {
		g.missing(joining, err)
	} else {
		g.add(joining, l.karapace, "exec", "bench", "--", program)
	}
	if err := l.unpackRoot(ctx); err != nil {
		g.missing(crunExec, err)
		return g
	}
	err = l.bundle(ctx, "held", waiting...)
	if err == nil {
		err = l.hold(ctx, g, l.crun("run", "--bundle", l.path("held"), "held"), l.crun("delete", "--force", "held"))
	}
	if err != nil {
		g.missing(crunExec, err)
	} else {
		g.add(crunExec, l.crun("exec", "held", program)...)
	}
	return g
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

const (
	pushMine   = "karapace push, 400 MB"
	pushZstd   = "karapace push --compression zstd, 400 MB"
	pushSkopeo = "skopeo copy to the registry, the same image"
	pushGzip   = "skopeo copy to the registry, compressing"
	pullMine   = "karapace pull, 400 MB"
	pullZstd   = "karapace pull, 400 MB of zstd"
	pullSkopeo = "skopeo copy from the registry to containers-storage"
	pullLayout = "skopeo copy from the registry to a layout"
)

// registryRows send an environment to a registry on this machine and make it of what that has, in an empty store. To a
// layout skopeo copies what it gets; to containers-storage it unpacks it, as a pull does.
var registryRows = []row{
	{What: pushMine, Against: pushSkopeo, AtMost: 1},
	{What: pushZstd, Against: pushGzip, AtMost: 1},
	{What: pullMine, Against: pullSkopeo, AtMost: 1},
	{What: pullZstd, Against: pullSkopeo},
	{What: pullMine, Against: pullLayout},
	{What: pushMine, AtMost: 100},
	{What: pushZstd, AtMost: 100},
	{What: pullMine, AtMost: 100},
	{What: pullZstd, AtMost: 100},
}

// transferBytes is how large the environment is.
const transferBytes = 400e6

func registries(ctx context.Context, l *lab) *group {
	g := &group{name: "registries", rounds: min(l.rounds, importRounds), cold: true}
	if err := l.addRegistries(ctx, g); err != nil {
		for _, name := range []string{pushMine, pushZstd, pushSkopeo, pushGzip, pullMine, pullZstd, pullSkopeo, pullLayout} {
			g.missing(name, err)
		}
	}
	return g
}

func (l *lab) addRegistries(ctx context.Context, g *group) error {
	archive, manifest, layout := l.path("transfer.tar"), l.path("home", "transfer.toml"), l.path("transfer.oci")
	size, err := writeLarge(archive, transferBytes)
	if err != nil {
		return err
	}
	l.facts["environment in the registry"] = size
	data := l.path("registry")
	host, stop, err := startRegistry(ctx, data)
	if err != nil {
		return err
	}
	g.closers = append(g.closers, stop)
	if err := writeManifest(manifest, archive, "transfer"); err != nil {
		return err
	}
	for _, argv := range [][]string{
		{l.karapace, "build", manifest, "--name", "transfer"},
		{l.karapace, "export", "transfer", "--format", "oci", "--compression", "none", "-o", layout},
		{l.karapace, "push", "transfer", host + "/kept/plain:1"},
		{l.karapace, "push", "transfer", host + "/zstd/zstd:1", "--compression", "zstd"},
	} {
		if _, err := l.do(ctx, argv...); err != nil {
			return err
		}
	}
	l.addPushes(ctx, g, host, data, layout)
	l.addPulls(ctx, g, host)
	return l.noSignatures()
}

// addPushes pushes to a registry that has nothing of what is pushed: what it has is put aside meanwhile.
func (l *lab) addPushes(ctx context.Context, g *group, host, data, layout string) {
	kept := data + ".kept"
	emptied := func() error {
		err := l.remove(ctx, "store/pushed", "registry/docker")
		return errors.Join(err, l.sync(ctx))
	}
	aside := func() error {
		if _, err := os.Stat(kept); err == nil {
			return emptied()
		}
		return errors.Join(os.Rename(filepath.Join(data, "docker"), kept), emptied())
	}
	to := func(name string) string { return "docker://" + host + "/pushed/" + name + ":1" }
	skopeo := []string{"copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"}
	g.add(pushMine, l.karapace, "push", "transfer", host+"/pushed/mine:1").prepare = aside
	g.add(pushZstd, l.karapace, "push", "transfer", host+"/pushed/zstd:1", "--compression", "zstd").prepare = aside
	g.add(pushSkopeo, append(append([]string{"skopeo"}, skopeo...), "--preserve-digests", "oci:"+layout, to("skopeo"))...).prepare = aside
	g.add(pushGzip, append(append([]string{"skopeo"}, skopeo...), "oci:"+layout, to("gzip"))...).prepare = aside
}

// addPulls pulls into places where nothing is yet.
func (l *lab) addPulls(ctx context.Context, g *group, host string) {
	kept := l.path("registry") + ".kept"
	emptied := func() error {
		err := l.remove(ctx, "pulled")
		if _, there := os.Stat(kept); there == nil {
			err = errors.Join(err, l.remove(ctx, "registry/docker"), os.Rename(kept, l.path("registry", "docker")))
		}
		return errors.Join(err, os.Mkdir(l.path("pulled"), 0o755), l.sync(ctx))
	}
	from := "docker://" + host + "/kept/plain:1"
	skopeo := []string{"skopeo", "--registries.d", l.path("registries.d"), "copy", "--quiet", "--insecure-policy", "--src-tls-verify=false", from}
	storage := fmt.Sprintf("containers-storage:[overlay@%s+%s]transfer", l.path("pulled", "root"), l.path("pulled", "run"))
	g.add(pullMine, l.karapace, "--store", l.path("pulled", "store"), "pull", host+"/kept/plain:1").prepare = emptied
	g.add(pullZstd, l.karapace, "--store", l.path("pulled", "store"), "pull", host+"/zstd/zstd:1").prepare = emptied
	g.add(pullSkopeo, l.mapped(append([]string{"unshare", "--mount"}, append(skopeo, storage)...)...)...).prepare = emptied
	g.add(pullLayout, append(skopeo, "oci:"+l.path("pulled", "layout")+":transfer")...).prepare = emptied
}

// noSignatures gives skopeo an empty place to look for signatures: that of root it would try to read otherwise.
func (l *lab) noSignatures() error {
	text := "default-docker:\n  sigstore: file://" + l.path("registries.d") + "\n"
	return errors.Join(os.Mkdir(l.path("registries.d"), 0o755), os.WriteFile(l.path("registries.d", "default.yaml"), []byte(text), 0o644))
}

// startRegistry runs Debian's docker-registry on a free port.
func startRegistry(ctx context.Context, data string) (host string, stop func(), err error) {
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		return "", nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	host = listener.Addr().String()
	listener.Close()
	config := data + ".yml"
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage:\n  filesystem: {rootdirectory: %s}\nhttp: {addr: %q, secret: s}\n", data, host)
	if err := errors.Join(os.Mkdir(data, 0o755), os.WriteFile(config, []byte(text), 0o644)); err != nil {
		return "", nil, err
	}
	cmd := exec.CommandContext(ctx, program, "serve", config)
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		cmd.Process.Kill()
		cmd.Wait()
	}
	for range 400 {
		if resp, err := http.Get("http://" + host + "/v2/"); err == nil {
			resp.Body.Close()
			return host, stop, nil
		}
		time.Sleep(25 * time.Millisecond)
	}
	stop()
	return "", nil, errors.New("docker-registry does not answer")
}

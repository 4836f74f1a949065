package testground

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// ServeRegistry runs docker-registry with its data in a directory.
func ServeRegistry(dir string) (addr string, stop func(), err error) {
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		return "", nil, fmt.Errorf("the tests need the package docker-registry: %w", err)
	}
	if addr, err = FreeAddress(); err != nil {
		return "", nil, err
	}
	config := filepath.Join(dir, "config.yml")
	text := fmt.Appendf(nil, "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"+
		"storage:\n  filesystem: {rootdirectory: %s/data}\n  delete: {enabled: true}\nhttp: {addr: %q, secret: s}\n", dir, addr)
	if err := os.WriteFile(config, text, 0o644); err != nil {
		return "", nil, err
	}
	stop, err = Answering(exec.Command(program, "serve", config), addr)
	return addr, stop, err
}

// FreeAddress is one of loopback at which nobody listened a moment ago.
func FreeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// Answering starts the command of a registry, and waits for it.
func Answering(cmd *exec.Cmd, addr string) (stop func(), err error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() {
		cmd.Process.Kill()
		cmd.Wait()
	}
	for range 1200 {
		if resp, err := http.Get("http://" + addr + "/v2/"); err == nil {
			resp.Body.Close()
			return stop, nil
		}
		time.Sleep(25 * time.Millisecond)
	}
	stop()
	return nil, fmt.Errorf("%s does not answer at %s", cmd.Path, addr)
}

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/karapace/karapace/cmd/internal/testground"
)

// verify-store finds nothing wrong with a store that others are changing, and stops nobody.
func TestVerifyStoreBesideOthers(t *testing.T) {
	b := newStateBench(t)
	b.karapace("build", "t.toml", "--name", "t")
	done := make(chan struct{})
	var wg sync.WaitGroup
	for _, work := range []func(i int) [][]string{
		func(i int) [][]string {
			name := fmt.Sprint("n", i)
			text := fmt.Sprintf("manifest_version = 1\n[base]\nimage = \"./%s.tar\"\n", name)
			must(t, testground.WriteMinute(filepath.Join(b.dir, name+".tar"), name))
			must(t, os.WriteFile(filepath.Join(b.dir, name+".toml"), []byte(text), 0o644))
			return [][]string{{"build", name + ".toml", "--name", name}, {"rename", name, "m" + name}, {"rebuild", name + ".toml", "--locked"}, {"destroy", "m" + name}}
		},
		func(i int) [][]string {
			return [][]string{{"exec", "t", "-u", "0", "--", "sh", "-c", fmt.Sprintf("echo %d >/srv", i)}, {"commit", "t"}, {"restore", "t", "built"}, {"gc"}}
		},
	} {
		wg.Go(func() {
			for i := range 4 {
				for _, args := range work(i) {
					if out, err := b.command(args...).CombinedOutput(); err != nil {
						t.Errorf("karapace %s: %v\n%s", strings.Join(args, " "), err, out)
					}
				}
			}
		})
	}
	go func() {
		wg.Wait()
		close(done)
	}()
	n := 0
	for going := true; going; n++ {
		select {
		case <-done:
			going = false
		default:
		}
		if out, err := b.command("verify-store").CombinedOutput(); err != nil {
			t.Errorf("verify-store: %v\n%s", err, out)
		}
	}
	t.Logf("%d times", n)
}

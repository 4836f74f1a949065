package fetch

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/karapace/karapace/storage"
)

// Who waits for another process that brings the same file says for whom, and takes the file up when that one is gone.
func TestWaitForPartial(t *testing.T) {
	told := make(chan storage.Holder, 8)
	c := newClient(t, func(o *Options) { o.Waiting = func(h storage.Holder) { told <- h } })
	key := strings.Repeat("0", 64)
	first, err := c.openPartial(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan *partial, 1)
	go func() {
		p, err := c.openPartial(t.Context(), key)
		if err != nil {
			t.Error(err)
		}
		got <- p
	}()
	select {
	case h := <-told:
		if h.Pid != os.Getpid() {
			t.Errorf("it waits for %v", h)
		}
	case <-time.After(time.Minute):
		t.Error("nobody is told")
	}
	first.file.Close()
	select {
	case p := <-got:
		p.file.Close()
	case <-time.After(time.Minute):
		t.Error("it still waits")
	}
}

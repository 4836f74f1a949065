package fstree

import (
	"runtime"
	"sync"
	"sync/atomic"
)

const (
	lookers = 4 // goroutines that look at the entries of a directory, at most
	alone   = 8 // entries that one goroutine looks at quicker
)

// eachOf calls f with the numbers below n, on at most that many processors, and on one when there is little to do.
func eachOf(n, processors int, f func(int)) {
	var next atomic.Int64
	work := func() {
		for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
			f(int(i))
		}
	}
	var others sync.WaitGroup
	if n >= alone {
		for range min(processors, runtime.GOMAXPROCS(0)) - 1 {
			others.Go(work)
		}
	}
	work()
	others.Wait()
}

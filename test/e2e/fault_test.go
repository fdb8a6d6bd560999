// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"
)

// outage is how long the back end is away.
const outage = 20 * time.Second

// TestNoLossOnFaults kills each of enricher, router and exporter under load, takes the back end away for a while, and
// finds every exchange afterwards. A message that was sent but not yet acknowledged to the bus when its sender died
// comes again, with the same idempotency key, so that a back end can tell; everything else comes once.
func TestNoLossOnFaults(t *testing.T) {
	needRoot(t)
	b := newBackend(t)
	s := separate(t, resources(b))
	address := freeAddress(t)
	start(t, []string{"OTEL_SERVICE_NAME=shop-go"}, "goserver", "-listen", address)
	wait(t, 30*time.Second, "the server to listen", func() bool { return dials(address) })

	load := startLoad(t, address)
	for _, name := range []string{"busbar-enricher", "busbar-router", "busbar-exporter"} {
		load.more(t, 200)
		s.parts[name].end(t, syscall.SIGKILL)
		load.more(t, 200)
		s.again(t, name)
	}
	load.more(t, 200)
	b.stop(t)
	load.more(t, 200)
	away := time.Now()
	wait(t, 2*outage, "the outage to pass", func() bool { return time.Since(away) > outage })
	b.start(t)
	load.more(t, 200)
	total := load.stop(t)

	count := func() (unique map[string]int, points uint64) {
		unique = map[string]int{}
		spans, series, _ := b.received()
		for _, sp := range spans {
			if sp.service == "shop-go" && sp.kind == "Server" {
				unique[sp.path]++
			}
		}
		for k, p := range series {
			if k.service == "shop-go" && k.metric == "http.server.request.duration" {
				points += p.count
			}
		}
		return unique, points
	}
	wait(t, 90*time.Second, "the spans and counts of every exchange", func() bool {
		unique, points := count()
		return len(unique) >= total && points >= uint64(total) //nolint:gosec // A count.
	})
	settle(t, func() int { _, points := count(); return int(points) }) //nolint:gosec // A count.
	unique, points := count()
	if len(unique) != total || points != uint64(total) { //nolint:gosec // A count.
		t.Errorf("%d requests gave %d server spans and %d histogram counts", total, len(unique), points)
	}
	for path, n := range unique {
		if n != 1 {
			t.Errorf("%d spans for %s", n, path)
		}
	}
	_, _, repeats := b.received()
	t.Logf("%d requests, %d messages repeated", total, repeats)
}

// pace is the pause between two requests of a worker: four workers make some 500 requests a second.
const pace = 8 * time.Millisecond

// load makes requests from four workers.
type load struct {
	mu      sync.Mutex
	made    int
	failure error
	cancel  context.CancelFunc
	done    sync.WaitGroup
}

func startLoad(t *testing.T, address string) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel}
	for worker := range 4 {
		l.done.Go(func() {
			tick := time.NewTicker(pace)
			defer tick.Stop()
			for i := 1000; ctx.Err() == nil; i++ {
				l.one(fmt.Sprintf("http://%s/load/%d/%d", address, worker, i))
				<-tick.C
			}
		})
	}
	t.Cleanup(func() { cancel(); l.done.Wait() })
	return l
}

// one makes a request. It is finished once begun, so that each counts on both sides.
func (l *load) one(url string) {
	res, err := http.Get(url) //nolint:noctx,gosec // A request is never cut short.
	if err == nil {
		_, err = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.made++
	if err != nil {
		l.failure = err
	}
}

// more waits until n more requests are made.
func (l *load) more(t *testing.T, n int) {
	t.Helper()
	goal := l.count() + n
	wait(t, 60*time.Second, fmt.Sprintf("%d more requests", n), func() bool { return l.count() >= goal })
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.made
}

// stop ends the load and returns how many requests were made.
func (l *load) stop(t *testing.T) int {
	t.Helper()
	l.cancel()
	l.done.Wait()
	if l.failure != nil {
		t.Fatalf("a request failed: %v", l.failure)
	}
	return l.made
}

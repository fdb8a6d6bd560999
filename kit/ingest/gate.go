// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Limits bound what requests may take of a process. The zero value of each field is replaced by its default.
type Limits struct {
	Received int64 // bytes of a body as it comes; default 32 MiB
	Decoded  int64 // bytes of a body without compression; default 64 MiB
	// Held bounds the memory of all bodies together, TenantHeld of those of one tenant; default 96 MiB, and three quarters of Held.
	// A body counts from its first byte until the request is done, twice while it is being decompressed.
	Held, TenantHeld int64
	// Working bounds the requests that were received and not answered yet, TenantWorking those of one tenant; default 256, and
	// three quarters of Working.
	Working, TenantWorking int
	// A sender has Patience for its body, and a second more for each Pace bytes that have come. Default 10 s and 32 KiB.
	Patience time.Duration
	Pace     int64
}

func (l *Limits) complete() {
	set := func(p *int64, value int64) {
		if *p <= 0 {
			*p = value
		}
	}
	set(&l.Received, 32<<20)
	set(&l.Decoded, 64<<20)
	set(&l.Held, 96<<20)
	set(&l.TenantHeld, l.Held/4*3)
	set(&l.Pace, 32<<10)
	if l.Working <= 0 {
		l.Working = 256
	}
	if l.TenantWorking <= 0 {
		l.TenantWorking = max(1, l.Working/4*3)
	}
	if l.Patience <= 0 {
		l.Patience = 10 * time.Second
	}
}

// Gate lets requests in as far as there is room for them. A sender that is slow holds the few bytes that it has sent and no more, and
// is cut off in the end. Its methods may be called from several goroutines.
type Gate struct {
	limits  Limits
	metrics *metrics
	turns   chan struct{} // has a token for each body on which work is being done that takes memory of its own: decompression, first of all

	mu      sync.Mutex
	all     share
	tenants map[string]*share // those that hold something
}

// share is what is in use.
type share struct {
	bytes   int64
	working int
	bodies  int
}

// maxTurns bounds how many bodies are decompressed at once: a decoder of zstd may take as much as maxWindow.
const maxTurns = 4

// NewGate returns a Gate for a service.
func NewGate(limits Limits, service string, reg prometheus.Registerer) *Gate {
	limits.complete()
	return &Gate{
		limits: limits, metrics: newMetrics(reg, service), tenants: map[string]*share{},
		turns: make(chan struct{}, min(runtime.GOMAXPROCS(0), maxTurns)),
	}
}

// enter makes room for a body of a tenant to hold bytes in.
func (g *Gate) enter(tenant string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.tenants[tenant]
	if t == nil {
		t = new(share)
		g.tenants[tenant] = t
	}
	t.bodies++
}

// leave takes back all that a body holds.
func (g *Gate) leave(tenant string, bytes int64, working bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.tenants[tenant]
	t.bodies--
	t.bytes -= bytes
	g.all.bytes -= bytes
	if working {
		t.working--
		g.all.working--
	}
	if t.bodies == 0 {
		delete(g.tenants, tenant)
	}
	g.metrics.heldBytes.Set(float64(g.all.bytes))
}

// hold takes memory for a body, or gives some back if bytes is negative.
func (g *Gate) hold(tenant string, bytes int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.tenants[tenant]
	switch {
	case g.all.bytes+bytes > g.limits.Held && bytes > 0:
		return busy(http.StatusServiceUnavailable, "memory", retryAfter, "too much is being received at this moment")
	case t.bytes+bytes > g.limits.TenantHeld && bytes > 0:
		return busy(http.StatusTooManyRequests, "tenant_memory", retryAfter, "too much is being received of this tenant at this moment")
	}
	t.bytes += bytes
	g.all.bytes += bytes
	g.metrics.heldBytes.Set(float64(g.all.bytes))
	return nil
}

// work lets a request that was received be worked on.
func (g *Gate) work(tenant string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.tenants[tenant]
	switch {
	case g.all.working >= g.limits.Working:
		return busy(http.StatusServiceUnavailable, "requests", retryAfter, "too many requests are under way at this moment")
	case t.working >= g.limits.TenantWorking:
		return busy(http.StatusTooManyRequests, "tenant_requests", retryAfter, "too many requests of this tenant are under way at this moment")
	}
	t.working++
	g.all.working++
	return nil
}

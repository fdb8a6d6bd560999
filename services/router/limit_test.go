// SPDX-License-Identifier: Apache-2.0

package router_test

import (
	"fmt"
	"testing"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/admin"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
	"github.com/busbar/busbar/kit/store/redis/redistest"
	"github.com/busbar/busbar/services/router"
)

// of is a message of a tenant.
func of(t testing.TB, tenant, service string, n int) bus.Msg {
	t.Helper()
	m := spans(t, service, n)
	m.Subject = root.OTLP(subject.Traces, tenant, "eu", service)
	return m
}

// Two routers hold a tenant to one limit, and go on by themselves when the store is gone.
func TestLimitOverReplicas(t *testing.T) {
	t.Parallel()
	store := redistest.Start(t)
	shared := func(c *router.Config) { c.Store = store.URL() }
	// Of 100 records and what flows in within the test, which is next to nothing: ten messages empty the bucket but for that, and
	// the eleventh is let through for it.
	f := start(t, destinations+pipelineNamed("limited", `to: [tempo], steps: [{limit: {records: 0.01, burst: 10000s}}]`), shared)
	other := &fixture{server: f.server, admin: admin.New(), file: f.file}
	other.run(t, shared)
	for i := range 20 {
		f.publish(t, of(t, "a", fmt.Sprint("a", i), 10), of(t, "b", fmt.Sprint("b", i), 1))
	}
	f.settle(t)
	count := func() map[string]int {
		n := map[string]int{}
		for _, d := range f.out(t, "tempo") {
			service, _ := decode(t, d).ResourceSpans().At(0).Resource().Attributes().Get("service.name")
			n[service.Str()[:1]]++
		}
		return n
	}
	if n := count(); n["a"] != 11 || n["b"] != 20 {
		t.Errorf("messages that passed: %v, want 11 of a and 20 of b", n)
	}
	dropped := func() float64 {
		one := f.counter("busbar_router_dropped_records_total", "pipeline", "limited", "reason", "limit")
		return one + other.counter("busbar_router_dropped_records_total", "pipeline", "limited", "reason", "limit")
	}
	if n := dropped(); n != 90 {
		t.Errorf("%v records are counted as dropped, want 90", n)
	}

	store.Kill(t)
	for i := range 60 {
		f.publish(t, of(t, "c", fmt.Sprint("c", i), 10))
	}
	f.settle(t)
	if n := count()["c"]; n < 11 || n > 22 {
		t.Errorf("%d messages passed without a store, want 11 for each router that was given some", n)
	}
	if f.counter("busbar_router_store_errors_total")+other.counter("busbar_router_store_errors_total") == 0 {
		t.Error("nobody says that the store is gone")
	}
}

// What is over the limit comes later, once, and does not hold up another tenant.
func TestLimitThatLetsWait(t *testing.T) {
	t.Parallel()
	f := start(t, destinations+pipelineNamed("limited", `to: [tempo], steps: [{limit: {records: 250, burst: 400ms, over: wait}}]`))
	for i := range 10 {
		f.publish(t, of(t, "a", fmt.Sprint("a", i), 100))
	}
	bustest.Eventually(t, "messages wait", func() bool { return f.counter("busbar_router_waits_total") > 0 })
	f.publish(t, of(t, "b", "b", 100))
	f.settle(t)
	out := f.out(t, "tempo")
	services, last := map[string]int{}, ""
	for _, d := range out {
		service, _ := decode(t, d).ResourceSpans().At(0).Resource().Attributes().Get("service.name")
		services[service.Str()]++
		last = service.Str()
	}
	if len(out) != 11 || len(services) != 11 || last == "b" {
		t.Errorf("%d messages of 11, from %v, the last one from %s", len(out), services, last)
	}
	if n := f.counter("busbar_dropped_records_total"); n != 0 {
		t.Errorf("%v records are dropped", n)
	}
	if n := f.counter("busbar_router_out_records_total", "pipeline", "limited"); n != 1100 {
		t.Errorf("%v records are counted, want 1100", n)
	}
}

func TestStoreMustHaveAnAddress(t *testing.T) {
	t.Parallel()
	cfg := router.Default()
	cfg.Store = "http://user:secret@host"
	if err := router.Run(t.Context(), cfg); err == nil {
		t.Error("it is taken")
	}
}

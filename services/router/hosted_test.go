// SPDX-License-Identifier: Apache-2.0

package router_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
)

// Processors come and go with the resources while messages flow: each message goes through one plan or the other.
func TestProcessorsChangeLive(t *testing.T) {
	t.Parallel()
	version := func(n int) string {
		return destinations + pipelineNamed("a", fmt.Sprintf(
			`to: [tempo], signals: [traces], steps: [{attributes: {actions: [{key: version, action: insert, value: %d}]}}, {resource: {attributes: [{key: version, action: insert, value: %d}]}}]`, n, n))
	}
	f := start(t, version(0))
	const versions, each = 5, 40
	for n := range versions {
		if n > 0 {
			f.declare(t, version(n))
		}
		for i := range each {
			f.publish(t, spans(t, fmt.Sprint("s", n, "-", i), 5))
		}
		bustest.Eventually(t, "plan in force", func() bool { return f.counter("busbar_config_reloads_total", "result", "applied") == float64(n) })
	}
	f.publish(t, spans(t, "last", 5))
	f.settle(t)
	out := f.out(t, "tempo")
	if len(out) != versions*each+1 {
		t.Errorf("%d messages of %d", len(out), versions*each+1)
	}
	for _, d := range out {
		rs := decode(t, d).ResourceSpans().At(0)
		of, _ := rs.Resource().Attributes().Get("version")
		in, _ := rs.ScopeSpans().At(0).Spans().At(0).Attributes().Get("version")
		if of.Int() != in.Int() {
			t.Errorf("a message went through versions %d and %d", of.Int(), in.Int())
		}
		if name, _ := rs.Resource().Attributes().Get("service.name"); name.Str() == "last" && of.Int() != versions-1 {
			t.Errorf("the last message went through version %d", of.Int())
		}
	}
}

// A message that a processor fails on is a dead letter that says so.
func TestProcessorFails(t *testing.T) {
	t.Parallel()
	f := start(t, destinations+pipelineNamed("a",
		`to: [tempo], signals: [traces], steps: [{transform: {error_mode: propagate, trace_statements: ['set(span.attributes["n"], Int(span.name) / 0)']}}]`))
	f.publish(t, spans(t, "shop", 5))
	f.settle(t)
	got := map[string]string{}
	for _, d := range bustest.ReadAll(t, f.Bus, root.DeadStream().Name, "") {
		got[d.Subject] = d.Header(bus.HeaderDeadReason)
	}
	if diff := cmp.Diff(map[string]string{"busbar.dead.router.processor": "processor"}, got); diff != "" {
		t.Error(diff)
	}
}

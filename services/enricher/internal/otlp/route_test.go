// SPDX-License-Identifier: Apache-2.0

package otlp_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/services/enricher/internal/ident"
	"github.com/busbar/busbar/services/enricher/internal/otlp"
	"github.com/busbar/busbar/services/enricher/internal/peer"
	"github.com/busbar/busbar/services/enricher/internal/route"
)

// RouteRules leave out spans, metrics or both; the route that a framework chose comes after patterns and before what is learned.
func TestRoutesOfExchanges(t *testing.T) {
	t.Parallel()
	chosen := func(name string) func(x *eventv1.Exchange) {
		return func(x *eventv1.Exchange) { x.GetHttp().Route = name }
	}
	b := batch(
		get(server, "/healthz", 200), get(server, "/poll/1", 200), get(server, "/debug/1", 200),
		get(server, "/users/17", 200),
		with(get(server, "/users/17/cart", 200), chosen("/users/{name}/cart")),
		with(get(server, "/orders/17", 200), chosen("/orders/{number}")),
		with(get(client, "/orders/17", 200), chosen("\xff")),
	)
	book, problems := route.NewBook([]*configv1.RouteRules{{
		Patterns: []string{"/orders/:id"}, Ignore: []string{"/healthz"}, IgnoreSpans: []string{"/poll/*"}, IgnoreMetrics: []string{"/debug/*"},
	}})
	if len(problems[0]) > 0 {
		t.Fatal(problems)
	}
	names := ident.NewBook(nobody, ident.Producer{Name: "busbar"}, otlp.Resource)
	result := otlp.NewEncoder(route.New(book), peer.New(nil), names).Encode(b)
	spans, counted := map[string]int{}, map[string]int{}
	for _, m := range result.Messages {
		if m.Signal == subject.Traces {
			eachSpan(decodeTraces(t, m), func(s ptrace.Span) { spans[s.Name()]++ })
			continue
		}
		eachPoint(decodeMetrics(t, m), func(_ string, p pmetric.HistogramDataPoint) {
			route, _ := p.Attributes().Get("http.route")
			counted[route.AsString()] += int(p.Count())
		})
	}
	wantSpans := map[string]int{"GET /debug/*": 1, "GET /users/*": 1, "GET /users/{name}/cart": 1, "GET /orders/:id": 2}
	// Each exchange counts in three histograms.
	wantCounted := map[string]int{"/poll/*": 3, "/users/*": 3, "/users/{name}/cart": 3, "/orders/:id": 6}
	if d := cmp.Diff(wantSpans, spans); d != "" {
		t.Errorf("spans (-want +got):\n%s", d)
	}
	if d := cmp.Diff(wantCounted, counted); d != "" {
		t.Errorf("counted (-want +got):\n%s", d)
	}
	if result.Left != 1 || result.Lost[otlp.LossIgnored] != 1 {
		t.Errorf("%d left, lost %v", result.Left, result.Lost)
	}
}

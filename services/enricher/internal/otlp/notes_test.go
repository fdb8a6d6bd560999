// SPDX-License-Identifier: Apache-2.0

package otlp_test

import (
	"encoding/binary"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	kubev1 "github.com/busbar/busbar/contract/kube/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/services/enricher/internal/ident"
	"github.com/busbar/busbar/services/enricher/internal/note"
	"github.com/busbar/busbar/services/enricher/internal/otlp"
	"github.com/busbar/busbar/services/enricher/internal/peer"
	"github.com/busbar/busbar/services/enricher/internal/route"
)

// annotated is a cluster of one pod, in which all processes are.
type annotated struct{ *kubev1.Pod }

func (p annotated) Process(string, string) (*kubev1.Pod, *kubev1.Container) { return p.Pod, nil }
func (p annotated) Node(string) *kubev1.Node                                { return nil }
func (p annotated) Cluster() string                                         { return "" }

// TestAnnotations: a pod that asks for a share of its spans, and has routes of its own. Metrics count every exchange all the same.
func TestAnnotations(t *testing.T) {
	t.Parallel()
	pod := &kubev1.Pod{Name: "cart-1", Namespace: "shop", Annotations: map[string]string{
		note.Sample: "0.25", note.Routes: "/users/{id}", note.IgnoreRoutes: "/healthz",
	}}
	by := ident.Producer{Name: "busbar", Version: "v0.0.0"}
	e := otlp.NewEncoder(route.New(&route.Book{}), peer.New(nil), ident.NewBook(annotated{pod}, by, otlp.Resource))
	e.Notes = note.NewBook(slog.New(slog.DiscardHandler), func() { t.Error("an annotation is malformed") })
	const n = 40
	b := batch()
	for i := range n {
		x := get(eventv1.Role_ROLE_SERVER, "/users/x", 200)
		x.TraceId = append([]byte("trace-id"), binary.BigEndian.AppendUint64(nil, uint64(i)<<56/n)...)
		x.WaitNano = 5 * millisecond // and so it has three spans
		b.Exchanges = append(b.Exchanges, x)
	}
	client := get(eventv1.Role_ROLE_CLIENT, "/users/x", 200)
	client.TraceId = append([]byte("trace-id"), binary.BigEndian.AppendUint64(nil, 1<<56-1)...)
	b.Exchanges = append(b.Exchanges, client, get(eventv1.Role_ROLE_SERVER, "/healthz", 200))
	result := e.Encode(b)
	names, counted := map[string]int{}, map[string]uint64{}
	for _, m := range result.Messages {
		if m.Signal == subject.Traces {
			request := ptraceotlp.NewExportRequest()
			if err := request.UnmarshalProto(m.Data); err != nil {
				t.Fatal(err)
			}
			for _, s := range request.Traces().ResourceSpans().At(0).ScopeSpans().At(0).Spans().All() {
				names[s.Name()]++
				if s.TraceState().AsRaw() != "ot=th:c" {
					t.Errorf("%s has the tracestate %q", s.Name(), s.TraceState().AsRaw())
				}
			}
			continue
		}
		request := pmetricotlp.NewExportRequest()
		if err := request.UnmarshalProto(m.Data); err != nil {
			t.Fatal(err)
		}
		for _, metric := range request.Metrics().ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
			if metric.Name() != "http.server.request.duration" {
				continue
			}
			for _, p := range metric.Histogram().DataPoints().All() {
				r, _ := p.Attributes().Get("http.route")
				counted[r.Str()] += p.Count()
			}
		}
	}
	if d := cmp.Diff(map[string]int{"GET /users/{id}": n / 4, "in queue": n / 4, "processing": n / 4, "GET /users/x": 1}, names); d != "" {
		t.Errorf("spans (-want +got):\n%s", d)
	}
	if d := cmp.Diff(map[string]uint64{"/users/{id}": n}, counted); d != "" {
		t.Errorf("exchanges in metrics (-want +got):\n%s", d)
	}
	if d := cmp.Diff(map[string]int{otlp.LossSampled: n * 3 / 4, otlp.LossIgnored: 1}, result.Lost); d != "" || result.Left > 0 {
		t.Errorf("%d left, lost (-want +got):\n%s", result.Left, d)
	}
}

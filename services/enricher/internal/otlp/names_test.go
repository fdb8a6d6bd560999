// SPDX-License-Identifier: Apache-2.0

package otlp_test

import (
	"strings"
	"testing"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	kubev1 "github.com/busbar/busbar/contract/kube/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/services/enricher/internal/ident"
	"github.com/busbar/busbar/services/enricher/internal/otlp"
	"github.com/busbar/busbar/services/enricher/internal/peer"
	"github.com/busbar/busbar/services/enricher/internal/route"
)

// onePod is a cluster with one pod.
type onePod struct{ pod *kubev1.Pod }

func (c onePod) Process(id, _ string) (*kubev1.Pod, *kubev1.Container) {
	for _, have := range c.pod.GetContainers() {
		if have.GetId() == id {
			return c.pod, have
		}
	}
	return nil, nil
}

func (onePod) Node(string) *kubev1.Node { return nil }

func (onePod) Cluster() string { return "" }

// Workers of one container are one instance of its service, and their measurements one series.
func TestProcessesOfAContainerAreOneInstance(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("ab", 32)
	pod := &kubev1.Pod{
		Name: "web-5d9c-x7", Namespace: "shop", Owners: []*kubev1.Owner{{Kind: "DaemonSet", Name: "web"}},
		Containers: []*kubev1.Container{{Name: "nginx", Id: id, Image: "nginx:1.27"}},
	}
	names := ident.NewBook(onePod{pod}, ident.Producer{Name: "busbar", Version: "v0.0.0"}, otlp.Resource)
	b := batch(get(server, "/", 200), get(server, "/", 200), get(server, "/", 200), get(server, "/", 200))
	b.Processes = nil
	for i, x := range b.GetExchanges() {
		x.Process = uint32(i)
		b.Processes = append(b.Processes, &eventv1.Process{Pid: uint32(100 + i), Executable: "/usr/sbin/nginx", ContainerId: id})
	}
	b.Processes[3].Yield = eventv1.Yield_YIELD_SPANS // what is left to an SDK is a matter of each process
	messages := otlp.NewEncoder(route.New(&route.Book{}), peer.New(nil), names).Encode(b).Messages
	document(t, messages) // which fails if anything was not understood
	for _, m := range messages {
		if m.Service != "web" || m.Namespace != "shop" {
			t.Errorf("service %s/%s", m.Namespace, m.Service)
		}
		if m.Signal == subject.Traces {
			td := decodeTraces(t, m)
			resource := td.ResourceSpans().At(0).Resource().Attributes().AsRaw()
			if td.ResourceSpans().Len() != 1 || td.SpanCount() != 3 || resource["service.instance.id"] != "shop.web-5d9c-x7.nginx" {
				t.Errorf("%d resources, %d spans, %v", td.ResourceSpans().Len(), td.SpanCount(), resource)
			}
			if tags, ok := resource["container.image.tags"].([]any); !ok || len(tags) != 1 || tags[0] != "1.27" {
				t.Errorf("tags %v", resource["container.image.tags"])
			}
			continue
		}
		md := decodeMetrics(t, m)
		first := md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Histogram().DataPoints()
		if md.ResourceMetrics().Len() != 2 || first.Len() != 1 || first.At(0).Count() != 3 {
			t.Errorf("%d resources, %d points", md.ResourceMetrics().Len(), first.Len())
		}
	}
}

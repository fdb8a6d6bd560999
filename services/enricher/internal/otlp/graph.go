// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"github.com/busbar/busbar/services/enricher/internal/route"
	"github.com/busbar/busbar/services/enricher/internal/signals"
	"github.com/busbar/busbar/services/enricher/internal/who"
)

// unknownPeer is the client of whom nothing is known.
const unknownPeer = "unknown"

// serviceGraph counts who calls whom. Each side measures how long it took; requests are counted once, by the server, or by the
// client if nobody observes the server. Failed ones are counted where requests are, so that they are a part of them.
func serviceGraph() family {
	client := func(_ *signals.Settings, c *cell) bool { return c.side == route.Client }
	server := func(_ *signals.Settings, c *cell) bool { return c.side == route.Server }
	counts := func(_ *signals.Settings, c *cell) bool { return c.side == route.Server || !c.peer.Observed }
	failed := func(s *signals.Settings, c *cell) bool { return counts(s, c) && c.failures > 0 }
	calls := func(c *cell) uint64 { return c.duration.count }
	v := &view{
		attributes: appendEdge,
		instruments: []instrument{
			{name: "traces_service_graph_request_client", unit: "s", description: "Duration of requests, as the client sees it.", on: client, distribution: (*cell).durations, seconds: true},
			{name: "traces_service_graph_request_failed_total", description: "Number of requests that failed.", on: failed, sum: func(c *cell) uint64 { return c.failures }},
			{name: "traces_service_graph_request_server", unit: "s", description: "Duration of requests, as the server sees it.", on: server, distribution: (*cell).durations, seconds: true},
			{name: "traces_service_graph_request_total", description: "Number of requests.", on: counts, sum: calls},
		},
	}
	return family{name: "graph", on: func(s *signals.Settings) bool { return s.Graph }, append: v.append}
}

// appendEdge appends the attributes of an edge, which is none when a service calls itself.
func appendEdge(b []byte, t tag, p *process, c *cell) ([]byte, bool) {
	self := who.Peer{Name: p.group.name, Namespace: p.group.namespace, KubeNamespace: p.kubeNamespace}
	client, server := c.peer, self
	if client.Name == "" {
		client.Name = unknownPeer
	}
	connection := ""
	if c.side == route.Client {
		client, server = self, c.peer
		if !c.peer.Observed {
			connection = "virtual_node"
		}
	}
	if client.Name == server.Name && client.Namespace == server.Namespace {
		return b, false
	}
	optional := func(name, value string) {
		if value != "" {
			b = appendText(b, t, name, value)
		}
	}
	b = appendText(b, t, "client", client.Name)
	optional("client_k8s_namespace_name", client.KubeNamespace)
	optional("client_service_namespace", client.Namespace)
	optional("connection_type", connection)
	b = appendText(b, t, "server", server.Name)
	optional("server_k8s_namespace_name", server.KubeNamespace)
	optional("server_service_namespace", server.Namespace)
	return appendText(b, t, "source", p.group.settings.Source), true
}

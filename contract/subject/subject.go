// SPDX-License-Identifier: Apache-2.0

// Package subject builds and parses the subjects of the bus and names its streams. docs/subjects.md is the same contract
// in prose; a test holds the two together.
package subject

import (
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
)

// Root is the first token of every subject of one installation. Several can share one NATS server.
type Root string

// DefaultRoot is the root unless --subject-root says otherwise.
const DefaultRoot Root = "busbar"

// Signal is an OpenTelemetry signal, as a subject token.
type Signal string

// The signals.
const (
	Traces  Signal = "traces"
	Metrics Signal = "metrics"
	Logs    Signal = "logs"
)

// Signals lists every signal.
func Signals() []Signal { return []Signal{Traces, Metrics, Logs} }

// DefaultTenant is the tenant of what a probe sees, unless it is told another.
const DefaultTenant = "default"

// Headers of a message. Payloads carry the true names; headers spare a reader to decode them.
const (
	HeaderSchema = "Busbar-Schema" // full name of the payload's protobuf message
	HeaderItems  = "Busbar-Items"  // records inside: exchanges, spans, data points, log records
	HeaderSource = "Busbar-Source" // service that wrote the message
)

// Schemas, the values of HeaderSchema.
const (
	SchemaExchanges = "busbar.event.v1.ExchangeBatch"
	SchemaProcesses = "busbar.event.v1.ProcessBatch"
	SchemaTraces    = "opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest"
	SchemaMetrics   = "opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest"
	SchemaLogs      = "opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest"
	SchemaPod       = "busbar.kube.v1.Pod"
	SchemaService   = "busbar.kube.v1.Service"
	SchemaNode      = "busbar.kube.v1.Node"
	SchemaSelection = "busbar.kube.v1.Selection"
	SchemaWatcher   = "busbar.kube.v1.Watcher"
	SchemaShape     = "busbar.route.v1.Shape"
	SchemaOwners    = "busbar.state.v1.Owners"
	SchemaShard     = "busbar.state.v1.Shard"
	SchemaPart      = "busbar.state.v1.Part"
)

// Schema returns the payload schema of a signal.
func (s Signal) Schema() string {
	switch s {
	case Traces:
		return SchemaTraces
	case Metrics:
		return SchemaMetrics
	case Logs:
		return SchemaLogs
	}
	return ""
}

// maxToken bounds a token: a server closes the connection on which a subject of more than 4,096 bytes comes.
const maxToken = 128

// Token makes one legal subject token of user data: letters, digits, '-' and '_' stay, every other byte becomes '_',
// nothing becomes "_", and of a long text the first 128 bytes count. It is not injective: two names may share a token, and the payload
// tells them apart.
func Token(s string) string {
	if s == "" {
		return "_"
	}
	if len(s) > maxToken {
		s = s[:maxToken]
	}
	clean := true
	for i := 0; i < len(s) && clean; i++ {
		clean = legal(s[i])
	}
	if clean {
		return s
	}
	b := []byte(s)
	for i, c := range b {
		if !legal(c) {
			b[i] = '_'
		}
	}
	return string(b)
}

func legal(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// RawExchange is where the probe of a node publishes exchanges: <root>.raw.exchange.<node>.
func (r Root) RawExchange(node string) string { return string(r) + ".raw.exchange." + Token(node) }

// RawProcess is where the probe of a node publishes what became of processes: <root>.raw.process.<node>.
func (r Root) RawProcess(node string) string { return string(r) + ".raw.process." + Token(node) }

// OTLP is where OpenTelemetry data of one service enters the router: <root>.otlp.<signal>.<tenant>.<namespace>.<service>.
func (r Root) OTLP(s Signal, tenant, namespace, service string) string {
	return string(r) + ".otlp." + string(s) + "." + Token(tenant) + "." + Token(namespace) + "." + Token(service)
}

// Out is where data waits for one destination: <root>.out.<destination>.<signal>.<shard>.
func (r Root) Out(destination string, s Signal, shard int) string {
	return string(r) + ".out." + Token(destination) + "." + string(s) + "." + strconv.Itoa(shard)
}

// Owners is where the exporters of a destination agree on who owns which shard: <root>.state.<destination>.owners.
func (r Root) Owners(destination string) string {
	return string(r) + ".state." + Token(destination) + ".owners"
}

// ShardState is where the owner of a shard keeps its place in the stream: <root>.state.<destination>.<shard>.
func (r Root) ShardState(destination string, shard int) string {
	return string(r) + ".state." + Token(destination) + "." + strconv.Itoa(shard)
}

// SeriesState is where the owner of a shard keeps a part of its series: <root>.state.<destination>.<shard>.<part>.
func (r Root) SeriesState(destination string, shard, part int) string {
	return r.ShardState(destination, shard) + "." + strconv.Itoa(part)
}

// Kube is where the watcher of the Kubernetes API keeps what it knows of a thing (pod, service, node): <root>.kube.<kind>.<uid>.
func (r Root) Kube(kind, uid string) string {
	return string(r) + ".kube." + Token(kind) + "." + Token(uid)
}

// KubeAll matches what is known of all things of a kind.
func (r Root) KubeAll(kind string) string { return string(r) + ".kube." + Token(kind) + ".*" }

// KubeWatcher is where enrichers agree on who watches the Kubernetes API: <root>.kube.watcher.
func (r Root) KubeWatcher() string { return string(r) + ".kube.watcher" }

// Selection is where the probe of a node learns which containers Kubernetes selectors mean: <root>.kube.selection.<node>.
func (r Root) Selection(node string) string { return r.Kube("selection", node) }

// Route is where enrichers keep what they have learned about the paths of one side (server, client) of a service:
// <root>.route.<side>.<service>.<hash>. The hash is that of ServiceHash.
func (r Root) Route(side, service, hash string) string {
	return string(r) + ".route." + Token(side) + "." + Token(service) + "." + Token(hash)
}

// ServiceHash tells apart services that share a token: FNV-1a (64 bits, hexadecimal) of namespace and service, each ended by a NUL.
func ServiceHash(namespace, service string) string {
	h := fnv.New64a()
	for _, s := range []string{namespace, service} {
		_, _ = h.Write([]byte(s))
		_, _ = h.Write([]byte{0})
	}
	return strconv.FormatUint(h.Sum64(), 16)
}

// Dead is where a message goes that can never be processed: <root>.dead.<service>.<reason>.
func (r Root) Dead(service, reason string) string {
	return string(r) + ".dead." + Token(service) + "." + Token(reason)
}

// Beat is where an instance of a service says that it lives: <root>.beat.<service>.<instance>.
func (r Root) Beat(service, instance string) string {
	return string(r) + ".beat." + Token(service) + "." + Token(instance)
}

// OTLPParts are the tokens of a subject made by OTLP.
type OTLPParts struct {
	Signal                     Signal
	Tenant, Namespace, Service string
}

// ParseOTLP takes a subject made by OTLP apart; ok is false for any other subject.
func (r Root) ParseOTLP(subject string) (p OTLPParts, ok bool) {
	t, ok := r.tokens(subject, "otlp", 4)
	if !ok || Signal(t[0]).Schema() == "" {
		return OTLPParts{}, false
	}
	return OTLPParts{Signal: Signal(t[0]), Tenant: t[1], Namespace: t[2], Service: t[3]}, true
}

// OutParts are the tokens of a subject made by Out.
type OutParts struct {
	Destination string
	Signal      Signal
	Shard       int
}

// ParseOut takes a subject made by Out apart; ok is false for any other subject.
func (r Root) ParseOut(subject string) (p OutParts, ok bool) {
	t, ok := r.tokens(subject, "out", 3)
	if !ok || Signal(t[1]).Schema() == "" {
		return OutParts{}, false
	}
	shard, err := strconv.Atoi(t[2])
	if err != nil || shard < 0 || shard >= Shards {
		return OutParts{}, false
	}
	return OutParts{Destination: t[0], Signal: Signal(t[1]), Shard: shard}, true
}

func (r Root) tokens(subject, family string, n int) ([]string, bool) {
	rest, ok := strings.CutPrefix(subject, string(r)+"."+family+".")
	if !ok {
		return nil, false
	}
	t := strings.Split(rest, ".")
	if len(t) != n {
		return nil, false
	}
	return t, !slices.Contains(t, "")
}

// Shards is the number of shards of a destination. It is fixed: a series must keep its shard when services scale.
const Shards = 16

// Shard returns the shard of a service's data, 0 to Shards-1: FNV-1a of tenant, namespace and service, each ended by a
// NUL. All of one service's series share it.
func Shard(tenant, namespace, service string) int {
	h := fnv.New32a()
	for _, s := range []string{tenant, namespace, service} {
		_, _ = h.Write([]byte(s))
		_, _ = h.Write([]byte{0})
	}
	return int(h.Sum32() % Shards)
}

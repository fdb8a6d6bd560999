// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"slices"
	"strings"
	"testing"
)

// dashboard is what a panel of a public dashboard asks for, by metric and labels: S stands for the service, J and I for what the
// variables job and instance are when all is selected.
type dashboard struct{ panel, query string }

// ofHTTP are the panels of "Beyla RED Metrics", of its variant in Beyla's mixin, and of Grafana's service graph and its table, which ask for
// what Beyla makes of HTTP.
func ofHTTP() []dashboard {
	return []dashboard{
		{"Slowest HTTP routes (P95)", `max by (http_route, service_name) (histogram_quantile(0.95, sum by (http_route, service_name, le) (rate({__name__=~"http_server_request_duration.*bucket",I,J}[5m]))))`},
		{"Inbound duration, p99", `histogram_quantile(0.99, sum by (service_name, le) (rate({__name__=~"http_server_request_duration.*bucket",S,I,J}[5m])))`},
		{"Inbound duration, average", `sum(rate({__name__=~"http_server_request_duration.*sum",S,I,J}[5m])) / sum(rate({__name__=~"http_server_request_duration.*count",S,I,J}[5m]))`},
		{"Inbound request rate", `sum by (http_response_status_code) (rate({__name__=~"http_server_request_duration.*count",S,I,J}[5m]))`},
		{"Inbound error rate", `sum by (http_response_status_code) (rate({__name__=~"http_server_request_duration.*count",S,http_response_status_code=~"(4|5).*",I,J}[5m])) / ignoring(http_response_status_code) group_left sum(rate({__name__=~"http_server_request_duration.*count",S,I,J}[5m]))`},
		{"Outbound duration, p99", `histogram_quantile(0.99, sum by (service_name, le) (rate({__name__=~"http_client_request_duration.*bucket",C,I,J}[5m])))`},
		{"Outbound duration, average", `sum(rate({__name__=~"http_client_request_duration.*sum",C,I,J}[5m])) / sum(rate({__name__=~"http_client_request_duration.*count",C,I,J}[5m]))`},
		{"Outbound rate", `sum by (service_name, http_response_status_code) (rate({__name__=~"http_client_request_duration.*count",C,I,J}[5m]))`},
		{"Outbound error rate", `sum by (http_response_status_code) (rate({__name__=~"http_client_request_duration.*count",C,http_response_status_code=~"5.*",I,J}[5m])) / ignoring(http_response_status_code) group_left sum(rate({__name__=~"http_client_request_duration.*count",C,I,J}[5m]))`},
		{"Variable: service", `count by (service_name) ({service_name!=""})`},
		{"Variable: job and instance", `count by (job, instance) ({job!="",instance!="",S})`},
		{"Table: language and SDK", `count by (job, telemetry_sdk_language) (target_info{telemetry_sdk_name="beyla",S})`},
		{"Join of a rate with its target", `sum by (telemetry_sdk_language) (rate(http_server_request_duration_seconds_count{S}[5m]) * on (job, instance) group_left (telemetry_sdk_language) target_info)`},
		{"Sizes, inbound", `sum(rate(http_server_request_body_size_bytes_sum{S}[5m])) + sum(rate(http_server_response_body_size_bytes_sum{S}[5m]))`},
		{"Sizes, outbound", `sum(rate(http_client_request_body_size_bytes_sum{C}[5m])) + sum(rate(http_client_response_body_size_bytes_sum{C}[5m]))`},

		{"Service graph: rate", `sum by (client, server) (rate(traces_service_graph_request_total{source="beyla",server="truth-server"}[5m]))`},
		{"Service graph: errors", `sum by (client, server) (rate(traces_service_graph_request_failed_total{server="truth-server"}[5m]))`},
		{"Service graph: average duration", `sum(rate(traces_service_graph_request_server_seconds_sum{server="truth-server"}[5m])) / sum(rate(traces_service_graph_request_server_seconds_count{server="truth-server"}[5m]))`},
		{"Service graph: p90", `histogram_quantile(0.9, sum by (le, client, server) (rate(traces_service_graph_request_server_seconds_bucket{server="truth-server"}[5m])))`},
		{"Service graph: client", `histogram_quantile(0.9, sum by (le, client, server) (rate(traces_service_graph_request_client_seconds_bucket{client="truth-client"}[5m])))`},
		{"Table: rate", `topk(5, sum by (span_name) (rate(traces_spanmetrics_calls_total{span_kind="SPAN_KIND_SERVER",S}[5m])))`},
		{"Table: errors", `topk(5, sum by (span_name) (rate(traces_spanmetrics_calls_total{status_code="STATUS_CODE_ERROR",S}[5m])))`},
		{"Table: duration", `histogram_quantile(0.9, sum by (le, span_name) (rate(traces_spanmetrics_latency_bucket{span_kind="SPAN_KIND_SERVER",source="beyla",S}[5m])))`},
		{"Span metrics by their newer name", `histogram_quantile(0.9, sum by (le, span_name) (rate(traces_span_metrics_duration_seconds_bucket{S}[5m])))`},
		{"Span metrics by their newer name: calls", `sum by (telemetry_sdk_language) (rate(traces_span_metrics_calls_total{S}[5m]))`},
		{"Span sizes", `sum(rate(traces_spanmetrics_size_total{S}[5m])) + sum(rate(traces_spanmetrics_response_size_total{S}[5m]))`},
		{"Hosts", `count(traces_host_info{grafana_host_id!=""})`},
		{"Targets that have spans", `count by (job) (traces_target_info{telemetry_sdk_language!="",S})`},
	}
}

// ofOthers are metrics that the same dashboards ask for and that no exchange can fill: the contract of the bus has no such protocol, or it is
// not what an exchange tells.
func ofOthers() map[string]string {
	return map[string]string{
		"rpc_server_duration_seconds": "gRPC", "rpc_client_duration_seconds": "gRPC", "rpc_server_call_duration_seconds": "gRPC",
		"rpc_client_call_duration_seconds": "gRPC", "db_client_operation_duration_seconds": "databases", "messaging_publish_duration_seconds": "messaging",
		"messaging_process_duration_seconds": "messaging", "dns_lookup_duration_seconds": "DNS", "beyla_network_flow_bytes_total": "flows of packets",
		"gpu_cuda_kernel_launch_calls_total": "CUDA", "beyla_build_info": "Beyla's own build",
	}
}

// compareDashboards: every panel that is about HTTP has data, and there is nothing by the names of the others.
func compareDashboards(t *testing.T, p *prometheus) {
	t.Helper()
	fill := strings.NewReplacer(
		`,S`, `,service_name="truth-server"`, `{S`, `{service_name="truth-server"`, `,C`, `,service_name="truth-client"`, `{C`, `{service_name="truth-client"`,
		`,I`, `,instance=~".+"`, `,J`, `,job=~".+"`,
	)
	for _, d := range ofHTTP() {
		values := p.values(fill.Replace(d.query))
		if !slices.ContainsFunc(values, func(v float64) bool { return v > 0 }) { // some may be of before the server was known by name
			t.Errorf("%s has no data: %s gives %v", d.panel, fill.Replace(d.query), values)
		}
	}
	for metric, about := range ofOthers() {
		if values := p.values(`{__name__=~"` + metric + `.*"}`); len(values) > 0 {
			t.Errorf("%s, about %s, has %d series: it belongs to the panels that are tried", metric, about, len(values))
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package sel

import (
	"path"
	"slices"
	"strings"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
)

// program is the name of the file that a process runs, also when it was replaced meanwhile.
func program(p *eventv1.Process) string {
	return path.Base(strings.TrimSuffix(p.GetExecutable(), " (deleted)"))
}

// own tells whether a process runs a program of Busbar.
func own(p *eventv1.Process) bool {
	switch program(p) {
	case "busbar", "busbar-probe", "busbar-enricher", "busbar-router", "busbar-exporter":
		return true
	}
	return false
}

// collects tells whether a process collects telemetry for a living: what it sends is about others.
func collects(p *eventv1.Process) bool {
	name := program(p)
	switch {
	case slices.Contains(collectors(), name),
		strings.HasPrefix(name, "otelcol"),                     // otelcol, otelcol-contrib, otelcol-k8s, ...
		strings.Contains(p.GetExecutable(), "/datadog-agent/"), // agent, trace-agent, process-agent, ...
		p.GetCommand() == "fluentd":                            // a script
		return true
	}
	return false
}

// collectors are the programs that collect telemetry, by the names of their files.
func collectors() []string {
	return []string{
		"alloy", "grafana-agent", "grafana-agent-flow", "promtail", "beyla", "obi", "ebpf-instrument",
		"otelcontribcol", "otelcorecol", "otelopscol", "aws-otel-collector", "opentelemetry-collector",
		"vector", "fluent-bit", "fluentd", "telegraf", "trace-agent", "datadog-agent",
		"filebeat", "metricbeat", "elastic-agent", "apm-server", "amazon-cloudwatch-agent", "newrelic-infra",
	}
}

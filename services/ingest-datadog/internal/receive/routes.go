// SPDX-License-Identifier: Apache-2.0

package receive

import (
	"net/http"
	"strings"
)

// route is what is done with requests to a path.
type route struct {
	name   string // a label of metrics
	tracer bool   // it is a tracer's: it carries no key, and nothing is hidden yet
	key    bool   // the end of the path is a key
	limit  int64  // of the body, decompressed, in bytes
	handle handler
	answer answer
}

// answer is what a client wants to hear when all is well.
type answer struct {
	status int
	body   string
	kind   string // content type
}

const (
	jsonType = "application/json"
	textType = "text/plain; charset=utf-8"
)

// Bodies are as long as this at most, decompressed.
const (
	mostTraces = 25 << 20
	mostOthers = 50 << 20
)

func ok202(body string) answer { return answer{http.StatusAccepted, body, jsonType} }

// Answers that clients compare.
const (
	statusOK = `{"status":"ok"}`
	noErrors = `{"errors":[]}`
)

// find returns what is done with requests to a path. What is not known is taken and counted: the Agent repeats for ever what is
// answered with 404.
func find(path string) route {
	if r, ok := intake(path); ok {
		return r
	}
	if r, ok := tracer(path); ok {
		return r
	}
	switch path {
	case "/", "/_health":
		return route{name: "health", handle: nothing, answer: answer{http.StatusOK, "", textType}}
	case "/api/v1/validate":
		return route{name: "validate", handle: nothing, answer: answer{http.StatusOK, `{"valid":true}`, jsonType}}
	case "/api/v2/validate":
		return route{name: "validate", handle: nothing, answer: answer{http.StatusOK, `{"data":{"id":"` + orgID + `","type":"api_keys"}}`, jsonType}}
	}
	return other(path)
}

// orgID is any id: what asks for it wants one that is not empty.
const orgID = "00000000-0000-4000-8000-000000000001"

// intake are the routes of Agents and API clients.
func intake(path string) (route, bool) {
	r := route{limit: mostOthers}
	switch path {
	case "/api/v2/series":
		r.name, r.handle, r.answer = "series_v2", seriesV2, ok202(noErrors)
	case "/api/v1/series":
		r.name, r.handle, r.answer = "series_v1", seriesV1, ok202(statusOK)
	case "/api/intake/metrics/v3/series", "/api/intake/metrics/v3beta/series":
		r.name, r.handle, r.answer = "series_v3", metricsV3, ok202(noErrors)
	case "/api/intake/metrics/v3/sketches", "/api/intake/metrics/v3beta/sketches":
		r.name, r.handle, r.answer = "sketches_v3", metricsV3, ok202(noErrors)
	case "/api/beta/sketches", "/api/v1/sketches":
		r.name, r.handle, r.answer = "sketches", sketches, ok202(statusOK)
	case "/api/v1/distribution_points":
		r.name, r.handle, r.answer = "distributions", distributions, ok202(statusOK)
	case "/api/v1/check_run":
		r.name, r.handle, r.answer = "checks", checks, ok202(statusOK)
	case "/intake", "/intake/":
		r.name, r.handle, r.answer = "intake", readIntake, ok202(statusOK)
	case "/api/v1/events":
		r.name, r.handle, r.answer = "events", events, ok202(statusOK)
	case "/api/v1/metadata":
		r.name, r.handle, r.answer = "metadata", unused("metadata"), ok202(statusOK)
	case "/api/v2/logs", "/v1/input", "/v1/input/":
		r.name, r.handle, r.answer = "logs", logs, ok202("{}")
	case "/api/v0.2/traces":
		r.name, r.handle, r.answer, r.limit = "agent_traces", agentTraces, ok202(statusOK), mostTraces
	case "/api/v0.2/stats":
		r.name, r.handle, r.answer, r.limit = "agent_stats", agentStats, ok202(statusOK), mostTraces
	default:
		if strings.HasPrefix(path, "/v1/input/") {
			r.name, r.handle, r.answer, r.key = "logs", logs, ok202("{}"), true
			return r, true
		}
		return r, false
	}
	return r, true
}

// tracer are the routes of tracers, which take us for an Agent.
func tracer(path string) (route, bool) {
	fine := answer{http.StatusOK, "OK\n", textType}
	rates := answer{http.StatusOK, ratesBody, jsonType}
	r := route{tracer: true, limit: mostTraces}
	switch path {
	case "/info":
		r.name, r.handle, r.answer = "info", nothing, answer{http.StatusOK, "", jsonType}
	case "/v0.1/spans", "/v0.2/traces":
		r.name, r.handle, r.answer = "traces_json", tracesJSON, fine
	case "/v0.3/traces":
		r.name, r.handle, r.answer = "traces_v03", tracesV04, fine
	case "/v0.4/traces":
		r.name, r.handle, r.answer = "traces_v04", tracesV04, rates
	case "/v0.5/traces":
		r.name, r.handle, r.answer = "traces_v05", tracesV05, rates
	case "/v0.7/traces":
		r.name, r.handle, r.answer = "traces_v07", tracesV07, rates
	case "/v1.0/traces":
		r.name, r.handle, r.answer = "traces_v1", tracesV1, rates
	case "/v0.6/stats":
		r.name, r.handle, r.answer = "stats", clientStats, answer{http.StatusOK, "", textType}
	case "/v0.1/services", "/v0.2/services", "/v0.3/services", "/v0.4/services":
		r.name, r.handle, r.answer = "services", unused("services"), fine
	case "/dogstatsd/v1/proxy", "/dogstatsd/v2/proxy":
		r.name, r.handle, r.answer = "dogstatsd", statsd, answer{http.StatusOK, "", textType}
	case "/profiling/v1/input":
		r.name, r.handle, r.answer = "profiles", unused("profile"), answer{http.StatusOK, "{}", jsonType}
	case "/v0.7/config":
		r.name, r.handle, r.answer = "config", nothing, answer{http.StatusNotFound, "", textType} // we configure nobody
	default:
		return r, false
	}
	return r, true
}

// other are routes of which nothing is made.
func other(path string) route {
	for _, o := range [...]struct{ prefix, what string }{
		{"/telemetry/proxy/", "telemetry"}, {"/evp_proxy/", "evp_proxy"}, {"/debugger/", "debugger"}, {"/symdb/", "symdb"},
		{"/tracer_flare/", "flare"}, {"/support/flare", "flare"}, {"/v0.1/pipeline_stats", "pipeline_stats"},
		{"/api/v0.1/pipeline_stats", "pipeline_stats"}, {"/openlineage/", "openlineage"}, {"/api/v1/collector", "process"},
		{"/api/v1/container", "process"}, {"/api/v1/connections", "process"}, {"/api/v1/discovery", "process"}, {"/api/v2/orch", "orchestrator"},
	} {
		if strings.HasPrefix(path, o.prefix) {
			return route{name: o.what, tracer: true, handle: unused(o.what), answer: ok202("{}")}
		}
	}
	return route{name: "unknown", tracer: true, handle: unused("unknown"), answer: ok202("{}")}
}

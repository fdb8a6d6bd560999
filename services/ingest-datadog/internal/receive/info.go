// SPDX-License-Identifier: Apache-2.0

package receive

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// What tracers are told about sampling: keep everything.
const (
	ratesBody    = `{"rate_by_service":{"service:,env:":1}}`
	ratesVersion = "busbar-1"
)

// agentVersion is the Agent that we pass for: tracers decide by it what they send.
const agentVersion = "7.85.1"

// describe returns what /info says, and its hash: tracers that see another one ask again. The types of all of it matter to some
// tracers, and an endpoint that is missing makes others send less, or elsewhere.
func describe(statsdPort int) (body []byte, state string) {
	type object = map[string]any
	hidden := object{"enabled": true, "remove_all_args": false}
	body, err := json.Marshal(object{
		"version":    agentVersion,
		"git_commit": "",
		"endpoints": []string{
			"/v0.3/traces", "/v0.4/traces", "/v0.5/traces", "/v0.7/traces", "/v1.0/traces", "/v0.6/stats", "/telemetry/proxy/",
			"/dogstatsd/v2/proxy", "/profiling/v1/input", "/evp_proxy/v1/", "/evp_proxy/v2/", "/evp_proxy/v3/", "/evp_proxy/v4/",
			"/debugger/v1/input", "/tracer_flare/v1",
		},
		"client_drop_p0s":           true,
		"span_meta_structs":         true,
		"span_events":               true,
		"long_running_spans":        false,
		"evp_proxy_allowed_headers": []string{"Content-Type", "Accept-Encoding", "Content-Encoding", "User-Agent", "DD-CI-PROVIDER-NAME"},
		"obfuscation_version":       1,
		"peer_tags": []string{
			"_dd.base_service", "db.hostname", "db.instance", "db.name", "db.system", "messaging.destination", "messaging.system",
			"mongodb.db", "network.destination.name", "network.destination.ip", "out.host", "peer.hostname", "peer.service", "rpc.service",
			"server.address",
		},
		"span_kinds_stats_computed": []string{"server", "client", "producer", "consumer"},
		"config": object{
			"default_env": "none", "target_tps": 10, "max_eps": 200, "receiver_port": 8126, "receiver_socket": "",
			"connection_limit": 0, "receiver_timeout": 0, "max_request_bytes": mostTraces, "statsd_port": statsdPort,
			"max_memory": 0, "max_cpu": 0, "analyzed_spans_by_service": object{},
			"obfuscation": object{
				"elastic_search": true, "mongo": true, "sql_exec_plan": false, "sql_exec_plan_normalize": false,
				"http":      object{"remove_query_string": true, "remove_path_digits": false},
				"redis":     hidden,
				"valkey":    hidden,
				"memcached": object{"enabled": true, "keep_command": false},
			},
		},
	})
	if err != nil {
		panic(err) // it is all constants
	}
	sum := sha256.Sum256(body)
	return body, hex.EncodeToString(sum[:])
}

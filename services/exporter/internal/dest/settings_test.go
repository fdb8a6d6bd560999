// SPDX-License-Identifier: Apache-2.0

package dest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	"github.com/busbar/busbar/kit/config"
	"github.com/busbar/busbar/services/exporter/internal/dest"
)

// parse reads a Destination of which spec is the part below "spec:".
func parse(t *testing.T, spec string) *config.Resource {
	t.Helper()
	text := "apiVersion: busbar.dev/v1\nkind: Destination\nmetadata: {name: d}\nspec:\n" + spec
	set, err := config.Parse(configv1.Kinds(), config.Source{Name: "d.yaml", Data: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	return set.Resources[0]
}

func lines(faults config.Faults) string {
	var out []string
	for _, f := range faults {
		out = append(out, f.String())
	}
	return strings.Join(out, "\n")
}

func TestReadAccepts(t *testing.T) {
	t.Parallel()
	for _, spec := range []string{
		"  otlp_http: {endpoint: 'http://tempo:4318'}",
		"  otlphttp: {traces_endpoint: 'https://x/custom', headers: {authorization: 'Basic ${file:/nowhere}', X-Scope-OrgID: 7}, compression: zstd, timeout: 2s}",
		"  otlp_http: {endpoint: '${env:NOWHERE}', compression: '', encoding: proto}",
		"  otlp: {endpoint: 'tempo:4317', tls: {insecure: true}}",
		"  otlp_grpc: {endpoint: 'https://tempo:4317', tls: {ca_file: /ca, cert_file: /c, key_file: /k, server_name_override: x, insecure_skip_verify: true}}",
		"  otlp_grpc: {endpoint: 'unix:///run/otel.sock', compression: none, headers: {a: b}}",
		"  otlp_grpc: {endpoint: '[::1]:4317'}",
		"  prometheus: {endpoint: ':9464', namespace: a_b, const_labels: {dc: one}, metric_expiration: 1m, max_series: 10}",
		"  prometheusremotewrite: {endpoint: 'http://x/api/v1/write', headers: {a: '${env:NOWHERE}'}, target_info: {enabled: false}}",
		"  prometheus_remote_write: {endpoint: 'http://x/api/v1/write', timeout: 2s, tls: {insecure: true}}",
		"  kafka: {brokers: ['${env:NOWHERE}:9092'], producer: {compression: '${env:NOWHERE}'}}",
		"  clickhouse: {endpoint: '${env:NOWHERE}', ttl: 72h}",
		"  debug: {}",
		"  file: {path: /x, format: proto, compression: zstd, append: true, create_directory: true, directory_permissions: '0700', rotation: {max_backups: 0}}",
		"  datadog: {api: {key: '${env:NOWHERE}', site: us3.datadoghq.com}}",
		"  elasticsearch: {endpoint: 'https://x:9200', api_key: '${env:NOWHERE}'}",
	} {
		if _, faults := dest.Read(parse(t, spec)); len(faults) > 0 {
			t.Errorf("%s:\n%s", spec, lines(faults))
		}
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, spec, want string }{
		{"nothing", "  {}", "d.yaml:5:3: spec: want one exporter (known: clickhouse, datadog, "},
		{"no endpoint", "  otlp_http: {}", "d.yaml:5:3: spec.otlp_http.endpoint: missing: want a URL such as http://tempo:4318"},
		{"no scheme", "  otlp_http:\n    endpoint: tempo:4318", "d.yaml:6:15: spec.otlp_http.endpoint: want a URL that begins with http:// or https://"},
		{"no host", "  otlphttp:\n    metrics_endpoint: 'http:///v1'", "d.yaml:6:23: spec.otlphttp.metrics_endpoint: the URL names no host"},
		{"no URL", "  otlp_http:\n    endpoint: 'http://a b'", `d.yaml:6:15: spec.otlp_http.endpoint: is no URL: invalid character " " in host name`},
		{"unknown key", "  otlp_http:\n    endpoint: http://x\n    time_out: 1s", `d.yaml:7:5: spec.otlp_http.time_out: unknown field (did you mean "timeout"?`},
		{"duration", "  otlp_http:\n    endpoint: http://x\n    timeout: 5", "d.yaml:7:14: spec.otlp_http.timeout: "},
		{"no time", "  otlp_http:\n    endpoint: http://x\n    timeout: 0s", "d.yaml:7:14: spec.otlp_http.timeout: want more than 0s, got 0s"},
		{"compression", "  otlp_http:\n    endpoint: http://x\n    compression: gzipp", `d.yaml:7:18: spec.otlp_http.compression: unknown compression "gzipp" (did you mean "gzip"? known: deflate, gzip, none, snappy, x-snappy-framed, zlib, zstd)`},
		{"encoding", "  otlp_http:\n    endpoint: http://x\n    encoding: json", `d.yaml:7:15: spec.otlp_http.encoding: want proto, got "json": requests are forwarded as they are`},
		{"header", "  otlp_http:\n    endpoint: http://x\n    headers:\n      a b: c", `d.yaml:8:12: spec.otlp_http.headers["a b"]: "a b" is no legal header name`},
		{"key without certificate", "  otlp_http:\n    endpoint: http://x\n    tls: {key_file: /k}", "d.yaml:7:10: spec.otlp_http.tls: cert_file and key_file belong together"},
		{"queue", "  otlp_http:\n    endpoint: http://x\n    sending_queue: {enabled: true}\n    retry_on_failure: {}",
			"d.yaml:7:20: spec.otlp_http.sending_queue: the stream is the queue: it keeps on disk what waits for this destination; remove sending_queue\n" +
				"d.yaml:8:23: spec.otlp_http.retry_on_failure: the stream is the queue: a message is repeated until the destination takes it; remove retry_on_failure"},
		{"no port", "  otlp:\n    endpoint: tempo", "d.yaml:6:15: spec.otlp.endpoint: want host:port: missing port in address"},
		{"empty host", "  otlp:\n    endpoint: ':4317'", "d.yaml:6:15: spec.otlp.endpoint: want host:port: a part is empty"},
		{"scheme", "  otlp:\n    endpoint: 'grpc://x:4317'", "d.yaml:6:15: spec.otlp.endpoint: want host:port, or a URL that begins with http://, https://, dns:/// or unix://"},
		{"gRPC compression", "  otlp:\n    endpoint: 'x:1'\n    compression: zlib", `d.yaml:7:18: spec.otlp.compression: unknown compression "zlib" (known: gzip, none, snappy, zstd)`},
		{"protocol header", "  otlp:\n    endpoint: 'x:1'\n    headers: {Grpc-Timeout: 1S}", "d.yaml:7:29: spec.otlp.headers[\"Grpc-Timeout\"]: names that begin with grpc- belong to the protocol"},
		{"page without address", "  prometheus: {}", "d.yaml:5:3: spec.prometheus.endpoint: missing: want the address to listen on, such as 0.0.0.0:9464"},
		{"page without port", "  prometheus:\n    endpoint: localhost", "d.yaml:6:15: spec.prometheus.endpoint: want host:port to listen on: missing port in address"},
		{"port", "  prometheus:\n    endpoint: ':http'", `d.yaml:6:15: spec.prometheus.endpoint: want a port from 0 to 65535, got "http"`},
		{"labels", "  prometheus:\n    endpoint: ':1'\n    namespace: 1a\n    const_labels: {a-b: x, job: y}\n    metric_expiration: 0s\n    max_series: 0",
			"d.yaml:7:16: spec.prometheus.namespace: want letters, digits and '_', not beginning with a digit\n" +
				"d.yaml:8:25: spec.prometheus.const_labels[\"a-b\"]: \"a-b\" is no legal label name\n" +
				"d.yaml:8:33: spec.prometheus.const_labels[\"job\"]: label job says where a series comes from\n" +
				"d.yaml:9:24: spec.prometheus.metric_expiration: want more than 0s, got 0s\n" +
				"d.yaml:10:17: spec.prometheus.max_series: want at least 1, got 0"},
		{"hosted, unknown key", "  kafka:\n    brokers: [x]\n    traces: {topics: a}", `d.yaml:7:22: spec.kafka.traces.topics: unknown field (did you mean "topic"? known: encoding, `},
		{"hosted, type", "  kafka:\n    partition_traces_by_id: maybe", "d.yaml:6:29: spec.kafka.partition_traces_by_id: expected type 'bool', got unconvertible type 'string'"},
		{"hosted, queue", "  clickhouse:\n    endpoint: tcp://x:9000\n    sending_queue: {}", "d.yaml:7:20: spec.clickhouse.sending_queue: the stream is the queue: "},
		{"hosted, extension", "  prometheusremotewrite:\n    endpoint: http://x\n    auth: {authenticator: a}", "d.yaml:7:11: spec.prometheusremotewrite.auth: there are no extensions here: "},
		{"hosted, validation", "  clickhouse: {}", "d.yaml:5:15: spec.clickhouse: endpoint must be specified"},
		{"hosted, no time", "  kafka:\n    timeout: 0s", "d.yaml:6:14: spec.kafka.timeout: want more than 0s"},
		{"hosted, a fault beside a reference", "  kafka:\n    brokers: ['${env:X}']\n    broker: x", `d.yaml:7:13: spec.kafka.broker: unknown field (did you mean "brokers"? `},
		{"file", "  file:\n    format: xml\n    append: false\n    group_by: {}\n    directory_permissions: '0700'",
			"d.yaml:5:3: spec.file.path: missing: want the path of the file\n" +
				"d.yaml:6:13: spec.file.format: want json or proto, got \"xml\"\n" +
				"d.yaml:7:13: spec.file.append: a file is never begun anew: what was acknowledged stays in it; remove append\n" +
				"d.yaml:8:15: spec.file.group_by: one destination writes one file: let pipelines choose between destinations\n" +
				"d.yaml:9:28: spec.file.directory_permissions: this needs create_directory: true"},
		{"Datadog", "  datadog:\n    api: {site: 'https://datadoghq.eu'}\n    hostname: x", "d.yaml:6:5: spec.datadog.api.key: missing: want an API key of Datadog, such as ${env:DD_API_KEY}\n" +
			`d.yaml:6:17: spec.datadog.api.site: want a site such as datadoghq.com or datadoghq.eu, got "https://datadoghq.eu"` + "\n" +
			`d.yaml:7:15: spec.datadog.hostname: data is sent as it is: set resource.attributes["host.name"] in a pipeline instead`},
		{"Elasticsearch", "  elasticsearch:\n    endpoints: [a, b]", "d.yaml:6:16: spec.elasticsearch.endpoints: want one endpoint, that of the server or of what balances between servers: write endpoint"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, faults := dest.Read(parse(t, tc.spec))
			if got := lines(faults); !strings.HasPrefix(got, tc.want) {
				t.Errorf("faults (-want +got):\n%s", cmp.Diff(tc.want, got))
			}
		})
	}
}

func TestReferencesAreLookedUp(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := parse(t, "  otlp_http:\n    endpoint: 'http://${env:BUSBAR_NOT_SET}'\n    headers:\n      good: '${file:"+secret+"}'\n      bad: 'x ${file:/not/there}'")
	settings, faults := dest.Read(r)
	if len(faults) > 0 {
		t.Fatal(lines(faults))
	}
	want := "d.yaml:6:15: spec.otlp_http.endpoint: resolve ${env:BUSBAR_NOT_SET}: the variable is not set\n" +
		`d.yaml:9:12: spec.otlp_http.headers["bad"]: resolve ${file:/not/there}: `
	if got := lines(settings.References(r)); !strings.HasPrefix(got, want) {
		t.Errorf("faults (-want +got):\n%s", cmp.Diff(want, got))
	}
}

// SPDX-License-Identifier: Apache-2.0

package exporter_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	"github.com/busbar/busbar/kit/config"
	"github.com/busbar/busbar/services/exporter"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, text, want string }{
		{"good", destination("a", "otlp_http: {endpoint: 'http://x'}") + destination("b", "prometheus: {endpoint: ':1'}"), ""},
		{"bad settings", destination("a", "otlp_http: {endpoint: x}"), "f:5:30: spec.otlp_http.endpoint: want a URL that begins with http:// or https://"},
		{"secret", destination("a", "otlp_http: {endpoint: 'http://x', headers: {k: '${env:BUSBAR_NOT_SET}'}}"),
			`f:5:55: spec.otlp_http.headers["k"]: resolve ${env:BUSBAR_NOT_SET}: the variable is not set`},
		{"one port", destination("a", "prometheus: {endpoint: '127.0.0.1:1'}") + destination("b", "prometheus: {endpoint: ':1'}"),
			`f:10:31: spec.prometheus.endpoint: destination "a" has its page on 127.0.0.1:1`},
		{"one port of two addresses", destination("a", "prometheus: {endpoint: '127.0.0.1:1'}") + destination("b", "prometheus: {endpoint: '127.0.0.2:1'}"), ""},
		{"any port", destination("a", "prometheus: {endpoint: ':0'}") + destination("b", "prometheus: {endpoint: ':0'}"), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			set, err := config.Parse(configv1.Kinds(), config.Source{Name: "f", Data: []byte(tc.text)})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range exporter.Check(set) {
				got = append(got, f.String())
			}
			if d := cmp.Diff(tc.want, strings.Join(got, "\n")); d != "" {
				t.Errorf("faults (-want +got):\n%s", d)
			}
		})
	}
}

func TestParseOTLP(t *testing.T) {
	t.Parallel()
	const want = ": want http://host:4318 or grpc://host:4317"
	for _, tc := range []struct{ url, want string }{
		{"http://localhost:4318", ""},
		{"https://user:pa$$word@otel.example/base?x=y", ""},
		{"grpc://localhost:4317", ""},
		{"grpc://localhost", ""},
		{"grpcs://[::1]:4317/", ""},
		{"localhost:4317", ""},
		{"", "it is empty"},
		{"localhost", `"localhost" has neither a scheme nor a port`},
		{"ftp://x:1", `scheme "ftp" is not known`},
		{"http://:4318", "it names no host"},
		{"grpc://", "it names no host"},
		{"grpc://x:1/v1/traces", "a grpc URL has a host and a port only"},
		{"http://x:port", `invalid port ":port" after host`},
	} {
		t.Run(tc.url, func(t *testing.T) {
			t.Parallel()
			d, err := exporter.ParseOTLP(tc.url)
			if tc.want == "" {
				if err != nil || d.Name != "otlp" || d.Required {
					t.Errorf("%+v, error %v", d, err)
				}
				return
			}
			if err == nil || err.Error() != "parse OTLP URL: "+tc.want+want {
				t.Errorf("error %v, want %s", err, tc.want)
			}
		})
	}
}

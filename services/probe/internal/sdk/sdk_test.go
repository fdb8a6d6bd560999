// SPDX-License-Identifier: Apache-2.0

package sdk_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/busbar/busbar/services/probe/internal/decode"
	"github.com/busbar/busbar/services/probe/internal/kern"
	"github.com/busbar/busbar/services/probe/internal/sdk"
)

// exchange is what Seen looks at.
type exchange struct {
	kern.Exchange
	decode.Heads
}

func client(protocol kern.Protocol, port uint16) exchange {
	e := exchange{Exchange: kern.Exchange{Role: kern.Client, Protocol: protocol}}
	e.SetAddrs(netip.MustParseAddrPort("10.0.0.9:40000"), netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), port))
	return e
}

func post(path string, port, status uint16) exchange {
	e := client(kern.HTTP, port)
	e.Heads.Method, e.Heads.Path, e.Heads.Status = []byte("POST"), []byte(path), status
	return e
}

func connection(name string, port uint16) exchange {
	e := client(kern.TLS, port)
	e.ServerName = []byte(name)
	return e
}

func environ(entries ...string) []byte { return []byte(strings.Join(entries, "\x00") + "\x00") }

func TestSeen(t *testing.T) {
	t.Parallel()
	served := post("/v1/traces", 4318, 200)
	served.Role = kern.Server
	got := post("/v1/traces", 4318, 200)
	got.Heads.Method = []byte("GET")
	all := sdk.Traces | sdk.Metrics
	cases := map[string]struct {
		environ []byte
		seen    exchange
		want    sdk.Signals
	}{
		"traces":                       {nil, post("/v1/traces", 4318, 200), sdk.Traces},
		"metrics below a prefix":       {nil, post("/otlp/v1/metrics", 80, 202), sdk.Metrics},
		"logs":                         {nil, post("/v1/logs", 4318, 200), 0},
		"refused":                      {nil, post("/v1/traces", 4318, 404), 0},
		"no answer":                    {nil, post("/v1/traces", 4318, 0), 0},
		"a collector":                  {nil, served, 0},
		"another method":               {nil, got, 0},
		"another path":                 {nil, post("/v1/traces/search", 4318, 200), 0},
		"path of the environment":      {environ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://c:9999/spans"), post("/spans", 9999, 200), sdk.Traces},
		"that path elsewhere":          {environ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://c:9999/spans"), post("/spans", 80, 200), 0},
		"the port alone":               {environ("OTEL_EXPORTER_OTLP_ENDPOINT=http://c:80"), post("/orders", 80, 200), 0},
		"encrypted, by name":           {environ("OTEL_EXPORTER_OTLP_ENDPOINT=https://otlp.example"), connection("OTLP.example", 443), all},
		"encrypted, to another":        {environ("OTEL_EXPORTER_OTLP_ENDPOINT=https://otlp.example"), connection("pay.example", 443), 0},
		"encrypted, to another port":   {environ("OTEL_EXPORTER_OTLP_ENDPOINT=https://otlp.example:4318"), connection("otlp.example", 443), 0},
		"encrypted, by address":        {environ("OTEL_EXPORTER_OTLP_ENDPOINT=https://10.0.0.1:4318"), connection("", 4318), all},
		"encrypted, another address":   {environ("OTEL_EXPORTER_OTLP_ENDPOINT=https://10.0.0.2:4318"), connection("", 4318), 0},
		"encrypted, environment empty": {nil, connection("otlp.example", 4318), 0},
		"encrypted gRPC":               {environ("OTEL_EXPORTER_OTLP_ENDPOINT=https://otlp.example", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"), connection("otlp.example", 4317), all},
		"only one signal has a place":  {environ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=https://otlp.example"), connection("otlp.example", 443), sdk.Metrics},
		"one signal is off":            {environ("OTEL_EXPORTER_OTLP_ENDPOINT=https://otlp.example", "OTEL_TRACES_EXPORTER=none"), connection("otlp.example", 443), sdk.Metrics},
		"the SDK is off":               {environ("OTEL_SDK_DISABLED=true", "OTEL_EXPORTER_OTLP_ENDPOINT=https://otlp.example"), connection("otlp.example", 443), 0},
		"the first name counts":        {environ("OTEL_EXPORTER_OTLP_ENDPOINT=https://a", "OTEL_EXPORTER_OTLP_ENDPOINT=https://b"), connection("b", 443), 0},
		"no scheme":                    {environ("OTEL_EXPORTER_OTLP_ENDPOINT=otlp.example:4317"), connection("otlp.example", 4317), all},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := sdk.Parse(c.environ)
			if got := e.Seen(&c.seen.Exchange, &c.seen.Heads); got != c.want {
				t.Errorf("Seen = %b, want %b", got, c.want)
			}
		})
	}
}

func TestGRPC(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		environ []byte
		port    uint16
		want    sdk.Signals
	}{
		"nothing":            {nil, 0, 0},
		"its port":           {environ("OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317"), 4317, sdk.Traces | sdk.Metrics},
		"its name":           {environ("OTEL_EXPORTER_OTLP_ENDPOINT=http://c:9", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"), 9, sdk.Traces | sdk.Metrics},
		"no port":            {environ("OTEL_EXPORTER_OTLP_ENDPOINT=http://c", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"), 4317, sdk.Traces | sdk.Metrics},
		"HTTP":               {environ("OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318"), 0, 0},
		"HTTP at that port":  {environ("OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"), 0, 0},
		"traces alone":       {environ("OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317", "OTEL_METRICS_EXPORTER=none"), 4317, sdk.Traces},
		"metrics alone":      {environ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=http://c:4317"), 4317, sdk.Metrics},
		"two ports":          {environ("OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=http://c:1", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=grpc"), 4317, sdk.Traces},
		"what is no address": {environ("OTEL_EXPORTER_OTLP_ENDPOINT=:4317"), 0, 0},
	} {
		e := sdk.Parse(c.environ)
		if port, got := e.GRPC(); port != c.port || got != c.want {
			t.Errorf("%s: port %d for %b, want %d for %b", name, port, got, c.port, c.want)
		}
	}
}

// FuzzParse: an environment is hostile input.
func FuzzParse(f *testing.F) {
	f.Add(environ("OTEL_EXPORTER_OTLP_ENDPOINT=https://otlp.example:4318/x", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"), "otlp.example", uint16(4318))
	f.Add([]byte("OTEL_EXPORTER_OTLP_ENDPOINT=://"), "", uint16(0))
	f.Fuzz(func(t *testing.T, environ []byte, name string, port uint16) {
		e, to := sdk.Parse(environ), connection(name, port)
		if port == 0 && e.Seen(&to.Exchange, &to.Heads) != 0 {
			t.Errorf("%q makes a connection to no port an export", environ)
		}
	})
}

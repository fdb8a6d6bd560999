// SPDX-License-Identifier: Apache-2.0

package exporters_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/busbar/busbar/kit/collector"
	"github.com/busbar/busbar/kit/collector/exporters"
)

func TestDecode(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		kind     collector.ExporterKind
		settings settings
		want     []string // beginnings of path: reason
	}{
		{"good", exporters.Kafka(), settings{"brokers": []any{"a:9092"}, "timeout": "2s", "traces": settings{"topic": "t"}}, nil},
		{"empty", exporters.Debug(), nil, nil},
		{"unknown field", exporters.Kafka(), settings{"broker": "a:9092"}, []string{`.broker: unknown field (did you mean "brokers"? `}},
		{"unknown field inside", exporters.Kafka(), settings{"traces": settings{"topics": "t"}, "a b": 1}, []string{
			`["a b"]: unknown field (known: `,
			`.traces.topics: unknown field (did you mean "topic"? known: encoding, `,
		}},
		// Its decoder passes unknown fields over.
		{"unknown field of a lenient kind", exporters.PrometheusRemoteWrite(), settings{"target_info": settings{"enable": true}},
			[]string{`.target_info.enable: unknown field (did you mean "enabled"? known: enabled)`}},
		{"types", exporters.Kafka(), settings{"timeout": "soon", "partition_traces_by_id": "perhaps"}, []string{
			".partition_traces_by_id: expected type 'bool', got unconvertible type 'string'",
			".timeout: time: invalid duration",
		}},
		{"type in a list of pairs", exporters.PrometheusRemoteWrite(), settings{"headers": settings{"a": 7}},
			[]string{".headers.a: expected type 'configopaque.String', got unconvertible type 'int'"}},
		{"refused", exporters.Kafka(), settings{"sending_queue": settings{"enabled": true}}, []string{".sending_queue: the stream is the queue: "}},
		{"validation", exporters.Kafka(), settings{"auth": settings{"sasl": settings{"mechanism": "x"}}, "producer": settings{"compression": "y"}}, []string{
			".auth.sasl: mechanism should be one of ",
			".producer: compression should be one of ",
		}},
		{"validation as a whole", exporters.ClickHouse(), settings{}, []string{": endpoint must be specified", ": parse dsn address failed"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cfg, faults := tc.kind.Decode(tc.settings)
			if (cfg == nil) != (len(faults) > 0) {
				t.Fatalf("configuration %v with faults %v", cfg, faults)
			}
			var got []string
			for i, f := range faults {
				text := f.Path + ": " + f.Reason
				if i < len(tc.want) && strings.HasPrefix(text, tc.want[i]) {
					text = tc.want[i]
				}
				got = append(got, text)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("faults (-want +got):\n%s", d)
			}
		})
	}
}

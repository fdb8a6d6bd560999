// SPDX-License-Identifier: Apache-2.0

package exporters_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/busbar/busbar/kit/collector"
	"github.com/busbar/busbar/kit/collector/exporters"
)

// FuzzDecode holds that any settings give either a configuration or faults that have a reason.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"brokers": ["a:1"], "traces": {"topic": "t"}, "auth": {"sasl": {"username": "u", "password": "p", "mechanism": "PLAIN"}}}`,
		`{"endpoint": "tcp://a:9000?x=y", "ttl": "1h", "connection_params": {"a": "b"}, "tls": {"insecure": true}}`,
		`{"endpoint": "http://a", "headers": {"a": "b"}, "external_labels": {"a": "b"}, "target_info": {"enabled": false}}`,
		`{"verbosity": "detailed", "sampling_initial": 1}`,
		`{"a b": {"": [null, {}]}}`,
	} {
		f.Add(seed)
	}
	kinds := []collector.ExporterKind{exporters.Kafka(), exporters.ClickHouse(), exporters.PrometheusRemoteWrite(), exporters.Debug()}
	f.Fuzz(func(t *testing.T, text string) {
		var s settings
		if json.NewDecoder(strings.NewReader(text)).Decode(&s) != nil {
			return
		}
		for _, kind := range kinds {
			cfg, faults := kind.Decode(s)
			if (cfg == nil) != (len(faults) > 0) {
				t.Errorf("configuration %v with faults %v", cfg, faults)
			}
			for _, fault := range faults {
				if fault.Reason == "" {
					t.Errorf("a fault at %q says nothing", fault.Path)
				}
			}
		}
	})
}

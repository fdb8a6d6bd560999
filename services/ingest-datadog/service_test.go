// SPDX-License-Identifier: Apache-2.0

package ingestdatadog_test

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus/bustest"
	ingestdatadog "github.com/busbar/busbar/services/ingest-datadog"
)

func series(i int) []byte {
	return []byte(`{"series":[{"metric":"m` + strconv.Itoa(i) + `","type":1,"interval":10,"points":[{"timestamp":1795240000,"value":1}]}]}`)
}

func jsonHeaders() map[string]string { return map[string]string{"Content-Type": "application/json"} }

// While the bus is away requests wait on disk, are answered as if nothing were, and are on the bus once when it is back.
func TestBusAway(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *ingestdatadog.Config) { c.QueueDir = t.TempDir() })
	r.server.Stop()
	for i := range 20 {
		if res, text := r.send(http.MethodPost, "/api/v2/series", jsonHeaders(), series(i)); res.StatusCode != http.StatusAccepted {
			t.Fatalf("%d %s", res.StatusCode, text)
		}
	}
	r.server.Start()
	bustest.Eventually(t, "all are on the bus", func() bool {
		return r.bus.Ready() == nil && len(bustest.ReadAll(t, r.bus, subject.DefaultRoot.OTLPStream().Name, "")) == 20
	})
}

// What cannot be read is refused so that Agents drop it, and others are served on.
func TestRefusals(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	for _, tc := range []struct {
		path, kind, encoding, body string
		want                       int
	}{
		{"/api/v2/series", "application/json", "", `{"series":[{"metric":1}]}`, 400},
		{"/api/v2/series", "application/x-protobuf", "", "\xff\xff\xff", 400},
		{"/api/v2/series", "application/json", "zstd", "no zstd", 400},
		{"/api/v2/series", "application/json", "br", "x", 400},
		{"/v0.4/traces", "application/msgpack", "", "\xdd\x01\x7d\x78\x40", 400},
		{"/v0.4/traces", "application/msgpack", "", "\x90", 200},
		{"/v0.4/traces", "application/msgpack", "", "", 200},
		{"/v0.7/config", "application/json", "", "{}", 404},
		{"/what/is/this", "application/json", "", "{}", 202},
		{"/profiling/v1/input", "multipart/form-data", "", "x", 200},
	} {
		res, text := r.send(http.MethodPost, tc.path, map[string]string{"Content-Type": tc.kind, "Content-Encoding": tc.encoding}, []byte(tc.body))
		if res.StatusCode != tc.want {
			t.Errorf("%s %q: %d %s, want %d", tc.path, tc.body, res.StatusCode, text, tc.want)
		}
	}
	if res, _ := r.send(http.MethodPost, "/api/v2/series", jsonHeaders(), series(0)); res.StatusCode != http.StatusAccepted {
		t.Errorf("afterwards: %d", res.StatusCode)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(file, []byte("secret acme\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, func(c *ingestdatadog.Config) { c.Settings.Keys = file })
	for key, want := range map[string]int{"": 403, "wrong": 403, "secret": 202} {
		headers := jsonHeaders()
		headers["Dd-Api-Key"] = key
		if res, _ := r.send(http.MethodPost, "/api/v2/series", headers, series(0)); res.StatusCode != want {
			t.Errorf("key %q: %d, want %d", key, res.StatusCode, want)
		}
	}
	if res, _ := r.send(http.MethodGet, "/api/v1/validate?api_key=wrong", nil, nil); res.StatusCode != http.StatusForbidden {
		t.Errorf("validate: %d", res.StatusCode)
	}
	all := bustest.ReadAll(t, r.bus, subject.DefaultRoot.OTLPStream().Name, "")
	if len(all) != 1 || !strings.HasPrefix(all[0].Subject, "busbar.otlp.metrics.acme.") {
		t.Errorf("%d messages", len(all))
	}
}

// What tracers learn has the types that strict ones want, and the endpoints without which others send less.
func TestInfo(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	res, text := r.send(http.MethodGet, "/info", nil, nil)
	var info struct {
		Endpoints []string
		Drop      bool `json:"client_drop_p0s"`
		Config    struct {
			Statsd      int `json:"statsd_port"`
			Obfuscation struct{ Redis, Valkey, Memcached map[string]any }
		}
	}
	if err := json.Unmarshal([]byte(text), &info); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"/v0.4/traces", "/v0.5/traces", "/v1.0/traces", "/v0.6/stats", "/telemetry/proxy/", "/dogstatsd/v2/proxy"} {
		if !strings.Contains(strings.Join(info.Endpoints, " "), want) {
			t.Errorf("%s is missing", want)
		}
	}
	_, port, err := net.SplitHostPort(r.statsd)
	if err != nil || !info.Drop || strconv.Itoa(info.Config.Statsd) != port || info.Config.Obfuscation.Redis == nil || res.Header.Get("Datadog-Agent-State") == "" {
		t.Errorf("%s", text)
	}
}

// What was counted over UDP before the end is on the bus after it, to the last one.
func TestStatsdOverUDP(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	c, err := net.Dial("udp", r.statsd)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 50 {
		if _, err := c.Write([]byte("hits:2|c|#service:shop\nlat:5|d|#service:shop")); err != nil {
			t.Fatal(err)
		}
	}
	// HTTP comes after: the kernel has handed the packets over before, or holds them still; a report that knows nothing lost tells.
	bustest.Eventually(t, "all packets were read", func() bool { return drained(t) })
	r.stop()
	if text := r.stored(); !bytes.Contains(text, []byte(`"asDouble": 100`)) || !bytes.Contains(text, []byte(`"count": "50"`)) {
		t.Errorf("%s", text)
	}
}

// drained tells whether no socket of this machine for UDP holds what was not read.
func drained(t *testing.T) bool {
	t.Helper()
	data, err := os.ReadFile("/proc/net/udp")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) > 4 && strings.Contains(f[4], ":") && f[4] != "00000000:00000000" {
			return false
		}
	}
	return true
}

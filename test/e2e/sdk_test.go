// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestSDKKeepsItsSpans: from its first export on, a process with a telemetry SDK has no spans of ours, and exact metrics.
func TestSDKKeepsItsSpans(t *testing.T) {
	needRoot(t)
	b := newBackend(t)
	allInOne(t, "--otlp", "http://"+b.http)
	collector, app := freeAddress(t), freeAddress(t)
	start(t, []string{"OTEL_SERVICE_NAME=collector"}, "goserver", "-listen", collector)
	start(t, []string{"OTEL_SERVICE_NAME=app"}, "python3", "testdata/sdk.py", app, collector)
	for _, a := range []string{collector, app} {
		wait(t, 30*time.Second, "the servers to listen", func() bool { return dials(a) })
	}
	get := func(path string) {
		t.Helper()
		res, err := http.Get("http://" + app + path) //nolint:noctx // of a test
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
	}
	count := func(metric, route string) (n uint64) {
		_, points, _ := b.received()
		for s, p := range points {
			if s.metric == metric && s.service == "app" && strings.HasPrefix(s.route, route) {
				n += p.count
			}
		}
		return n
	}
	const before, after = 20, 200
	for i := range before {
		get(fmt.Sprintf("/before/%d", i))
	}
	get("/export")
	wait(t, 30*time.Second, "the export to be seen", func() bool { return count("http.client.request.duration", "/v1/traces") == 1 })
	for i := range after {
		get(fmt.Sprintf("/after/%d", i))
	}
	wait(t, 30*time.Second, "every request to be counted", func() bool {
		return count("http.server.request.duration", "/before") == before && count("http.server.request.duration", "/after") == after
	})
	spans := map[string]int{}
	wait(t, 30*time.Second, "the spans of the time before", func() bool {
		clear(spans)
		all, _, _ := b.received()
		for _, s := range all {
			if s.service == "app" && s.kind == "Server" {
				spans[strings.Split(s.path, "/")[1]]++
			}
		}
		return spans["before"] >= before
	})
	if spans["before"] != before || spans["after"] != 0 {
		t.Errorf("spans of the app: %v, want those before the export and none after", spans)
	}
}

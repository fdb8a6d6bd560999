// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/busbar/busbar/contract"
)

// TestRealServersAllInOne: 2,000 requests between unmodified servers and clients of four kinds, seen by `busbar up`
// through each tier that this machine's kernel has.
func TestRealServersAllInOne(t *testing.T) {
	needRoot(t)
	for _, tier := range []string{"btf", "syscall"} {
		t.Run(tier, func(t *testing.T) {
			b := newBackend(t)
			s := allInOne(t, "--tier", tier, "--otlp", "http://"+b.http)
			checkRealServers(t, b)
			checkPage(t, s)
			checkPrivacy(t, b, s)
			checkQuiet(t, b)
		})
	}
}

// TestRealServersSeparate: the same with every service a process of its own, a separate nats-server, and OTLP over gRPC.
func TestRealServersSeparate(t *testing.T) {
	needRoot(t)
	b := newBackend(t)
	separate(t, resources(b))
	checkRealServers(t, b)
}

// resources sends everything to the back end over gRPC.
func resources(b *backend) string {
	return fmt.Sprintf(`
apiVersion: busbar.dev/v1
kind: Destination
metadata: {name: backend}
spec:
  otlp_grpc: {endpoint: %q, tls: {insecure: true}}
---
apiVersion: busbar.dev/v1
kind: Pipeline
metadata: {name: everything}
spec: {to: [backend]}
`, b.grpc)
}

// perPair is the number of requests of each of the four clients to each of the four servers: 2,000 in all.
const perPair = 125

func checkRealServers(t *testing.T, b *backend) {
	t.Helper()
	sent := drive(t, startServers(t), perPair)
	settle(t, func() int { return len(ours(b, sent)) })
	compareSpans(t, sent, ours(b, sent))
	compareCounts(t, b, sent)
	if _, _, repeats := b.received(); repeats > 0 {
		t.Errorf("%d messages came twice though nothing failed", repeats)
	}
}

// drive makes n requests from every client to every server, all clients at the same time, and returns them by path.
func drive(t *testing.T, servers []server, n int) map[string]request {
	t.Helper()
	sent := map[string]request{}
	t.Run("drive", func(t *testing.T) {
		for _, c := range clients() {
			var mine []request
			for _, s := range servers {
				mine = append(mine, plan(s, c, n)...)
			}
			for _, r := range mine {
				sent[r.path] = r
			}
			t.Run(c.service, func(t *testing.T) {
				t.Parallel()
				c.run(t, mine)
			})
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	return sent
}

// ours are the spans of the test's own requests. Whatever else runs on the machine is observed as well.
func ours(b *backend, sent map[string]request) []span {
	all, _, _ := b.received()
	var mine []span
	for _, s := range all {
		if _, ok := sent[path(s)]; ok {
			mine = append(mine, s)
		}
	}
	return mine
}

// path returns the path of a span: a server's is an attribute, a client's is part of its URL.
func path(s span) string {
	if s.path != "" {
		return s.path
	}
	full, _ := s.attributes["url.full"].(string)
	_, rest, _ := strings.Cut(full, "://")
	i := strings.IndexByte(rest, '/')
	if i < 0 {
		return ""
	}
	return rest[i:]
}

// settle waits until a count stays for many times the probe's batch interval: what comes late or twice comes by then.
func settle(t *testing.T, count func() int) {
	t.Helper()
	last, since := -1, time.Now()
	wait(t, 60*time.Second, "the count to stay", func() bool {
		if n := count(); n != last {
			last, since = n, time.Now()
		}
		return time.Since(since) > 4*time.Second
	})
}

// half is one side of an exchange as a span should tell it.
type half struct {
	Service, Kind, Name, Method, Route, Path string
	Status                                   int64
	IsError                                  bool
}

func compareSpans(t *testing.T, sent map[string]request, got []span) {
	t.Helper()
	var want, have []half
	for _, r := range sent {
		route := r.path[:strings.LastIndexByte(r.path, '/')] + "/*"
		h := half{Method: r.Method, Route: route, Path: r.path, Name: r.Method + " " + route, Status: r.status}
		h.Service, h.Kind, h.IsError = r.server, "Server", r.status >= 500
		want = append(want, h)
		h.Service, h.Kind, h.IsError = r.client, "Client", r.status >= 400
		want = append(want, h)
	}
	ids := map[string]bool{}
	for _, s := range got {
		have = append(have, half{s.service, s.kind, s.name, s.method, s.route, path(s), s.status, s.isError})
		if ids[s.id] {
			t.Errorf("span id %s stands for two spans", s.id)
		}
		ids[s.id] = true
	}
	less := func(a, b half) bool { return a.Path+a.Kind < b.Path+b.Kind }
	if diff := cmp.Diff(want, have, cmpopts.SortSlices(less)); diff != "" {
		t.Errorf("%d spans for %d requests (-want +got):\n%s", len(got), len(sent), head(diff, 60))
	}
	compareParents(t, got)
}

// compareParents: both halves of an exchange are seen here, so the server's span is a child of the client's.
func compareParents(t *testing.T, got []span) {
	t.Helper()
	clients := map[string]span{}
	for _, s := range got {
		if s.kind == "Client" {
			clients[path(s)] = s
		}
	}
	wrong := 0
	for _, s := range got {
		if c := clients[path(s)]; s.kind == "Server" && (s.parent != c.id || s.trace != c.trace) {
			if wrong++; wrong < 5 {
				t.Errorf("server span of %s: trace %s parent %s; the client's is trace %s id %s", path(s), s.trace, s.parent, c.trace, c.id)
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d server spans are not children of their client's", wrong)
	}
}

func compareCounts(t *testing.T, b *backend, sent map[string]request) {
	t.Helper()
	want := map[series]uint64{}
	for _, r := range sent {
		route := r.path[:strings.LastIndexByte(r.path, '/')] + "/*"
		want[series{"http.server.request.duration", r.server, r.Method, route, r.status}]++
		want[series{"http.client.request.duration", r.client, r.Method, route, r.status}]++
	}
	_, points, _ := b.received()
	have := map[series]uint64{}
	for k, p := range points {
		if _, ok := want[k]; ok {
			have[k] = p.count
		}
	}
	if diff := cmp.Diff(want, have, cmp.AllowUnexported(series{})); diff != "" {
		t.Errorf("histogram counts (-want +got):\n%s", head(diff, 40))
	}
}

// checkPage: the Prometheus page has the names and labels that dashboards ask for.
func checkPage(t *testing.T, s *system) {
	t.Helper()
	_, page := get(t, s.page)
	for _, want := range []string{
		`http_server_request_duration_seconds_bucket{`, `http_server_request_duration_seconds_count{`, `http_client_request_duration_seconds_sum{`,
		`http_route="/shop-go/client-go/orders/*"`, `http_response_status_code="404"`, `http_request_method="POST"`, `service_name="nginx"`, `target_info{`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the Prometheus page has no %s", want)
		}
	}
}

// checkQuiet: the sending of telemetry to a server of this machine makes no telemetry, or there would be no end of it.
func checkQuiet(t *testing.T, b *backend) {
	t.Helper()
	spans, _, _ := b.received()
	agents := 0
	for _, s := range spans {
		agent, ok := s.attributes["user_agent.original"].(string)
		if strings.HasPrefix(agent, contract.UserAgent) {
			t.Fatalf("the sending of telemetry became span %+v", s)
		}
		if ok {
			agents++
		}
	}
	if agents == 0 {
		t.Error("no span tells its client's User-Agent")
	}
}

// checkPrivacy: what stands in a query never leaves the node.
func checkPrivacy(t *testing.T, b *backend, s *system) {
	t.Helper()
	spans, _, _ := b.received()
	for _, sp := range spans {
		if strings.Contains(fmt.Sprint(sp.attributes, sp.name, sp.resource), secret) {
			t.Fatalf("the query's secret is in span %+v", sp)
		}
	}
	if _, page := get(t, s.page); strings.Contains(page, secret) {
		t.Error("the query's secret is on the Prometheus page")
	}
}

func head(s string, lines int) string {
	all := strings.Split(s, "\n")
	if len(all) > lines {
		all = append(all[:lines], fmt.Sprintf("… and %d lines more", len(all)-lines))
	}
	return strings.Join(all, "\n")
}

// SPDX-License-Identifier: Apache-2.0

package exporter_test

import (
	"strings"
	"testing"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
	"github.com/busbar/busbar/services/exporter"
)

// What someone else puts on the stream of a destination may have any id. One that no request can carry must not hold up its
// message, which is fine, nor make the back end look bad.
func TestIdsThatNoRequestCanCarry(t *testing.T) {
	t.Parallel()
	plain, other := newBackend(t), &traces{seen: make(map[string]bool)}
	address, stop := other.serve(t, "127.0.0.1:0")
	t.Cleanup(stop)
	path := resources(t, destination("http", "otlp_http: {endpoint: 'http://"+plain.address+"'}")+
		destination("grpc", "otlp_grpc: {endpoint: '"+address+"', tls: {insecure: true}}"))
	l := start(t, func(c *exporter.Config) { c.Paths = []string{path} })
	ids := []string{"bell\a", "naïve", "nul\x00", strings.Repeat("long", 10_000)}
	for _, d := range []string{"http", "grpc"} {
		l.publish(d, subject.Traces, 0, 1, spans(t))
		for i, id := range ids {
			msg := bus.Msg{Subject: root.Out(d, subject.Traces, 0), ID: id, Items: 1, Data: spans(t)(1 + i)}
			if err := l.bus.Publish(t.Context(), msg); err != nil {
				t.Fatal(err)
			}
		}
	}
	bustest.Eventually(t, "all arrived over HTTP", func() bool { return plain.distinct() == 1+len(ids) })
	bustest.Eventually(t, "all arrived over gRPC", func() bool { return other.count() == 1+len(ids) })
	if plain.requests() != 1+len(ids) || l.metric("busbar_destination_attempts_total", "grpc", "unavailable") > 0 {
		t.Error("attempts failed")
	}
}

// SPDX-License-Identifier: Apache-2.0

package exporter_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	fleetv1 "github.com/busbar/busbar/contract/fleet/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
	"github.com/busbar/busbar/services/exporter"
)

// beat is how often the services of these tests tell that they live.
const beat = 50 * time.Millisecond

func (l *lab) gone(stream string) func() bool {
	return func() bool {
		_, err := l.bus.Stream(l.t.Context(), stream)
		return errors.Is(err, bus.ErrNotFound)
	}
}

// leaver is an exporter whose destination d, which does not answer, is about to be removed with ten messages waiting.
func leaver(t *testing.T, more string) (l *lab, b *backend, remove func()) {
	t.Helper()
	b = newBackend(t)
	b.refusing(status(http.StatusServiceUnavailable))
	path := resources(t, destination("d", "otlp_http: {endpoint: 'http://"+b.address+"'}"+more))
	l = start(t, func(c *exporter.Config) { c.Paths, c.Heartbeat, c.Instance = []string{path}, beat, "me" })
	bustest.Eventually(t, "it runs", l.state("d", "ok"))
	l.publish("d", subject.Traces, 0, 10, spans(t))
	bustest.Eventually(t, "it does not work", l.state("d", "retrying"))
	return l, b, func() { write(t, path, "") }
}

func TestRemovedDestinationIsDrained(t *testing.T) {
	t.Parallel()
	l, b, remove := leaver(t, "")
	remove()
	l.publish("d", subject.Traces, 10, 20, spans(t)) // by a router that has not heard
	b.refusing(nil)
	bustest.Eventually(t, "the stream is removed", l.gone(root.OutStream("d").Name))
	if n := b.distinct(); n != 20 || b.requests() < 20 {
		t.Errorf("%d of 20 messages arrived", n)
	}
	bustest.Eventually(t, "its series are gone", func() bool { return !l.state("d", "ok")() && !l.state("d", "retrying")() })
	if n := l.metric("busbar_dropped_records_total", "removed", "exporter"); n != 0 {
		t.Errorf("%v records dropped", n)
	}
	// A stream that comes back, because somebody wrote late, is drained as well.
	stream := root.OutStream("d")
	stream.Metadata = map[string]string{subject.MetaDestination: "d", subject.MetaOnRemove: "drain", subject.MetaExporter: "otlp_http"}
	if err := l.bus.Provision(t.Context(), bus.StreamSpec(stream)); err != nil {
		t.Fatal(err)
	}
	l.publish("d", subject.Traces, 20, 21, spans(t))
	bustest.Eventually(t, "the late one arrives", func() bool { return b.distinct() == 21 })
	l.bus.Forget(stream.Name)
	bustest.Eventually(t, "the stream is removed again", l.gone(stream.Name))
}

func TestDrainingEnds(t *testing.T) {
	t.Parallel()
	l, b, remove := leaver(t, ", drainTimeout: 10ms")
	remove()
	bustest.Eventually(t, "the stream is removed", l.gone(root.OutStream("d").Name))
	if n := l.metric("busbar_dropped_records_total", "removed", "exporter"); n != 10 || b.distinct() != 0 {
		t.Errorf("%v records dropped, %d messages arrived", n, b.distinct())
	}
}

func TestRemovedDestinationIsDiscarded(t *testing.T) {
	t.Parallel()
	l, b, remove := leaver(t, ", onRemove: discard")
	remove()
	bustest.Eventually(t, "the stream is removed", l.gone(root.OutStream("d").Name))
	if n := l.metric("busbar_dropped_records_total", "removed", "exporter"); n != 10 || b.distinct() != 0 {
		t.Errorf("%v records dropped, %d messages arrived", n, b.distinct())
	}
}

// Whoever still names a destination in his heartbeats keeps its stream.
func TestStreamStaysWhileSomebodyUsesIt(t *testing.T) {
	t.Parallel()
	l, b, remove := leaver(t, "")
	router := fleetv1.Beacon{Service: "router", Instance: "r"}
	say := func(destinations ...string) {
		payload := router.Payload(func(h *fleetv1.Heartbeat) { h.Destinations = destinations })
		if err := l.bus.Announce(root.Beat("router", "r"), payload); err != nil {
			t.Fatal(err)
		}
	}
	say("d")
	remove()
	b.refusing(nil)
	bustest.Eventually(t, "all arrived", func() bool { return b.distinct() == 10 })
	for round := range 40 {
		say("d")
		l.publish("d", subject.Traces, 10+round, 11+round, spans(t)) // takes its time, and would fail without the stream
	}
	bustest.Eventually(t, "the rest arrived", func() bool { say("d"); return b.distinct() == 50 })
	if l.gone(root.OutStream("d").Name)() {
		t.Fatal("the stream is gone")
	}
	l.bus.Forget(root.OutStream("d").Name)
	say()
	bustest.Eventually(t, "the stream is removed", l.gone(root.OutStream("d").Name))
}

// What was removed while nobody looked is dealt with as its resource had said: discarded, or kept with a word in the heartbeat when
// nobody knows any more how to drain it.
func TestRemovedWhileDown(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	b.refusing(status(http.StatusServiceUnavailable))
	to := func(name, more string) string {
		return destination(name, "otlp_http: {endpoint: 'http://"+b.address+"'}, onRemove: "+more)
	}
	all := to("a", "discard") + to("b", "drain") + to("c", "keep")
	path := resources(t, all)
	with := func(c *exporter.Config) { c.Paths, c.Heartbeat, c.Instance = []string{path}, beat, "me" }
	l := start(t, with)
	for _, name := range []string{"a", "b", "c"} {
		bustest.Eventually(t, "it runs", l.state(name, "ok"))
		l.publish(name, subject.Traces, 0, 10, spans(t))
		l.bus.Forget(root.OutStream(name).Name)
		bustest.Eventually(t, "it does not work", l.state(name, "retrying"))
	}
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	write(t, path, "")
	beats := l.beats()
	l.run(with)
	bustest.Eventually(t, "what was to be discarded is", l.gone(root.OutStream("a").Name))
	bustest.Eventually(t, "the heartbeat tells of what cannot be drained", func() bool {
		d := beats().GetDegraded()
		return len(d) == 1 && d[0] == "stream BUSBAR_OUT_b: 10 messages wait for destination b, which nobody declares any more: declare it again, or remove the stream"
	})
	if n := l.metric("busbar_dropped_records_total", "removed", "exporter"); n != 10 {
		t.Errorf("%v records dropped", n)
	}
	b.refusing(nil)
	write(t, path, all)
	bustest.Eventually(t, "what stayed arrives", func() bool { return b.distinct() == 10 && b.requests() >= 20 })
	for _, name := range []string{"b", "c"} {
		bustest.Eventually(t, "all of "+name, func() bool { return l.nats.Pending(t, root.OutStream(name).Name, "exporter") == 0 })
	}
}

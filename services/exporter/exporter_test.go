// SPDX-License-Identifier: Apache-2.0

package exporter_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	_ "google.golang.org/grpc/encoding/gzip" // for the servers of these tests

	fleetv1 "github.com/busbar/busbar/contract/fleet/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
	"github.com/busbar/busbar/services/exporter"
)

func TestDeadDestinationDelaysNoOther(t *testing.T) {
	t.Parallel()
	alive, dead := newBackend(t), newBackend(t)
	dead.down()
	paths := resources(t, destination("alive", "otlp_http: {endpoint: 'http://"+alive.address+"'}")+
		destination("dead", "otlp_http: {endpoint: 'http://"+dead.address+"'}"))
	l := start(t, func(c *exporter.Config) { c.Paths = []string{paths} })
	l.publish("dead", subject.Traces, 0, 300, spans(t))
	bustest.Eventually(t, "dead is retrying", l.state("dead", "retrying"))
	l.publish("alive", subject.Traces, 0, 300, spans(t))
	bustest.Eventually(t, "alive has all", func() bool { return alive.distinct() == 300 })
	if !l.state("alive", "ok")() || !l.state("dead", "retrying")() {
		t.Error("states are mixed up")
	}
	if err := l.admin.Ready(); err != nil {
		t.Errorf("a dead back end makes the service unready: %v", err)
	}
	dead.up()
	bustest.Eventually(t, "dead has all", func() bool { return dead.distinct() == 300 })
	bustest.Eventually(t, "dead is ok", l.state("dead", "ok"))
	bustest.Eventually(t, "all is acknowledged", func() bool {
		return l.nats.Pending(t, root.OutStream("dead").Name, "exporter")+l.nats.Pending(t, root.OutStream("alive").Name, "exporter") == 0
	})
	if n := dead.requests(); n != 300 {
		t.Errorf("%d requests for 300 messages", n)
	}
}

func TestGRPCServerThatRestarts(t *testing.T) {
	t.Parallel()
	got := &traces{seen: make(map[string]bool)}
	address, stop := got.serve(t, "127.0.0.1:0")
	d, err := exporter.ParseOTLP(address)
	if err != nil {
		t.Fatal(err)
	}
	l := start(t, func(c *exporter.Config) { c.Destinations = []exporter.Destination{d} })
	l.publish("otlp", subject.Traces, 0, 50, spans(t))
	bustest.Eventually(t, "50 arrived", func() bool { return got.count() == 50 })
	stop()
	l.publish("otlp", subject.Traces, 50, 100, spans(t))
	bustest.Eventually(t, "it is retrying", l.state("otlp", "retrying"))
	_, stop = got.serve(t, address)
	defer stop()
	bustest.Eventually(t, "100 arrived", func() bool { return got.count() == 100 })
}

func TestWhatCannotBeTakenIsADeadLetter(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	b.refusing(func(w http.ResponseWriter, key string, _ []byte) bool {
		if bad := strings.HasSuffix(key, "7"); bad {
			http.Error(w, "seven is no number", http.StatusBadRequest)
			return true
		}
		return false
	})
	paths := resources(t, destination("d", "otlp_http: {endpoint: 'http://"+b.address+"'}"))
	l := start(t, func(c *exporter.Config) { c.Paths = []string{paths} })
	l.publish("d", subject.Traces, 0, 30, spans(t))
	if err := l.bus.Publish(t.Context(),
		bus.Msg{Subject: string(root) + ".out.d.nonsense.1", ID: "x", Data: []byte("x")},
		bus.Msg{Subject: root.Out("d", subject.Traces, 1), ID: "y", Data: []byte("no s2"), Encoding: "s2"},
	); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "27 arrived", func() bool { return b.distinct() == 27 })
	bustest.Eventually(t, "all is settled", func() bool { return l.nats.Pending(t, root.OutStream("d").Name, "exporter") == 0 })
	got := make(map[string]int)
	for _, d := range bustest.ReadAll(t, l.bus, root.DeadStream().Name, "") {
		got[d.Subject]++
		if d.Header(bus.HeaderDeadReason) == "http_400" && d.Header(bus.HeaderDeadError) != "400 Bad Request: seven is no number" {
			t.Errorf("dead letter says %q", d.Header(bus.HeaderDeadError))
		}
	}
	for reason, n := range map[string]int{"http_400": 3, "subject": 1, "undecodable": 1} {
		if got[root.Dead("exporter", reason)] != n {
			t.Errorf("%d dead letters for %s, want %d (all: %v)", got[root.Dead("exporter", reason)], reason, n, got)
		}
	}
	if !l.state("d", "ok")() {
		t.Error("bad data made the destination fail")
	}
}

func TestThrottledAndRefusedMessagesWait(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	b.refusing(status(http.StatusTooManyRequests, "Retry-After", "1"))
	paths := resources(t, destination("d", "otlp_http: {endpoint: 'http://"+b.address+"'}"))
	l := start(t, func(c *exporter.Config) { c.Paths = []string{paths} })
	l.publish("d", subject.Traces, 0, 100, spans(t))
	bustest.Eventually(t, "it is throttled", func() bool { return l.metric("busbar_destination_attempts_total", "d", "throttled") > 0 })
	// Eight workers may have been under way when the first answer came.
	if n := b.requests(); n > 16 {
		t.Errorf("%d requests to a back end that asked to wait", n)
	}
	b.refusing(status(http.StatusUnauthorized))
	bustest.Eventually(t, "it is refused", l.state("d", "refusing"))
	b.refusing(nil)
	bustest.Eventually(t, "all arrived", func() bool { return b.distinct() == 100 })
	if n := len(bustest.ReadAll(t, l.bus, root.DeadStream().Name, "")); n > 0 {
		t.Errorf("%d dead letters", n)
	}
}

// A message that the back end chokes on is repeated and does not keep the others from arriving.
func TestMessageThatBreaksTheBackEnd(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	b.refusing(func(w http.ResponseWriter, key string, _ []byte) bool {
		if key == "traces-3" {
			w.WriteHeader(http.StatusInternalServerError)
			return true
		}
		return false
	})
	d, err := exporter.ParseOTLP("http://" + b.address)
	if err != nil {
		t.Fatal(err)
	}
	l := start(t, func(c *exporter.Config) { c.Destinations = []exporter.Destination{d} })
	l.publish("otlp", subject.Traces, 0, 200, spans(t))
	bustest.Eventually(t, "the others arrived", func() bool { return b.distinct() == 199 })
	b.refusing(nil)
	bustest.Eventually(t, "all arrived", func() bool { return b.distinct() == 200 })
}

func TestPartialSuccessIsCountedAndNotRepeated(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	b.refusing(func(w http.ResponseWriter, _ string, _ []byte) bool {
		r := ptraceotlp.NewExportResponse()
		r.PartialSuccess().SetRejectedSpans(1)
		body, _ := r.MarshalProto()
		w.Header().Set("Content-Type", "application/x-protobuf")
		_, _ = w.Write(body)
		return false
	})
	paths := resources(t, destination("d", "otlphttp: {endpoint: 'http://"+b.address+"'}"))
	l := start(t, func(c *exporter.Config) { c.Paths = []string{paths} })
	l.publish("d", subject.Traces, 0, 5, spans(t))
	bustest.Eventually(t, "all is settled", func() bool { return l.metric("busbar_dropped_records_total", "rejected", "exporter") == 5 })
	if n := b.requests(); n != 5 {
		t.Errorf("%d requests for 5 messages", n)
	}
}

func TestPageGoesOnWhereItStood(t *testing.T) {
	t.Parallel()
	address := freePort(t)
	with := func(c *exporter.Config) { c.Destinations = []exporter.Destination{exporter.Page(address)} }
	l := start(t, with)
	l.publish("page", subject.Metrics, 0, 40, counter(t))
	l.publish("page", subject.Traces, 0, 2, spans(t)) // these have no place
	bustest.Eventually(t, "40 calls", func() bool { return sample(t, address, "calls_total") == 40 })
	bustest.Eventually(t, "the rest is counted", func() bool { return l.metric("busbar_dropped_records_total", "signal", "exporter") == 2 })
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	l.publish("page", subject.Metrics, 40, 50, counter(t))
	l.run(with)
	bustest.Eventually(t, "50 calls", func() bool { return sample(t, address, "calls_total") == 50 })
	l.publish("page", subject.Metrics, 45, 60, counter(t)) // some again, which the stream tells
	bustest.Eventually(t, "60 calls", func() bool { return sample(t, address, "calls_total") == 60 })
	if n := l.metric("busbar_destination_records_total", "page", "metrics"); n != 20 {
		t.Errorf("%v records were added in the second life, want 20", n)
	}
	if n := l.metric("busbar_destination_owned_shards", "page"); n != subject.Shards {
		t.Errorf("%v shards are owned", n)
	}
}

func TestExpiredMessagesAreCounted(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	path := resources(t, destination("d", "otlp_http: {endpoint: 'http://"+b.address+"'}"))
	with := func(c *exporter.Config) { c.Paths = []string{path} }
	l := start(t, with)
	stream := root.OutStream("d")
	l.publish("d", subject.Traces, 0, 5, spans(t))
	bustest.Eventually(t, "five arrived", func() bool { return b.distinct() == 5 })
	bustest.Eventually(t, "all is settled", func() bool { return l.nats.Pending(t, stream.Name, "exporter") == 0 })
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	// While nobody reads, the stream gets too small for what comes.
	l.publish("d", subject.Traces, 5, 50, spans(t))
	stream.MaxBytes, stream.Given = 2000, true
	if err := l.bus.Provision(t.Context(), bus.StreamSpec(stream)); err != nil {
		t.Fatal(err)
	}
	left := len(bustest.ReadAll(t, l.bus, stream.Name, ""))
	if left == 0 || left >= 45 {
		t.Fatalf("%d messages are left", left)
	}
	l.run(with)
	bustest.Eventually(t, "the rest arrived", func() bool { return b.distinct() == 5+left })
	bustest.Eventually(t, "the others are counted", func() bool {
		return l.metric("busbar_dropped_records_total", "expired", "exporter") == float64(45-left)
	})
}

func TestHeartbeatTellsOfTrouble(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	b.refusing(status(http.StatusForbidden))
	nats := bustest.Start(t)
	l := &lab{t: t, nats: nats, bus: nats.Connect(t, "test")}
	ctx, cancel := context.WithCancel(t.Context())
	beats, ended := make(chan *fleetv1.Heartbeat, 100), make(chan error, 1)
	go func() {
		ended <- l.bus.Subscribe(ctx, string(root)+".beat.exporter.*", func(d *bus.Delivery) {
			beat := new(fleetv1.Heartbeat)
			if err := beat.UnmarshalVT(d.Raw()); err != nil {
				t.Error(err)
			}
			beats <- beat
		})
	}()
	defer func() { cancel(); <-ended }()
	d, err := exporter.ParseOTLP("http://" + b.address)
	if err != nil {
		t.Fatal(err)
	}
	l.publish("otlp", subject.Traces, 0, 1, spans(t))
	l.run(func(c *exporter.Config) { c.Destinations, c.Instance = []exporter.Destination{d}, "me" })
	bustest.Eventually(t, "a heartbeat tells", func() bool {
		select {
		case beat := <-beats:
			return beat.GetInstance() == "me" && beat.GetFacts()["destination.otlp"] == "refusing" &&
				len(beat.GetDegraded()) == 1 && strings.HasPrefix(beat.GetDegraded()[0], "destination otlp: refusing since ") &&
				strings.HasSuffix(beat.GetDegraded()[0], ": 403 Forbidden")
		default:
			return false
		}
	})
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
)

const balanced = `apiVersion: busbar.dev/v1
kind: Destination
metadata: {name: tried}
spec: {otlp_http: {endpoint: "http://%s"}}
---
apiVersion: busbar.dev/v1
kind: Destination
metadata: {name: other}
spec: {otlp_grpc: {endpoint: "%s", tls: {insecure: true}}}
---
apiVersion: busbar.dev/v1
kind: Pipeline
metadata: {name: change}
spec:
  to: [tried]
  signals: [traces]
  services: ["load-*"]
  steps:
    - filter: 'IsMatch(span.attributes["url.path"], "7$")'
    - redact: {creditCards: true}
    - sample: {ratio: 0.5}
---
apiVersion: busbar.dev/v1
kind: Pipeline
metadata: {name: pass}
spec: {to: [other, tried], signals: [traces], services: ["load-*"]}
---
apiVersion: busbar.dev/v1
kind: Pipeline
metadata: {name: pass-again}
spec: {to: [other], signals: [traces], services: ["load-1"]}
`

// mixed makes spans, and now and then something that no pipeline takes, no destination has a use for, or nobody can decode.
func mixed(message, first int, now time.Time) (bus.Msg, error) {
	m, err := spans(message, first, now)
	switch message % 50 {
	case 10:
		m.Subject = root.OTLP(subject.Traces, subject.DefaultTenant, "", "stranger")
	case 20:
		m.Subject = root.OTLP(subject.Logs, subject.DefaultTenant, "", "load-0")
	case 30:
		m.Data = []byte("no OTLP at all")
	case 40:
		m.Subject = string(root) + ".otlp.nonsense"
	}
	return m, err
}

// TestBalance: in = out + dropped + pending at every stage and destination, to the last record, while a back end fails,
// refuses and takes a part, and two routers and two exporters share the work; and each counter counts.
func TestBalance(t *testing.T) {
	t.Parallel()
	l, err := newLab(t.Context(), bin, options{replicas: 2, resources: balanced})
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	load, err := publish(t.Context(), l.url(), 300, mixed)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []mood{takes, fails, refuses, picks} {
		l.tried.feel(m)
		asked := l.tried.asked.Load()
		eventually(t, fmt.Sprint("requests in mood ", m), func() bool { return l.tried.asked.Load() > asked+5 })
		if m == picks {
			eventually(t, "more requests", func() bool { return l.tried.asked.Load() > asked+100 })
		}
	}
	load.end()
	eventually(t, "nothing waits", func() bool {
		n, err := l.waiting(t.Context())
		return err == nil && n == 0
	})
	var all samples
	eventually(t, "the gauges say so", func() bool {
		all = samples{}
		for _, p := range slices.Concat(l.running[router], l.running[exporter]) {
			if err := all.read(p.scrape(t.Context())); err != nil {
				t.Fatal(err)
			}
		}
		return all.sum("busbar_router_pending_records")+all.sum("busbar_destination_pending_records") == 0
	})
	_, repeated := l.other.got.counts()
	arrived, _ := l.other.got.counts()
	in := in{acknowledged: load.acked.acknowledged(), other: arrived + repeated}
	if err := all.balance(in); err != nil {
		t.Error(err)
	}
	// What the equations are about is there, and each of them fails without it.
	counters := 0
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if all[key] == 0 || !balances(key) {
			continue
		}
		counters++
		without := maps.Clone(all)
		delete(without, key)
		if without.balance(in) == nil {
			t.Errorf("nothing is missing without %s", key)
		}
	}
	for _, reason := range []string{"filter", "sample", "unrouted", "ignored", "rejected"} {
		if all.sum("busbar_dropped_records_total", "reason", reason) == 0 {
			t.Errorf("nothing was dropped by reason %s", reason)
		}
	}
	for _, reason := range []string{"http_400", "undecodable", "subject"} {
		if all.sum("busbar_bus_dead_records_total", "reason", reason) == 0 {
			t.Errorf("no dead letters by reason %s", reason)
		}
	}
	t.Logf("%d records, %d counters", in.acknowledged, counters)
}

// balances tells whether a counter is one of those that the equations are about.
func balances(key string) bool {
	name, _, _ := strings.Cut(key, "{")
	return slices.Contains([]string{
		"busbar_bus_published_records_total", "busbar_bus_consumed_records_total", "busbar_bus_dead_records_total",
		"busbar_router_in_records_total", "busbar_router_out_records_total", "busbar_router_dropped_records_total",
		"busbar_router_sent_records_total", "busbar_router_merged_records_total", "busbar_dropped_records_total",
		"busbar_destination_records_total", "busbar_destination_dropped_records_total",
	}, name)
}

// samples are counters and gauges of several processes, added up.
type samples map[string]float64

func (s samples) read(page string) error {
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(page))
	if err != nil {
		return err
	}
	for name, family := range families {
		for _, m := range family.GetMetric() {
			key := name + "{"
			for _, l := range m.GetLabel() {
				key += l.GetName() + "=" + strconv.Quote(l.GetValue()) + ","
			}
			s[key+"}"] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return nil
}

// sum adds up the samples of a family whose labels have these values.
func (s samples) sum(name string, labels ...string) (sum float64) {
	for key, v := range s {
		matches := strings.HasPrefix(key, name+"{")
		for pair := range slices.Chunk(labels, 2) {
			matches = matches && (strings.Contains(key, "{"+pair[0]+"="+strconv.Quote(pair[1])+",") || strings.Contains(key, ","+pair[0]+"="+strconv.Quote(pair[1])+","))
		}
		if matches {
			sum += v
		}
	}
	return sum
}

// in is what is known from outside.
type in struct{ acknowledged, other int }

// balance returns the equations that do not hold.
func (s samples) balance(in in) error {
	var errs []error
	equal := func(what string, in, out float64) {
		if in != out {
			errs = append(errs, fmt.Errorf("%s: %v in, %v out", what, in, out))
		}
	}
	consumed := func(stream string, outcome ...string) (sum float64) {
		for _, o := range outcome {
			sum += s.sum("busbar_bus_consumed_records_total", "stream", stream, "outcome", o)
		}
		return sum
	}
	otlp := root.OTLPStream().Name
	equal("router consumes", float64(in.acknowledged), consumed(otlp, "acked", "dead", "dropped"))
	routed := s.sum("busbar_router_in_records_total", "pipeline", "pass")
	nowhere := s.sum("busbar_dropped_records_total", "reason", "unrouted") + s.sum("busbar_dropped_records_total", "reason", "ignored")
	astray := s.sum("busbar_bus_dead_records_total", "stream", otlp, "reason", "subject")
	equal("router routes", consumed(otlp, "acked", "dead"), routed+nowhere+astray)
	equal("router buries", consumed(otlp, "dead"), s.sum("busbar_bus_dead_records_total", "stream", otlp))
	for _, p := range []string{"change", "pass", "pass-again"} {
		equal("pipeline "+p, s.sum("busbar_router_in_records_total", "pipeline", p),
			s.sum("busbar_router_out_records_total", "pipeline", p)+s.sum("busbar_router_dropped_records_total", "pipeline", p))
	}
	equal("pipeline change sends", s.sum("busbar_router_out_records_total", "pipeline", "change"),
		s.sum("busbar_router_sent_records_total", "pipeline", "change", "destination", "tried"))
	equal("pipeline pass sends twice", 2*s.sum("busbar_router_out_records_total", "pipeline", "pass"), s.sum("busbar_router_sent_records_total", "pipeline", "pass"))
	equal("pipeline pass-again sends", s.sum("busbar_router_out_records_total", "pipeline", "pass-again"), s.sum("busbar_router_sent_records_total", "pipeline", "pass-again"))
	equal("router drops", s.sum("busbar_router_dropped_records_total")+nowhere, s.sum("busbar_dropped_records_total", "stage", "router"))
	for _, d := range []string{"tried", "other"} {
		stream := root.OutStream(d).Name
		stored := s.sum("busbar_bus_published_records_total", "stream", stream)
		equal("sent to "+d, s.sum("busbar_router_sent_records_total", "destination", d),
			stored+s.sum("busbar_bus_repeated_records_total", "stream", stream)+s.sum("busbar_router_merged_records_total", "destination", d))
		equal("stored for "+d, stored, consumed(stream, "acked", "dead", "dropped"))
		equal("taken by "+d, consumed(stream, "acked"),
			s.sum("busbar_destination_records_total", "destination", d)+s.sum("busbar_destination_dropped_records_total", "destination", d))
		equal("dead letters of "+d, consumed(stream, "dead"), s.sum("busbar_bus_dead_records_total", "stream", stream))
	}
	equal("exporter drops", s.sum("busbar_destination_dropped_records_total"), s.sum("busbar_dropped_records_total", "stage", "exporter"))
	equal("dead letters", s.sum("busbar_bus_dead_records_total"), s.sum("busbar_bus_published_records_total", "stream", root.DeadStream().Name))
	equal("arrived at other", float64(in.other), s.sum("busbar_destination_records_total", "destination", "other"))
	return errors.Join(errs...)
}

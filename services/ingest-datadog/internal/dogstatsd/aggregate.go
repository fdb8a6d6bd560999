// SPDX-License-Identifier: Apache-2.0

package dogstatsd

import (
	"bytes"
	"hash/maphash"
	"strings"
	"sync"
	"time"

	"github.com/busbar/busbar/services/ingest-datadog/internal/decode"
	"github.com/busbar/busbar/services/ingest-datadog/internal/mapping"
	"github.com/busbar/busbar/services/ingest-datadog/internal/otlp"
)

// Window is for how long samples are added up.
const Window = 10 * time.Second

const (
	shards    = 16
	maxSets   = 10_000 // different values of one set in a window
	maxLater  = 10_000 // samples with times of their own, events and checks, in a window and shard
	keySize   = 512    // bytes of a key that need no allocation to be looked up
	timerUnit = "millisecond"
)

// Aggregator adds samples up. Its methods may be called from several goroutines. Its memory is bounded by Limits; what is beyond
// is dropped and counted.
type Aggregator struct {
	contexts int // in each shard
	drop     func(reason string, n int)
	seen     func(name string, kind Kind, tags []string)
	seed     maphash.Seed
	shards   [shards]shard
}

// shard is a part of what is being added up.
type shard struct {
	mu     sync.Mutex
	series map[string]*series
	later  map[string]*later // by tenant
}

// series is what came of one metric with one set of tags in this window.
type series struct {
	tenant string
	sample Sample // name, kind, tags and container, of its own
	sum    float64
	last   float64
	set    map[string]struct{}
	values *mapping.Values
}

// later is what is not added up.
type later struct {
	samples []Sample
	events  []decode.Event
	checks  []decode.Check
}

// NewAggregator returns an empty Aggregator of at most so many series a window. Drop is told of lines that are
// lost, seen of each series of a window.
func NewAggregator(contexts int, drop func(reason string, n int), seen func(name string, kind Kind, tags []string)) *Aggregator {
	a := &Aggregator{contexts: max(1, contexts/shards), drop: drop, seen: seen, seed: maphash.MakeSeed()}
	for i := range a.shards {
		a.shards[i].reset()
	}
	return a
}

func (s *shard) reset() { s.series, s.later = map[string]*series{}, map[string]*later{} }

// Packet takes the lines of a packet of a tenant, which it does not keep. A line that cannot be read costs only itself.
func (a *Aggregator) Packet(tenant string, packet []byte) {
	for len(packet) > 0 {
		line := packet
		if i := bytes.IndexByte(packet, '\n'); i >= 0 {
			line, packet = packet[:i], packet[i+1:]
		} else {
			packet = nil
		}
		if line = bytes.TrimRight(line, "\r"); len(line) == 0 {
			continue
		}
		l, err := Parse(line)
		if err != nil {
			a.drop("statsd_"+err.Error(), 1)
			continue
		}
		if l.Event != nil || l.Check != nil || l.Sample.Time != 0 {
			a.keep(tenant, l)
			continue
		}
		a.add(tenant, &l.Sample)
	}
}

// add adds a sample to its series.
func (a *Aggregator) add(tenant string, s *Sample) {
	var space [keySize]byte
	key := appendKey(space[:0], tenant, s)
	to := &a.shards[maphash.Bytes(a.seed, key)%shards]
	to.mu.Lock()
	defer to.mu.Unlock()
	of := to.series[string(key)]
	made := of == nil
	if made {
		if len(to.series) >= a.contexts {
			a.drop("statsd_contexts", 1)
			return
		}
		of = &series{tenant: strings.Clone(tenant), sample: s.clone()}
	}
	good := false
	for rest, more := s.Values, true; more; {
		var value string
		value, rest, more = strings.Cut(rest, ":")
		if !of.add(value, s.Rate) {
			a.drop("statsd_value", 1)
			continue
		}
		good = true
	}
	if made && good {
		to.series[string(key)] = of
	}
}

func appendKey(b []byte, tenant string, s *Sample) []byte {
	b = append(append(b, byte(s.Kind)), tenant...)
	b = append(append(b, 0), s.Name...)
	b = append(append(b, 0), s.Tags...)
	b = append(append(b, 0), s.Container...)
	return append(append(b, 0), s.External...)
}

// clone is a sample that refers to no packet.
func (s *Sample) clone() Sample {
	c := *s
	for _, p := range []*string{&c.Name, &c.Tags, &c.Container, &c.External, &c.Values} {
		*p = strings.ToValidUTF8(strings.Clone(*p), "�")
	}
	return c
}

// add adds a value; it is false for one that cannot be.
func (of *series) add(text string, rate float64) bool {
	if of.sample.Kind == Set {
		if of.set == nil {
			of.set = map[string]struct{}{}
		}
		if _, known := of.set[text]; !known && len(of.set) >= maxSets {
			return false
		}
		of.set[strings.Clone(text)] = struct{}{}
		return true
	}
	v, err := number(text)
	if err != nil {
		return false
	}
	switch of.sample.Kind {
	case Counter:
		of.sum += v / rate
	case Gauge:
		of.last = v
	default:
		if of.values == nil {
			of.values = mapping.NewValues()
		}
		of.values.Add(v, 1/rate)
	}
	return true
}

// keep keeps what is not added up.
func (a *Aggregator) keep(tenant string, l Line) {
	to := &a.shards[maphash.String(a.seed, tenant)%shards]
	to.mu.Lock()
	defer to.mu.Unlock()
	of := to.later[tenant]
	if of == nil {
		of = &later{}
		to.later[strings.Clone(tenant)] = of
	}
	switch {
	case len(of.events)+len(of.checks)+len(of.samples) >= maxLater:
		a.drop("statsd_contexts", 1)
	case l.Event != nil:
		of.events = append(of.events, *l.Event)
	case l.Check != nil:
		of.checks = append(of.checks, *l.Check)
	default:
		of.samples = append(of.samples, l.Sample.clone())
	}
}

// Flush returns what came since the last Flush, by tenant: the window from start to end, in nanoseconds since the epoch.
func (a *Aggregator) Flush(m *mapping.Mapper, start, end uint64, instance string) map[string]*mapping.Output {
	out := map[string]*mapping.Output{}
	of := func(tenant string) *mapping.Output {
		if out[tenant] == nil {
			out[tenant] = mapping.NewOutput(0) // what is in it is bounded already
		}
		return out[tenant]
	}
	for i := range a.shards {
		s := &a.shards[i]
		s.mu.Lock()
		all, rest := s.series, s.later
		s.reset()
		s.mu.Unlock()
		for _, one := range all {
			mapped := one.mapped(start, end)
			a.seen(one.sample.Name, one.sample.Kind, mapped.Tags)
			_ = m.Sample(of(one.tenant), mapped, from(one.sample, instance)) // without limit there is no error
		}
		for tenant, l := range rest {
			a.rest(m, of(tenant), l, instance)
		}
	}
	return out
}

func from(s Sample, instance string) mapping.From {
	f := mapping.From{ContainerID: s.Container}
	if s.Container == "" {
		f.Instance = instance
	}
	return f
}

// mapped is the series as the mapping takes it.
func (of *series) mapped(start, end uint64) mapping.Sample {
	s := mapping.Sample{Name: of.sample.Name, Tags: decode.SplitTags(of.sample.Tags), External: of.sample.External, Start: start, Time: end}
	switch of.sample.Kind {
	case Counter:
		s.Shape, s.Value = otlp.Sum, of.sum
	case Gauge:
		s.Shape, s.Value = otlp.Gauge, of.last
	case Set:
		s.Shape, s.Value = otlp.Gauge, float64(len(of.set))
	default:
		s.Shape = otlp.Exponential
		if of.values == nil {
			of.values = mapping.NewValues()
		}
		s.Values = of.values.Value()
		if of.sample.Kind == Timer {
			s.Unit = timerUnit
		}
	}
	return s
}

// rest maps what is not added up: samples with times of their own go as they came.
func (a *Aggregator) rest(m *mapping.Mapper, out *mapping.Output, l *later, instance string) {
	for i := range l.samples {
		one := &series{sample: l.samples[i]}
		for value := range strings.SplitSeq(l.samples[i].Values, ":") {
			if !one.add(value, l.samples[i].Rate) {
				a.drop("statsd_value", 1)
			}
		}
		at := l.samples[i].Time
		_ = m.Sample(out, one.mapped(at-uint64(Window), at), from(one.sample, instance)) // without limit there is no error
	}
	who := mapping.From{Instance: instance}
	_ = m.Events(out, l.events, who)
	_ = m.Checks(out, l.checks, who)
}

// SPDX-License-Identifier: Apache-2.0

// Package cumulative adds up deltas for back ends that want each series cumulative, and keeps the sums on the bus, so that
// neither a restart nor a change of the owner resets a series or counts anything twice.
//
// A [State] is a function of the stream of its destination: messages of a shard are added in the order of the stream, each
// decision looks at nothing but the messages so far (the clock is the time at which the stream stored them), and each part of
// the series knows the sequence of the message up to which it holds everything. So a message that is read again changes
// nothing, whoever reads it, and two owners of a shard have the same samples, value by value, time by time. What does not fit
// into the limits is the exception: it depends on what else the process has.
//
// [Keeper] reads the stream, shares the shards with other processes, and keeps checkpoints.
//
// A series is a metric (name, unit and kind), the identity of a resource, and attributes. Instrumentation scopes are not told
// apart: deltas of two scopes that agree in everything else add up. What a series may cost is bounded: their number by
// Options.MaxSeries, their attributes in count and length, their life by Options.Expiration. Points that find no place are
// counted by reason, never silently left out.
package cumulative

import (
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/busbar/busbar/contract/subject"
)

// Reasons for which points are left out, see [State.Apply].
const (
	Overflow    = "series_limit" // as many series as Options.MaxSeries allows are live, or as one service may have
	Conflict    = "conflict"     // the name belongs to a metric of another type, or the series to another temporality
	Unsupported = "unsupported"  // exponential histograms, and a temporality that cannot be made cumulative
	Malformed   = "malformed"    // NaN or negative in a counter, buckets that do not fit their bounds, too many attributes
	Late        = "late"         // a delta that is older than the newest of its series by more than Options.Window
)

// Left counts the points that found no place, by reason. It is nil when all did.
type Left map[string]int

// Options shape a State.
type Options struct {
	Expiration time.Duration // after which a series that nothing was added to is forgotten
	Window     time.Duration // how far back a late delta is added
	MaxSeries  int           // as Prometheus counts them: each bucket of a histogram is one
	// ByAttributes tells resources apart by all their attributes, rather than by name, namespace and instance of the service.
	ByAttributes bool
	Queue        bool // Flush will be called
	View         View // nil for none
}

// View is who shows the series. It is called with the State locked.
type View interface {
	// Admit is told of a metric before its first series. If it returns false, points of the metric are left out as Conflict.
	Admit(m *Metric) bool
	// Forget is told when an admitted metric has no series any more.
	Forget(m *Metric)
}

// Defaults of Options.
const (
	// DefaultExpiration is that of the Collector's exporter.
	DefaultExpiration = 5 * time.Minute
	// DefaultWindow is how long an agent may be cut off and still have all that it sends later added, whatever the order.
	DefaultWindow = 10 * time.Minute
	// DefaultMaxSeries is ten thousand histograms of the usual buckets, about 100 MB of page.
	DefaultMaxSeries = 200_000
)

// State is the series of the shards that a process owns. Its methods may be called by several goroutines.
type State struct {
	options Options

	mu      sync.Mutex // guards what follows
	metrics map[MetricID]*Metric
	shards  [subject.Shards]*shard
	live    int // series, as Options.MaxSeries counts them
	numbers uint32
	queue   []*Series // changed since the last Flush
	clock   clock
	encoder encoder
	key     []byte // scratch
	left    Left   // of the message at hand
}

// Parts is into how many parts the series of a shard fall, each of which is one message on the bus.
const Parts = 16

// shard is the series of one shard.
type shard struct {
	position  uint64 // sequence of the last message added
	parts     [Parts]part
	resources map[string]*Resource // by identity
	recent    recent
	hidden    bool // its last owner may have shown what is still to be read
}

// part is the unit of a checkpoint.
type part struct {
	position  uint64 // sequence of the last message added, if that is more than the shard's
	dirty     bool   // it is not as it was last kept
	size      int    // at most, of its message in bytes
	series    map[string]*Series
	resources map[*Resource]int // series of each
}

// maxPart bounds a part so that it is a message, with room for descriptions of resources.
const maxPart = 400 << 10

// clock is that of the stream: the time of the last message that was read, and when it was. Messages are read in their order, so all
// owned shards have what came before.
type clock struct {
	message time.Time
	read    time.Time
	sure    bool // a message was read since the last shard was taken over
}

// now is what time it is where messages are stored, at the latest.
func (c clock) now() time.Time { return c.message.Add(time.Since(c.read)) }

// New returns a state that owns nothing.
func New(o Options) *State {
	return &State{options: o, metrics: make(map[MetricID]*Metric)}
}

// Own begins a shard without series, whose messages up to position are taken for added.
func (a *State) Own(number int, position uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.own(number, position)
}

func (a *State) own(number int, position uint64) *shard {
	a.clock.sure = false // the reader goes back to where the shard stands
	s := &shard{position: position, resources: make(map[string]*Resource)}
	for i := range s.parts {
		s.parts[i].series, s.parts[i].resources = make(map[string]*Series), make(map[*Resource]int)
	}
	a.shards[number] = s
	return s
}

// Hide has Look pass a shard over: its counters would be seen to go down.
func (a *State) Hide(number int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.shards[number]; s != nil {
		s.hidden = true
	}
}

// Reveal undoes Hide for all shards.
func (a *State) Reveal() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.shards {
		if s != nil {
			s.hidden = false
		}
	}
}

// Disown forgets a shard.
func (a *State) Disown(number int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.shards[number]
	if s == nil {
		return
	}
	for i := range s.parts {
		for _, series := range s.parts[i].series {
			a.remove(series)
		}
	}
	a.live -= len(s.resources)
	a.shards[number] = nil
	a.forget()
}

// Advance notes that there are no further messages of a shard up to position.
func (a *State) Advance(number int, position uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.shards[number]; s != nil {
		s.position = max(s.position, position)
	}
}

// Message is one of the stream.
type Message struct {
	Shard    int
	Sequence uint64
	ID       string    // two messages with the same one are the same; "" for none
	Time     time.Time // when the stream stored it
	Data     []byte    // an ExportMetricsServiceRequest
}

// Apply adds a message and tells whether it is new. One that was added before changes nothing, nor does one of a shard that is
// not owned. The error says that Data is not what it should be; then nothing has changed but the position.
func (a *State) Apply(m Message) (left Left, added bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.clock = clock{m.Time, time.Now(), true}
	s := a.shards[m.Shard]
	if s == nil || m.Sequence <= s.position {
		return nil, false, nil
	}
	s.position = m.Sequence
	if s.recent.repeats(m.ID, m.Sequence) {
		return nil, true, nil
	}
	metrics, err := new(pmetric.ProtoUnmarshaler).UnmarshalMetrics(m.Data)
	if err != nil {
		return nil, true, fmt.Errorf("decode metrics: %w", err)
	}
	a.left = nil
	b := &batch{State: a, shard: s, sequence: m.Sequence, now: m.Time.UnixNano()}
	for _, rm := range metrics.ResourceMetrics().All() {
		b.resource = b.findResource(rm.Resource().Attributes())
		for _, sm := range rm.ScopeMetrics().All() {
			for _, m := range sm.Metrics().All() {
				b.add(m)
			}
		}
	}
	return a.left, true, nil
}

// leave counts n points that found no place.
func (a *State) leave(reason string, n int) {
	if a.left == nil {
		a.left = make(Left)
	}
	a.left[reason] += n
}

// identifying tells whether an attribute tells resources apart.
func identifying(attribute string) bool {
	switch attribute {
	case "service.name", "service.namespace", "service.instance.id":
		return true
	}
	return false
}

// findResource finds or makes the resource with the attributes, and notes what they are now. It is nil when there is no place.
func (b *batch) findResource(attributes pcommon.Map) *Resource {
	want := identifying
	if b.options.ByAttributes {
		want = nil
	}
	key, whole := b.encoder.append(b.key[:0], attributes, want)
	if !whole { // it cannot be described; its series it still identifies
		key = key[:0]
		for _, name := range [...]string{"service.instance.id", "service.name", "service.namespace"} {
			if v, ok := attributes.Get(name); ok && v.AsString() != "" {
				key = appendText(key, name)
				key = appendText(key, string(Clean([]byte(v.AsString()), 0)))
			}
		}
	}
	b.key = key
	r := b.shard.resources[string(key)]
	if r == nil {
		if b.live >= b.options.MaxSeries {
			return nil
		}
		r = b.newResource(b.shard, Attributes(key))
	}
	r.touched = b.now
	if whole {
		b.key, _ = b.encoder.append(b.key[:0], attributes, nil)
	}
	if string(b.key) != string(r.Attributes) {
		r.Attributes = Attributes(b.key)
	}
	return r
}

func (a *State) newResource(s *shard, identity Attributes) *Resource {
	a.numbers++
	r := &Resource{Identity: identity, shard: s, number: a.numbers, hash: xxhash.Sum64String(string(identity))}
	s.resources[string(identity)] = r
	a.live++ // what describes it is a series too
	return r
}

// spareMetrics bounds metrics that no series was admitted for.
const spareMetrics = 1000

// metric finds or makes a metric. It is nil when it has no name that anybody would want, or the view refuses it.
func (a *State) metric(id MetricID, description string) *Metric {
	if len(id.Name) > MaxText || len(id.Unit) > MaxText {
		return nil
	}
	id.Name, id.Unit = strings.ToValidUTF8(id.Name, "\uFFFD"), strings.ToValidUTF8(id.Unit, "\uFFFD")
	m := a.metrics[id]
	if m == nil {
		if len(a.metrics) >= a.options.MaxSeries+spareMetrics {
			a.forget()
		}
		a.numbers++
		m = newMetric(id, string(Clean([]byte(description), 0)), a.numbers)
		m.refused = a.options.View != nil && !a.options.View.Admit(m)
		a.metrics[id] = m
	}
	if m.refused {
		return nil
	}
	return m
}

// partOf returns the part that a series falls into, whoever asks.
func (s *shard) partOf(m *Metric, r *Resource, attributes []byte) *part {
	var b [24]byte
	binary.LittleEndian.PutUint64(b[:], m.hash)
	binary.LittleEndian.PutUint64(b[8:], r.hash)
	binary.LittleEndian.PutUint64(b[16:], xxhash.Sum64(attributes))
	return &s.parts[xxhash.Sum64(b[:])%Parts]
}

// insert puts a series into its part.
func (a *State) insert(s *Series, p *part) {
	s.part, s.shown = p, true
	p.series[s.key] = s
	if p.resources[s.Resource]++; p.resources[s.Resource] == 1 {
		p.size += resourceSize(s.Resource)
	}
	p.size += s.size
	s.Metric.order = append(s.Metric.order, s)
	s.Metric.series++
	s.Resource.series++
}

// remove takes a series away. The order of its metric forgets it at the next sweep.
func (a *State) remove(s *Series) {
	p := s.part
	s.shown = false
	delete(p.series, s.key)
	if p.resources[s.Resource]--; p.resources[s.Resource] == 0 {
		delete(p.resources, s.Resource)
		p.size -= resourceSize(s.Resource)
	}
	p.size -= s.size
	p.dirty = true
	a.live -= cost(s.Metric.Kind, s.bounds)
	s.Metric.series--
	s.Resource.series--
}

// Sweep forgets series to which nothing was added for Options.Expiration, and the metrics and resources that have none left.
// It goes by the last message, so what may still be on its way finds what it belongs to. A series that comes back in time for
// the sweep to miss it begins anew all the same.
func (a *State) Sweep() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.clock.sure {
		return
	}
	now := a.clock.message.UnixNano()
	for _, s := range a.shards {
		if s != nil {
			a.sweep(s, now)
		}
	}
	a.forget()
}

func (a *State) sweep(s *shard, now int64) {
	for i := range s.parts {
		for _, series := range s.parts[i].series {
			if a.stale(series.touched, now) {
				a.remove(series)
			}
		}
	}
	for key, r := range s.resources {
		if r.series == 0 && a.stale(r.touched, now) {
			delete(s.resources, key)
			a.live--
		}
	}
}

func (a *State) stale(touched, now int64) bool { return now-touched >= int64(a.options.Expiration) }

// forget lets go of series that were removed and of metrics that have none left.
func (a *State) forget() {
	for id, m := range a.metrics {
		m.order = slices.DeleteFunc(m.order, func(s *Series) bool { return !s.shown })
		if m.series == 0 {
			delete(a.metrics, id)
			if !m.refused && a.options.View != nil {
				a.options.View.Forget(m)
			}
		}
	}
}

// Series is how many series are live, as Options.MaxSeries counts them.
func (a *State) Series() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.live
}

// Look calls metric with each metric and its series as they came, and resource with each resource, unless nothing was added to
// them for Options.Expiration or they are hidden. What they are called with must not be kept.
func (a *State) Look(metric func(*Metric, iter.Seq[*Series]), resource func(*Resource)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.clock.now().UnixNano()
	for _, m := range a.metrics {
		metric(m, func(yield func(*Series) bool) {
			for _, s := range m.order {
				if s.shown && !s.Resource.shard.hidden && !a.stale(s.touched, now) && !yield(s) {
					return
				}
			}
		})
	}
	for _, s := range a.shards {
		if s == nil || s.hidden {
			continue
		}
		for _, r := range s.resources {
			if !a.stale(r.touched, now) {
				resource(r)
			}
		}
	}
}

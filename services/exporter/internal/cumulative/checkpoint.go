// SPDX-License-Identifier: Apache-2.0

package cumulative

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"

	statev1 "github.com/busbar/busbar/contract/state/v1"
)

// seriesSize is what a series takes of its part at most, in bytes: fields of fixed size, its attributes, and for each bound its
// count, or the value at it.
func seriesSize(attributes, bounds int) int { return 96 + attributes + 18*bounds }

// resourceSize is what a resource takes of each part that needs it, without its description.
func resourceSize(r *Resource) int { return 32 + len(r.Identity) }

// maxDescriptions bounds what descriptions of resources take of a part, in bytes. What is left out comes with the next message.
const maxDescriptions = 64 << 10

// Position returns how far a shard has come, as it is to be kept with [State.Dirty], and the newest messages.
func (a *State) Position(number int) *statev1.Shard {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.shards[number]
	out := &statev1.Shard{Position: s.position}
	out.Ids, out.Sequences = s.recent.list()
	return out
}

// Dirty returns the numbers of the parts of a shard that are not as they were last kept.
func (a *State) Dirty(number int) []int {
	a.mu.Lock()
	defer a.mu.Unlock()
	var dirty []int
	for i := range a.shards[number].parts {
		if a.shards[number].parts[i].dirty {
			dirty = append(dirty, i)
		}
	}
	return dirty
}

// Pack returns a part as it is to be kept. The caller says with [State.Kept] when it is.
func (a *State) Pack(number, index int) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.shards[number]
	p := &s.parts[index]
	out := &statev1.Part{Position: max(s.position, p.position)}
	metrics, resources, described := make(map[*Metric]uint32), make(map[*Resource]uint32), 0
	for _, series := range p.series {
		m, ok := metrics[series.Metric]
		if !ok {
			m = uint32(len(out.Metrics)) //nolint:gosec // far below
			metrics[series.Metric] = m
			out.Metrics = append(out.Metrics, series.Metric.pack())
		}
		r, ok := resources[series.Resource]
		if !ok {
			r = uint32(len(out.Resources)) //nolint:gosec // far below
			resources[series.Resource] = r
			described += len(series.Resource.Attributes)
			out.Resources = append(out.Resources, series.Resource.pack(described <= maxDescriptions))
		}
		out.Series = append(out.Series, series.pack(m, r))
	}
	return out.MarshalVT()
}

// Kept notes that a part is kept as Pack returned it, provided that nothing was applied since.
func (a *State) Kept(number, index int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.shards[number].parts[index].dirty = false
}

// Soil has all parts of a shard that have series kept anew.
func (a *State) Soil(number int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.shards[number].parts {
		p := &a.shards[number].parts[i]
		p.dirty = p.dirty || len(p.series) > 0
	}
}

func (m *Metric) pack() *statev1.Metric {
	return &statev1.Metric{Name: m.Name, Unit: m.Unit, Description: m.Description, Kind: statev1.Kind(m.Kind)}
}

func (r *Resource) pack(described bool) *statev1.Resource {
	out := &statev1.Resource{Identity: r.Identity.list(), TouchedUnixNano: uint64(r.touched)} //nolint:gosec // after 1970
	if described {
		out.Attributes = r.Attributes.list()
	}
	return out
}

func (s *Series) pack(metric, resource uint32) *statev1.Series {
	return &statev1.Series{
		Metric: metric, Resource: resource, Attributes: s.Attributes.list(), Total: s.total,
		StartUnixNano: uint64(s.start), TimeUnixNano: uint64(s.stamp), TouchedUnixNano: uint64(s.touched), //nolint:gosec // after 1970
		Value: s.Value, Count: s.Count, Bounds: s.Bounds, Counts: s.Counts, Quantiles: s.Quantiles,
	}
}

// Restore begins a shard where its last owner has left it. The error says that what was kept is not what it should be; then
// the shard is not owned.
func (a *State) Restore(number int, at *statev1.Shard, parts [Parts][]byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.own(number, at.GetPosition())
	for i, id := range at.GetIds() {
		if i < len(at.GetSequences()) && i < recentIDs {
			s.recent.note(id, at.GetSequences()[i])
		}
	}
	for i, data := range parts {
		if len(data) == 0 {
			continue
		}
		if err := a.unpack(s, &s.parts[i], data); err != nil {
			a.shards[number] = nil
			return fmt.Errorf("restore part %d of shard %d: %w", i, number, err)
		}
	}
	return nil
}

func (a *State) unpack(s *shard, p *part, data []byte) error {
	in := new(statev1.Part)
	if err := in.UnmarshalVT(data); err != nil {
		return err
	}
	p.position = in.GetPosition()
	metrics, resources := make([]*Metric, len(in.GetMetrics())), make([]*Resource, len(in.GetResources()))
	for i, m := range in.GetMetrics() {
		metrics[i] = a.metric(MetricID{m.GetName(), m.GetUnit(), Kind(m.GetKind())}, m.GetDescription())
	}
	for i, r := range in.GetResources() {
		resources[i] = a.unpackResource(s, r)
	}
	for _, series := range in.GetSeries() {
		if int(series.GetMetric()) >= len(metrics) || int(series.GetResource()) >= len(resources) {
			return fmt.Errorf("series of metric %d and resource %d, there are %d and %d", series.GetMetric(), series.GetResource(), len(metrics), len(resources))
		}
		m := metrics[series.GetMetric()]
		if m == nil {
			continue // refused by the view
		}
		bounds, counts, quantiles := len(series.GetBounds()), len(series.GetCounts()), len(series.GetQuantiles())
		if m.Kind == Histogram && counts != bounds+1 || m.Kind == Summary && quantiles != bounds {
			return fmt.Errorf("series of %s has %d bounds, %d counts and %d quantiles", m.Name, bounds, counts, quantiles)
		}
		a.unpackSeries(p, m, resources[series.GetResource()], series)
	}
	p.dirty = false
	return nil
}

func (a *State) unpackResource(s *shard, in *statev1.Resource) *Resource {
	identity, touched := joined(in.GetIdentity()), int64(in.GetTouchedUnixNano()) //nolint:gosec // as it was packed
	r := s.resources[string(identity)]
	if r == nil {
		r = a.newResource(s, identity)
	}
	if touched > r.touched || r.Attributes == "" {
		r.touched, r.Attributes = max(touched, r.touched), joined(in.GetAttributes())
	}
	a.seen(touched)
	return r
}

// seen moves a clock that has not seen a message to when something was last added.
func (a *State) seen(touched int64) {
	if at := time.Unix(0, touched); at.After(a.clock.message) {
		a.clock.message, a.clock.read = at, time.Now()
	}
}

func (a *State) unpackSeries(p *part, m *Metric, r *Resource, in *statev1.Series) {
	attributes := joined(in.GetAttributes())
	key := binary.LittleEndian.AppendUint32(nil, m.number)
	key = binary.LittleEndian.AppendUint32(key, r.number)
	bounds := len(in.GetBounds())
	s := &Series{
		Metric: m, Resource: r, key: string(key) + string(attributes), total: in.GetTotal(), bounds: bounds,
		size: seriesSize(len(attributes)+keyNumbers, bounds), touched: int64(in.GetTouchedUnixNano()), //nolint:gosec // as it was packed
		start: pcommon.Timestamp(in.GetStartUnixNano()), stamp: pcommon.Timestamp(in.GetTimeUnixNano()),
		Value: in.GetValue(), Count: in.GetCount(), Bounds: in.GetBounds(), Counts: in.GetCounts(), Quantiles: in.GetQuantiles(),
	}
	s.Attributes = Attributes(s.key[keyNumbers:])
	if m.Kind == Histogram {
		if slices.Equal(m.bounds, s.Bounds) {
			s.Bounds = m.bounds
		} else {
			m.bounds = s.Bounds
		}
	}
	if p.series[s.key] == nil {
		a.live += cost(m.Kind, bounds)
		a.insert(s, p)
	}
}

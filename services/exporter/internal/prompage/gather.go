// SPDX-License-Identifier: Apache-2.0

package prompage

import (
	"iter"
	"maps"
	"math"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"

	"github.com/busbar/busbar/services/exporter/internal/cumulative"
)

// infoName is the family that shows resources.
const infoName = "target_info"

// gathering is a page in the making.
type gathering struct {
	*Page
	resources map[*cumulative.Resource][]label
	families  map[*family]*gathered
	infos     map[string]*dto.Metric
}

// gathered is a family of the page with its metrics by labels.
type gathered struct {
	*dto.MetricFamily
	byLabels map[string]*dto.Metric
}

// Gather returns a copy of the page, families in the order of their names. It implements prometheus.Gatherer: the page
// is consistent by construction, so the checks of a registry would only cost, and fail all of it for one fault.
func (p *Page) Gather() ([]*dto.MetricFamily, error) {
	p.gathering.Lock()
	defer p.gathering.Unlock()
	g := &gathering{
		Page:      p,
		resources: make(map[*cumulative.Resource][]label),
		families:  make(map[*family]*gathered),
		infos:     make(map[string]*dto.Metric),
	}
	p.state.Look(g.metric, g.info)
	page := make([]*dto.MetricFamily, 0, len(g.families)+1)
	for _, f := range g.families {
		page = append(page, f.MetricFamily)
	}
	if len(g.infos) > 0 {
		page = append(page, &dto.MetricFamily{
			Name: new(infoName), Help: new("Attributes of the resources whose series are on this page."), Type: dto.MetricType_GAUGE.Enum(),
			Metric: slices.Collect(maps.Values(g.infos)),
		})
	}
	slices.SortFunc(page, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return page, nil
}

// info shows a resource that can be told from others.
func (g *gathering) info(r *cumulative.Resource) {
	if r.Identity == "" {
		return
	}
	labels := g.labeler.append(g.labeler.resource(r.Identity), func(yield func(name, value string) bool) {
		for name, value := range r.Attributes.All() {
			if !identifying(name) && !yield(name, value) {
				return
			}
		}
	})
	shown, key := pairs(labels)
	g.infos[key] = &dto.Metric{Label: shown, Gauge: &dto.Gauge{Value: new(1.0)}}
}

// metric shows the series of a metric.
func (g *gathering) metric(m *cumulative.Metric, series iter.Seq[*cumulative.Series]) {
	of := g.Page.families.byMetric[m]
	if of == nil {
		return // it was not admitted
	}
	for s := range series {
		base, ok := g.resources[s.Resource]
		if !ok {
			base = g.labeler.resource(s.Resource.Identity)
			g.resources[s.Resource] = base
		}
		shown, key := pairs(g.labeler.append(slices.Clone(base), s.Attributes.All()))
		g.show(of, key, sample(s, shown))
	}
}

// show puts a series on the page. Two of the same labels, which come from two services that call themselves the same, are one.
func (g *gathering) show(of *family, key string, m *dto.Metric) {
	f := g.families[of]
	if f == nil {
		f = &gathered{&dto.MetricFamily{Name: &of.name, Help: &of.help, Type: of.kind.Enum()}, make(map[string]*dto.Metric)}
		g.families[of] = f
	}
	if same := f.byLabels[key]; same != nil {
		join(same, m)
		return
	}
	f.byLabels[key] = m
	f.Metric = append(f.Metric, m)
}

// join adds what adds up.
func join(to, from *dto.Metric) {
	switch {
	case to.Counter != nil:
		*to.Counter.Value += from.Counter.GetValue()
	case to.Histogram != nil:
		a, b := to.Histogram, from.Histogram
		if !slices.EqualFunc(a.Bucket, b.Bucket, func(x, y *dto.Bucket) bool { return x.GetUpperBound() == y.GetUpperBound() }) {
			return
		}
		*a.SampleSum += b.GetSampleSum()
		*a.SampleCount += b.GetSampleCount()
		for i, bucket := range b.Bucket {
			*a.Bucket[i].CumulativeCount += bucket.GetCumulativeCount()
		}
	}
}

func sample(s *cumulative.Series, labels []*dto.LabelPair) *dto.Metric {
	m := &dto.Metric{Label: labels}
	switch s.Metric.Kind {
	case cumulative.Counter:
		m.Counter = &dto.Counter{Value: new(s.Value)}
	case cumulative.Histogram:
		m.Histogram = histogram(s)
	case cumulative.Summary:
		m.Summary = summary(s)
	default:
		m.Gauge = &dto.Gauge{Value: new(s.Value)}
	}
	return m
}

func histogram(s *cumulative.Series) *dto.Histogram {
	h := &dto.Histogram{SampleSum: new(s.Value), SampleCount: new(s.Count), Bucket: make([]*dto.Bucket, len(s.Counts))}
	// One allocation each for what all buckets need: they are most of a page.
	buckets, below := make([]dto.Bucket, len(s.Counts)), make([]uint64, len(s.Counts))
	bounds := append(slices.Clone(s.Bounds), math.Inf(1))
	total := uint64(0)
	for i, n := range s.Counts {
		total += n
		below[i] = total
		buckets[i].CumulativeCount, buckets[i].UpperBound = &below[i], &bounds[i]
		h.Bucket[i] = &buckets[i]
	}
	return h
}

func summary(s *cumulative.Series) *dto.Summary {
	out := &dto.Summary{SampleSum: new(s.Value), SampleCount: new(s.Count)}
	for i, q := range s.Bounds {
		out.Quantile = append(out.Quantile, &dto.Quantile{Quantile: new(q), Value: new(s.Quantiles[i])})
	}
	return out
}

// SPDX-License-Identifier: Apache-2.0

package prompage

import (
	"math"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
)

// infoName is the family that shows resources.
const infoName = "target_info"

// Gather returns a copy of the page, families in the order of their names. It implements prometheus.Gatherer: the page
// is consistent by construction, so the checks of a registry would only cost, and fail all of it for one fault.
func (a *accumulator) Gather() ([]*dto.MetricFamily, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	page := make([]*dto.MetricFamily, 0, len(a.families)+1)
	for _, f := range a.families {
		if len(f.byKey) > 0 {
			page = append(page, f.gather())
		}
	}
	if info := a.gatherInfo(); len(info.Metric) > 0 {
		page = append(page, info)
	}
	slices.SortFunc(page, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return page, nil
}

// gatherInfo shows each resource that can be told from others.
func (a *accumulator) gatherInfo() *dto.MetricFamily {
	f := &dto.MetricFamily{
		Name: new(infoName), Help: new("Attributes of the resources whose series are on this page."), Type: dto.MetricType_GAUGE.Enum(),
	}
	for _, r := range a.resources {
		if len(r.labels) > len(a.labeler.base) {
			f.Metric = append(f.Metric, &dto.Metric{Label: labelPairs(r.info), Gauge: &dto.Gauge{Value: new(1.0)}})
		}
	}
	return f
}

func (f *family) gather() *dto.MetricFamily {
	types := [...]dto.MetricType{
		gauge: dto.MetricType_GAUGE, counter: dto.MetricType_COUNTER, histogram: dto.MetricType_HISTOGRAM, summary: dto.MetricType_SUMMARY,
	}
	out := &dto.MetricFamily{
		Name: new(f.name), Help: new(f.help), Type: types[f.kind].Enum(), Metric: make([]*dto.Metric, 0, len(f.byKey)),
	}
	for _, s := range f.order {
		if !s.shown {
			continue
		}
		m := &dto.Metric{Label: labelPairs(s.key)}
		switch f.kind {
		case gauge:
			m.Gauge = &dto.Gauge{Value: new(s.value)}
		case counter:
			m.Counter = &dto.Counter{Value: new(s.value)}
		case histogram:
			m.Histogram = s.histogram()
		case summary:
			m.Summary = s.summary()
		}
		out.Metric = append(out.Metric, m)
	}
	return out
}

func (s *series) histogram() *dto.Histogram {
	h := &dto.Histogram{SampleSum: new(s.value), SampleCount: new(s.count), Bucket: make([]*dto.Bucket, len(s.counts))}
	// One allocation each for what all buckets need: they are most of a page.
	buckets, below := make([]dto.Bucket, len(s.counts)), make([]uint64, len(s.counts))
	bounds := append(slices.Clone(s.bounds), math.Inf(1))
	total := uint64(0)
	for i, n := range s.counts {
		total += n
		below[i] = total
		buckets[i].CumulativeCount, buckets[i].UpperBound = &below[i], &bounds[i]
		h.Bucket[i] = &buckets[i]
	}
	return h
}

func (s *series) summary() *dto.Summary {
	out := &dto.Summary{SampleSum: new(s.value), SampleCount: new(s.count)}
	for i, q := range s.bounds {
		out.Quantile = append(out.Quantile, &dto.Quantile{Quantile: new(q), Value: new(s.quantiles[i])})
	}
	return out
}

// labelPairs shows a key, in the order of names.
func labelPairs(key string) []*dto.LabelPair {
	pairs := make([]*dto.LabelPair, 0, 16)
	for name, value := range keyLabels(key) {
		pairs = append(pairs, &dto.LabelPair{Name: &name, Value: &value})
	}
	slices.SortFunc(pairs, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
	return pairs
}

// SPDX-License-Identifier: Apache-2.0

package prompage

import (
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/otlptranslator"

	"github.com/busbar/busbar/services/exporter/internal/cumulative"
)

// family is all series of one name on the page.
type family struct {
	name, help string
	kind       dto.MetricType
	metrics    int // that have this name
}

// families gives metrics their names. Its methods are called with the State locked, and so one after another.
type families struct {
	namer    otlptranslator.MetricNamer
	byName   map[string]*family
	owners   map[string]*family // by each name that a family's samples have
	byMetric map[*cumulative.Metric]*family
}

func newFamilies(namespace string) *families {
	return &families{
		namer:    otlptranslator.MetricNamer{Namespace: namespace, WithMetricSuffixes: true},
		byName:   make(map[string]*family),
		owners:   make(map[string]*family),
		byMetric: make(map[*cumulative.Metric]*family),
	}
}

// typeOf returns what a kind is on the page, and for the names.
func typeOf(k cumulative.Kind) (dto.MetricType, otlptranslator.MetricType) {
	switch k {
	case cumulative.Counter:
		return dto.MetricType_COUNTER, otlptranslator.MetricTypeMonotonicCounter
	case cumulative.Histogram:
		return dto.MetricType_HISTOGRAM, otlptranslator.MetricTypeHistogram
	case cumulative.Summary:
		return dto.MetricType_SUMMARY, otlptranslator.MetricTypeSummary
	default:
		return dto.MetricType_GAUGE, otlptranslator.MetricTypeGauge
	}
}

// Admit finds or makes the family of a metric. It is false when the name is not legal or belongs to another one.
func (f *families) Admit(m *cumulative.Metric) bool {
	kind, named := typeOf(m.Kind)
	name, err := f.namer.Build(otlptranslator.Metric{Name: m.Name, Unit: m.Unit, Type: named})
	if err != nil || name == "" || len(name) > cumulative.MaxText {
		return false
	}
	of := f.byName[name]
	if of == nil {
		of = &family{name: name, help: m.Description, kind: kind}
		for _, n := range of.sampleNames() {
			if f.owners[n] != nil || n == infoName {
				return false
			}
		}
		for _, n := range of.sampleNames() {
			f.owners[n] = of
		}
		f.byName[name] = of
	}
	if of.kind != kind {
		return false
	}
	of.metrics++
	f.byMetric[m] = of
	return true
}

// Forget lets go of the name of a metric.
func (f *families) Forget(m *cumulative.Metric) {
	of := f.byMetric[m]
	delete(f.byMetric, m)
	if of.metrics--; of.metrics == 0 {
		delete(f.byName, of.name)
		for _, n := range of.sampleNames() {
			delete(f.owners, n)
		}
	}
}

// sampleNames are the names that samples of the family have, in either of the two text formats. A second family with one of
// them would spoil the page.
func (f *family) sampleNames() []string {
	switch f.kind {
	case dto.MetricType_COUNTER:
		return []string{f.name, strings.TrimSuffix(f.name, "_total")}
	case dto.MetricType_HISTOGRAM:
		return []string{f.name, f.name + "_bucket", f.name + "_sum", f.name + "_count"}
	case dto.MetricType_SUMMARY:
		return []string{f.name, f.name + "_sum", f.name + "_count"}
	default:
		return []string{f.name}
	}
}

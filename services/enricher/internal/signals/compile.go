// SPDX-License-Identifier: Apache-2.0

package signals

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"

	configv1 "github.com/busbar/busbar/contract/config/v1"
)

const beyla = "beyla-v2"

// compile reads a resource.
func compile(t *configv1.Telemetry) (*Settings, []Problem) {
	var problems []Problem
	report := func(path, format string, args ...any) {
		problems = append(problems, Problem{path, fmt.Sprintf(format, args...)})
	}
	s := &Settings{
		Exponential: t.GetHistograms().GetKind() == configv1.Histograms_KIND_EXPONENTIAL,
		Durations:   durations(t.GetHistograms().GetDurations(), report),
		Sizes:       sizes(t.GetHistograms().GetSizes(), report),
		MaxSeries:   cmp.Or(int(t.GetMaxSeries()), defaultSeries),
		MaxLength:   cmp.Or(int(t.GetMaxLength()), maxLength),
		Source:      "busbar",
	}
	if s.MaxSeries > maxSeries {
		report("maxSeries", "want at most %d, got %d", maxSeries, s.MaxSeries)
	}
	if s.MaxLength > maxLength {
		report("maxLength", "want at most %d, got %d", maxLength, s.MaxLength)
	}
	globs("services", t.GetServices(), report)
	globs("namespaces", t.GetNamespaces(), report)
	s.Metrics = families(t.GetMetrics())
	s.Attributes = attributes(t, report)
	switch t.GetCompat() {
	case "":
	case beyla:
		s.Beyla, s.Source = true, "beyla"
		s.SpansLegacy = s.SpansLegacy || s.Spans
	default:
		report("compat", "want %q, got %.50q", beyla, t.GetCompat())
	}
	return s, problems
}

type reporter func(path, format string, args ...any)

func globs(field string, texts []string, report reporter) {
	for i, glob := range texts {
		if glob == "" {
			report(fmt.Sprintf("%s[%d]", field, i), "want a name or a glob, got nothing")
		}
	}
}

func families(asked []configv1.Telemetry_Metric) (m Metrics) {
	for _, metric := range asked {
		switch metric {
		case configv1.Telemetry_METRIC_REQUESTS:
			m.Requests = true
		case configv1.Telemetry_METRIC_SPANS:
			m.Spans = true
		case configv1.Telemetry_METRIC_SPANS_LEGACY:
			m.SpansLegacy = true
		case configv1.Telemetry_METRIC_SPAN_SIZES:
			m.SpanSizes = true
		case configv1.Telemetry_METRIC_SERVICE_GRAPH:
			m.Graph = true
		case configv1.Telemetry_METRIC_INFO:
			m.Info = true
		case configv1.Telemetry_METRIC_UNSPECIFIED:
		}
	}
	m.Requests = m.Requests || len(asked) == 0
	return m
}

// attributes reads include and exclude.
func attributes(t *configv1.Telemetry, report reporter) Attributes {
	a := Attributes{Method: true, Status: true, Route: true, Address: true, Port: true, Scheme: true}
	present := map[string]*bool{
		"http.request.method": &a.Method, "http.response.status_code": &a.Status, "http.route": &a.Route,
		"server.address": &a.Address, "server.port": &a.Port, "url.scheme": &a.Scheme,
	}
	extra := map[string]*bool{"url.path": &a.Path, "client.address": &a.Client, "error.type": &a.Fault}
	for i, name := range t.GetInclude() {
		switch {
		case extra[name] != nil:
			*extra[name] = true
		case present[name] == nil:
			report(fmt.Sprintf("include[%d]", i), "unknown attribute %.50q (want one of url.path, client.address, error.type)", name)
		}
	}
	for i, name := range t.GetExclude() {
		switch {
		case present[name] != nil:
			*present[name] = false
		case extra[name] != nil:
			*extra[name] = false
		default:
			report(fmt.Sprintf("exclude[%d]", i), "unknown attribute %.50q (want one of http.request.method, http.response.status_code, "+
				"http.route, server.address, server.port, url.scheme)", name)
		}
	}
	return a
}

// durations reads upper bounds in seconds, which are compared in nanoseconds.
func durations(asked []float64, report reporter) *Bounds {
	if len(asked) == 0 {
		asked = []float64{0, .005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10}
	}
	return newBounds("histograms.durations", asked, 1e9, maxDurations, report)
}

// sizes reads upper bounds in bytes.
func sizes(asked []float64, report reporter) *Bounds {
	if len(asked) == 0 {
		asked = []float64{0, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192}
	}
	return newBounds("histograms.sizes", asked, 1, maxSizes, report)
}

// Bounds are the upper bounds of the buckets of a histogram; the last bucket has none.
type Bounds struct {
	Upper  []float64 // in the unit of the metric
	Packed []byte    // the same as OTLP has them
	whole  []uint64  // in that of what is measured: the largest value of the bucket
}

func newBounds(path string, upper []float64, scale float64, limit int, report reporter) *Bounds {
	b := &Bounds{Upper: upper}
	if len(upper) > limit {
		report(path, "want at most %d bounds, got %d", limit, len(upper))
	}
	for i, v := range upper {
		if !(v >= 0) || v*scale > math.MaxInt64 || i > 0 && v <= upper[i-1] { // NaN is not greater either
			report(fmt.Sprintf("%s[%d]", path, i), "want bounds of at least 0 in ascending order, got %v", v)
			continue
		}
		b.whole = append(b.whole, uint64(math.Round(v*scale)))
		b.Packed = binary.LittleEndian.AppendUint64(b.Packed, math.Float64bits(v))
	}
	return b
}

// Bucket returns the first bucket whose upper bound is not below v.
func (b *Bounds) Bucket(v uint64) int {
	for i, bound := range b.whole {
		if v <= bound {
			return i
		}
	}
	return len(b.whole)
}

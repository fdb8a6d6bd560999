// SPDX-License-Identifier: Apache-2.0

package prompage

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// Reasons for which points are left out, see [Page.Add].
const (
	Overflow    = "series_limit" // as many series as Options.MaxSeries allows are live
	Conflict    = "conflict"     // the name belongs to a metric of another type, or the series to another temporality
	Unsupported = "unsupported"  // exponential histograms, and a temporality that Prometheus cannot show
	Malformed   = "malformed"    // NaN or negative in a counter, buckets that do not fit their bounds, too many labels
)

// Left counts the points that found no place on the page, by reason. It is nil when all did.
type Left map[string]int

// accumulator is the state of a page.
type accumulator struct {
	options Options
	namer   otlptranslator.MetricNamer

	mu        sync.Mutex // guards what follows
	recent    recent
	labeler   labeler
	resources map[string]*resource // by key of their identity
	families  map[string]*family   // by name on the page
	owners    map[string]*family   // by each name that a family's samples have
	names     map[metricID]string  // on the page, by what the metric is; "" when it has no legal name
	live      int                  // series, as Options.MaxSeries counts
	key       []byte               // scratch
	left      Left                 // of the request at hand
}

// metricID is what the name on the page depends on.
type metricID struct {
	name, unit string
	kind       kind
}

// kind is the type of a family.
type kind uint8

const (
	gauge kind = iota
	counter
	histogram
	summary
)

// family is all series of one name.
type family struct {
	name, help string
	kind       kind
	byKey      map[string]*series
	order      []*series // as they came, so that the page stays in order
	bounds     []float64 // of the histogram seen last: series share them
}

// series is one set of labels of a family. Which fields count depends on the kind.
type series struct {
	key      string
	resource *resource
	shown    bool      // it is on the page
	size     int       // bounds that it was admitted with
	touched  time.Time // when something was last added to it
	total    bool      // it is told totals; otherwise it adds up deltas
	stamp    pcommon.Timestamp

	value     float64 // of gauge and counter; the sum of histogram and summary
	count     uint64
	bounds    []float64 // of histogram buckets but the last; of a summary, its quantiles
	counts    []uint64  // of histogram buckets, one more than bounds
	quantiles []float64 // values at the quantiles
}

// resource is what produced series.
type resource struct {
	labels  []byte // key of job, instance, service_name, service_namespace and the constant labels
	info    string // key of all labels of target_info
	touched time.Time
	series  int // on the page
}

func newAccumulator(o Options) *accumulator {
	return &accumulator{
		options:   o,
		namer:     otlptranslator.MetricNamer{Namespace: o.Namespace, WithMetricSuffixes: true},
		recent:    newRecent(),
		labeler:   newLabeler(o.ConstLabels),
		resources: make(map[string]*resource),
		families:  make(map[string]*family),
		owners:    make(map[string]*family),
		names:     make(map[metricID]string),
	}
}

// Add takes in the points of an ExportMetricsServiceRequest, unless a request of the same id was taken in before. The
// error says that it is none; then nothing has changed.
func (a *accumulator) Add(id string, request []byte, now time.Time) (Left, error) {
	metrics, err := new(pmetric.ProtoUnmarshaler).UnmarshalMetrics(request)
	if err != nil {
		return nil, fmt.Errorf("decode metrics: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.recent.has(id) {
		return nil, nil
	}
	a.recent.add(id)
	a.left = nil
	for _, rm := range metrics.ResourceMetrics().All() {
		r := a.resource(rm.Resource().Attributes(), now)
		for _, sm := range rm.ScopeMetrics().All() {
			for _, m := range sm.Metrics().All() {
				a.metric(r, m, now)
			}
		}
	}
	return a.left, nil
}

// leave counts n points that found no place.
func (a *accumulator) leave(reason string, n int) {
	if a.left == nil {
		a.left = make(Left)
	}
	a.left[reason] += n
}

// resource finds or makes the resource with the attributes, and notes what they are now. It is nil when the page is full.
func (a *accumulator) resource(attributes pcommon.Map, now time.Time) *resource {
	text := func(name string) string {
		if v, ok := attributes.Get(name); ok {
			return v.AsString()
		}
		return ""
	}
	name, namespace, instance := text("service.name"), text("service.namespace"), text("service.instance.id")
	job := name
	if namespace != "" && name != "" {
		job = namespace + "/" + name
	}
	a.key = append(a.key[:0], a.labeler.base...)
	for _, l := range [...][2]string{{"instance", instance}, {"job", job}, {"service_name", name}, {"service_namespace", namespace}} {
		if l[1] != "" {
			a.key = appendText(a.key, l[0])
			a.key = appendText(a.key, string(clean([]byte(l[1]), 0)))
		}
	}
	r := a.resources[string(a.key)]
	if r == nil {
		if a.live >= a.options.MaxSeries {
			return nil
		}
		r = &resource{labels: slices.Clone(a.key)}
		a.resources[string(a.key)] = r
		a.live++ // target_info
	}
	r.touched = now
	// The info metric cannot tell a resource that has too many attributes; its series it still identifies.
	info, ok := a.labeler.append(a.key, attributes, identifying)
	a.key = info
	if !ok {
		info = r.labels
	}
	if string(info) != r.info {
		r.info = string(info)
	}
	return r
}

// identifying tells whether an attribute is on every series, and so not once more on target_info.
func identifying(attribute string) bool {
	switch attribute {
	case "service.name", "service.namespace", "service.instance.id":
		return true
	}
	return false
}

// family finds or makes the family of a metric. It is nil when the name belongs to another one.
func (a *accumulator) family(m pmetric.Metric, k kind) *family {
	name := a.name(metricID{m.Name(), m.Unit(), k})
	if name == "" {
		return nil
	}
	if f := a.families[name]; f != nil {
		if f.kind != k {
			return nil
		}
		return f
	}
	f := &family{name: name, help: string(clean([]byte(m.Description()), 0)), kind: k, byKey: make(map[string]*series)}
	for _, n := range f.sampleNames() {
		if a.owners[n] != nil || n == infoName {
			return nil
		}
	}
	for _, n := range f.sampleNames() {
		a.owners[n] = f
	}
	a.families[name] = f
	return f
}

// name returns the name on the page of a metric, "" if it has none.
func (a *accumulator) name(id metricID) string {
	if len(id.name)+len(id.unit) > 2*maxValue {
		return "" // it would be too long on the page, and is not worth remembering
	}
	if name, ok := a.names[id]; ok {
		return name
	}
	types := [...]otlptranslator.MetricType{
		gauge: otlptranslator.MetricTypeGauge, counter: otlptranslator.MetricTypeMonotonicCounter,
		histogram: otlptranslator.MetricTypeHistogram, summary: otlptranslator.MetricTypeSummary,
	}
	name, err := a.namer.Build(otlptranslator.Metric{Name: id.name, Unit: id.unit, Type: types[id.kind]})
	if err != nil || len(name) > maxValue {
		name = ""
	}
	if len(a.names) >= maxNameCache {
		clear(a.names)
	}
	a.names[id] = name
	return name
}

// sampleNames are the names that samples of the family have, in either of the two text formats. A second family with one of
// them would spoil the page.
func (f *family) sampleNames() []string {
	switch f.kind {
	case counter:
		return []string{f.name, strings.TrimSuffix(f.name, "_total")}
	case histogram:
		return []string{f.name, f.name + "_bucket", f.name + "_sum", f.name + "_count"}
	case summary:
		return []string{f.name, f.name + "_sum", f.name + "_count"}
	default:
		return []string{f.name}
	}
}

// sweep forgets series to which nothing was added for Options.Expiration, and the families and resources that have none left.
func (a *accumulator) sweep(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	stale := func(t time.Time) bool { return now.Sub(t) >= a.options.Expiration }
	for name, f := range a.families {
		f.order = slices.DeleteFunc(f.order, func(s *series) bool {
			if s.shown && stale(s.touched) {
				a.remove(f, s)
			}
			return !s.shown
		})
		if len(f.byKey) == 0 {
			delete(a.families, name)
			for _, n := range f.sampleNames() {
				delete(a.owners, n)
			}
		}
	}
	for key, r := range a.resources {
		if r.series == 0 && stale(r.touched) {
			delete(a.resources, key)
			a.live--
		}
	}
}

// Series is how many series are live, as Options.MaxSeries counts them.
func (a *accumulator) Series() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.live
}

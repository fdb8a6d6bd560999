// SPDX-License-Identifier: Apache-2.0

package mapping

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/DataDog/datadog-agent/pkg/proto/pbgo/trace"

	"github.com/busbar/busbar/services/ingest-datadog/internal/decode"
	"github.com/busbar/busbar/services/ingest-datadog/internal/otlp"
)

// statsMetric is the metric of what tracers count before they sample, as they name it when they send OTLP themselves.
const statsMetric = "traces.span.sdk.metrics.duration"

// nanosecondsLog is the binary logarithm of a second in nanoseconds, which is what sketches of durations hold.
var nanosecondsLog = math.Log2(1e9) //nolint:gochecknoglobals // a constant, but for the compiler

// Stats maps what a process counted before it sampled.
func (m *Mapper) Stats(out *Output, p *trace.ClientStatsPayload, from From) error {
	for _, b := range p.Stats {
		if b == nil {
			continue
		}
		for _, g := range b.Stats {
			if g == nil {
				continue
			}
			if err := m.group(out, p, b, g, from); err != nil {
				return err
			}
		}
	}
	return nil
}

// group maps a group of spans: those that failed and those that did not.
func (m *Mapper) group(out *Output, p *trace.ClientStatsPayload, b *trace.ClientStatsBucket, g *trace.ClientGroupedStats, from From) error {
	if b.Start == 0 || b.Start > math.MaxInt64/2 || b.Duration > math.MaxInt64/2 {
		out.Dropped[NoTime]++
		return nil
	}
	failed := min(g.Errors, g.Hits)
	fine, err := durations(g.OkSummary, g.Hits-failed)
	if err != nil {
		out.Dropped[BadSketch]++
	}
	bad, err := durations(g.ErrorSummary, failed)
	if err != nil {
		out.Dropped[BadSketch]++
	}
	share(fine, bad, float64(g.Duration)/1e9)
	resource := m.counted(p, g, from)
	for _, of := range []struct {
		status string
		value  *otlp.ExponentialValue
	}{{"STATUS_CODE_UNSET", fine}, {"STATUS_CODE_ERROR", bad}} {
		if of.value.Count == 0 {
			continue
		}
		attributes := m.groupAttributes(out, g, of.status)
		err := out.points.Add(resource, m.scope(), otlp.Metric{Name: statsMetric, Unit: "s", Shape: otlp.Exponential}, otlp.Point{
			Attributes: otlp.PointAttributes(otlp.Exponential, attributes), Start: b.Start, Time: b.Start + b.Duration, Exponential: of.value,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// counted is the process that counted. A group of another service is of what it called.
func (m *Mapper) counted(p *trace.ClientStatsPayload, g *trace.ClientGroupedStats, from From) otlp.Resource {
	tags, _ := m.sort(p.Tags)
	attributes := tags.resource
	force(&attributes, "service.name", cmp.Or(p.Service, baseTag(g), g.Service))
	set(&attributes, "service.version", p.Version)
	force(&attributes, "deployment.environment.name", p.Env)
	force(&attributes, "host.name", p.Hostname)
	set(&attributes, "container.id", p.ContainerID)
	set(&attributes, "container.image.tags", p.ImageTag)
	set(&attributes, "telemetry.sdk.language", sdkLanguage(cmp.Or(p.Lang, from.Language)))
	set(&attributes, "telemetry.distro.version", cmp.Or(p.TracerVersion, from.TracerVersion))
	from.Instance = cmp.Or(p.RuntimeID, from.Instance)
	return m.resource(attributes, from)
}

const basePrefix = "_dd.base_service:"

func baseTag(g *trace.ClientGroupedStats) string {
	for _, t := range g.PeerTags {
		if b, ok := strings.CutPrefix(t, basePrefix); ok {
			return b
		}
	}
	return ""
}

// groupAttributes are those that Datadog's own export has.
func (m *Mapper) groupAttributes(out *Output, g *trace.ClientGroupedStats, status string) []otlp.Pair {
	var all []otlp.Pair
	text := func(key, value string) {
		if value != "" {
			all = append(all, pair(key, value))
		}
	}
	text("span.name", g.Resource)
	if g.SpanKind != "" {
		text("span.kind", "SPAN_KIND_"+strings.ToUpper(g.SpanKind))
	}
	text("status.code", status)
	text("http.request.method", g.HTTPMethod)
	if g.HTTPStatusCode != 0 {
		all = append(all, otlp.Pair{Key: "http.response.status_code", Value: otlp.Integer(int64(g.HTTPStatusCode))})
	}
	text("http.route", g.HTTPEndpoint)
	text("rpc.response.status_code", g.GRPCStatusCode)
	text("service.name", g.Service)
	text("datadog.operation.name", g.Name)
	text("datadog.span.type", g.Type)
	switch g.IsTraceRoot {
	case trace.Trilean_TRUE:
		all = append(all, otlp.Pair{Key: "datadog.is_trace_root", Value: otlp.Truth(true)})
	case trace.Trilean_FALSE:
		all = append(all, otlp.Pair{Key: "datadog.is_trace_root", Value: otlp.Truth(false)})
	case trace.Trilean_NOT_SET:
	}
	all = append(all, otlp.Pair{Key: "datadog.span.top_level", Value: otlp.Truth(g.TopLevelHits > 0)})
	if g.Synthetics {
		all = append(all, otlp.Pair{Key: "datadog.synthetics", Value: otlp.Truth(true)})
	}
	for _, tags := range [][]string{g.PeerTags, g.SpanDerivedPrimaryTags, g.AdditionalMetricTags} {
		for _, t := range tags[:min(len(tags), maxTags)] {
			if key, value := cut(t); !strings.HasPrefix(key, "_") {
				set(&all, peerName(key), value)
			}
		}
		if len(tags) > maxTags {
			out.Left[TooMany]++
		}
	}
	slices.SortFunc(all, func(a, b otlp.Pair) int { return strings.Compare(a.Key, b.Key) })
	return all
}

// peerName is what OpenTelemetry calls a tag about the other side.
func peerName(tag string) string {
	switch s, _ := place(tag); s {
	case server:
		return "server.address"
	case namespace:
		return "db.namespace"
	case database:
		return "db.system.name"
	default:
		return tag
	}
}

// durations makes a distribution in seconds of a sketch in nanoseconds. Sketches hold what was looked at, and count is weighted by
// sampling: the distribution is blown up to it, in whole numbers. A sketch that cannot be read, or is none, gives all to zero.
func durations(data []byte, count uint64) (*otlp.ExponentialValue, error) {
	v := &otlp.ExponentialValue{Scale: scale}
	if count == 0 {
		return v, nil
	}
	b, err := decode.Sketch(data)
	total := 0.0
	if b != nil {
		total = b.Zero
		for _, n := range b.Positive {
			total += n
		}
	}
	if b == nil || !(total > 0) || math.IsInf(total, 0) {
		v.Zero, v.Count = count, count
		return v, err
	}
	given, seen := uint64(0), 0.0
	next := func(n float64) uint64 {
		seen += n
		upTo := min(uint64(math.Round(seen/total*float64(count))), count)
		part := upTo - min(given, upTo)
		given = max(given, upTo)
		return part
	}
	v.Zero = next(b.Zero)
	step := math.Log2(b.Gamma) * perOctave
	for _, index := range slices.Sorted(maps.Keys(b.Positive)) {
		n := next(b.Positive[index])
		low := (float64(index)-b.Offset)*step - nanosecondsLog*perOctave
		if math.Abs(low) < 1<<17 { // a number that a float64 can be
			spread(&v.Positive, low, step, n)
			v.Sum += float64(n) * math.Exp2((low+step/2)/perOctave)
		} else {
			v.Zero += n
		}
	}
	v.Count = v.Total()
	return v, nil
}

// share makes the sums of two distributions the total that is known of both together.
func share(a, b *otlp.ExponentialValue, total float64) {
	estimate := a.Sum + b.Sum
	for _, v := range []*otlp.ExponentialValue{a, b} {
		switch {
		case estimate > 0:
			v.Sum *= total / estimate
		case a.Count+b.Count > 0:
			v.Sum = total * float64(v.Count) / float64(a.Count+b.Count)
		}
		v.HasSum = true
	}
}

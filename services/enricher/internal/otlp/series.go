// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"

	"github.com/busbar/busbar/services/enricher/internal/route"
)

const (
	durationBounds = 15
	sizeBounds     = 10
)

// Upper bounds of the buckets of durations, in seconds, and of sizes, in bytes. The last bucket has none.
func durations() [durationBounds]float64 {
	return [...]float64{0, .005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10}
}

func sizes() [sizeBounds]float64 {
	return [...]float64{0, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192}
}

// key tells the series of a process apart.
type key struct {
	method, route, address string
	port, status           uint32
	side                   route.Side
	tls                    bool
}

func (k key) compare(o key) int {
	return cmp.Or(
		cmp.Compare(k.route, o.route), cmp.Compare(k.method, o.method), cmp.Compare(k.status, o.status),
		cmp.Compare(k.address, o.address), cmp.Compare(k.port, o.port), cmp.Compare(k.scheme(), o.scheme()),
	)
}

func (k key) scheme() string { return (&exchange{tls: k.tls}).scheme() }

// otherAddress stands for the addresses that a service has too many of.
const otherAddress = "other"

// series counts the exchanges of one key.
type series struct {
	key
	duration [durationBounds + 1]uint64
	seconds  float64 // sum
	request  sizeHistogram
	response sizeHistogram
}

type sizeHistogram struct {
	buckets    [sizeBounds + 1]uint64
	count, sum uint64
}

func (h *sizeHistogram) add(bounds *[sizeBounds]float64, size uint64) {
	h.buckets[bucket(bounds[:], float64(size))]++
	h.count++
	h.sum = min(h.sum, math.MaxUint64-size) + size
}

// bucket returns the first bucket whose upper bound is not below v.
func bucket(bounds []float64, v float64) int {
	for i, bound := range bounds {
		if v <= bound {
			return i
		}
	}
	return len(bounds)
}

// count adds an exchange to the series that it belongs to.
func (e *Encoder) count(b *block, service string, x *exchange) {
	k := key{x.method, x.route, x.measured(), x.serverPort(), x.status, x.side, x.tls}
	s := b.series[k]
	if s == nil {
		s = e.newSeries(b, service, k)
	}
	seconds := float64(x.end-x.start) / 1e9
	s.duration[bucket(e.durations[:], seconds)]++
	s.seconds += seconds
	if x.hasRequest {
		s.request.add(&e.sizes, x.requestBody)
	}
	if x.hasResponse {
		s.response.add(&e.sizes, x.responseBody)
	}
}

func (e *Encoder) newSeries(b *block, service string, k key) *series {
	counted := k
	if !e.Peers.Admit(service, k.address, k.port) {
		counted.address, counted.port = otherAddress, 0
	}
	s := b.series[counted]
	if s == nil {
		s = &series{key: counted}
		b.series[counted] = s
		b.sorted = append(b.sorted, s)
	}
	b.series[k] = s
	return s
}

// Fields of Metric, Histogram and HistogramDataPoint.
const (
	metricName        = tag(1<<3 | wireBytes)
	metricDescription = tag(2<<3 | wireBytes)
	metricUnit        = tag(3<<3 | wireBytes)
	metricHistogram   = tag(9<<3 | wireBytes)

	histogramPoints      = tag(1<<3 | wireBytes)
	histogramTemporality = tag(2<<3 | wireVarint)
	temporalityDelta     = 1

	pointStart      = tag(2<<3 | wireFixed64)
	pointTime       = tag(3<<3 | wireFixed64)
	pointCount      = tag(4<<3 | wireFixed64)
	pointSum        = tag(5<<3 | wireFixed64)
	pointBuckets    = tag(6<<3 | wireBytes)
	pointBounds     = tag(7<<3 | wireBytes)
	pointAttributes = tag(9<<3 | wireBytes)
)

// instrument is one metric, made from the series of one side.
type instrument struct {
	name, description, unit string
	side                    route.Side
	// append appends a data point, less time and attributes; nothing if the series has none.
	append func(e *Encoder, b []byte, s *series) []byte
}

func instruments() []instrument {
	return []instrument{
		{"http.client.request.body.size", "Size of HTTP client request bodies.", "By", route.Client, appendRequest},
		{"http.client.request.duration", "Duration of HTTP client requests.", "s", route.Client, appendDuration},
		{"http.client.response.body.size", "Size of HTTP client response bodies.", "By", route.Client, appendResponse},
		{"http.server.request.body.size", "Size of HTTP server request bodies.", "By", route.Server, appendRequest},
		{"http.server.request.duration", "Duration of HTTP server requests.", "s", route.Server, appendDuration},
		{"http.server.response.body.size", "Size of HTTP server response bodies.", "By", route.Server, appendResponse},
	}
}

func appendDuration(e *Encoder, b []byte, s *series) []byte {
	count := uint64(0)
	for _, n := range s.duration {
		count += n
	}
	return appendHistogram(b, count, s.seconds, s.duration[:], e.durations[:])
}

func appendRequest(e *Encoder, b []byte, s *series) []byte  { return s.request.append(e, b) }
func appendResponse(e *Encoder, b []byte, s *series) []byte { return s.response.append(e, b) }

func (h *sizeHistogram) append(e *Encoder, b []byte) []byte {
	if h.count == 0 {
		return b
	}
	return appendHistogram(b, h.count, float64(h.sum), h.buckets[:], e.sizes[:])
}

func appendHistogram(b []byte, count uint64, sum float64, buckets []uint64, bounds []float64) []byte {
	b = appendFixed64(b, pointCount, count)
	b = appendDouble(b, pointSum, sum)
	b = appendHead(b, pointBuckets, 8*len(buckets))
	for _, n := range buckets {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	b = appendHead(b, pointBounds, 8*len(bounds))
	for _, bound := range bounds {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(bound))
	}
	return b
}

// appendMetrics appends, as fields t, one Metric for each instrument that has data, and returns the number of data points.
func (e *Encoder) appendMetrics(b []byte, t tag, from *block) (out []byte, points int) {
	slices.SortFunc(from.sorted, func(a, b *series) int { return a.compare(b.key) })
	for _, in := range e.instruments {
		e.points = e.points[:0]
		for _, s := range from.sorted {
			if s.side != in.side {
				continue
			}
			if e.point = in.append(e, e.point[:0], s); len(e.point) == 0 {
				continue
			}
			// The interval runs from just before the first end of an exchange to the last one. Exchanges come in the order in
			// which they ended, so the intervals of a process follow one another and never overlap.
			e.point = appendFixed64(e.point, pointStart, from.first-1)
			e.point = appendFixed64(e.point, pointTime, from.last)
			e.point = s.appendAttributes(e.point)
			e.points = appendField(e.points, histogramPoints, e.point)
			points++
		}
		if len(e.points) == 0 {
			continue
		}
		const temporality = 2 // bytes
		histogram := len(e.points) + temporality
		b = appendHead(b, t, fieldSize(len(in.name))+fieldSize(len(in.description))+fieldSize(len(in.unit))+fieldSize(histogram))
		b = appendField(b, metricName, in.name)
		b = appendField(b, metricDescription, in.description)
		b = appendField(b, metricUnit, in.unit)
		b = appendHead(b, metricHistogram, histogram)
		b = append(b, e.points...)
		b = appendVarint(b, histogramTemporality, temporalityDelta)
	}
	return b, points
}

func (s *series) appendAttributes(b []byte) []byte {
	const t = pointAttributes
	b = appendText(b, t, "http.request.method", s.method)
	if s.status != 0 {
		b = appendInt(b, t, "http.response.status_code", uint64(s.status))
	}
	if s.route != "" {
		b = appendText(b, t, "http.route", s.route)
	}
	b = appendText(b, t, "server.address", s.address)
	if s.port != 0 {
		b = appendInt(b, t, "server.port", uint64(s.port))
	}
	return appendText(b, t, "url.scheme", s.scheme())
}

// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"math"

	"github.com/DataDog/datadog-agent/pkg/proto/pbgo/trace"
	"github.com/DataDog/sketches-go/ddsketch/pb/sketchpb"
	"google.golang.org/protobuf/proto"
)

// ClientStats reads /v0.6/stats: what a tracer counted before it sampled.
func ClientStats(body []byte) (p *trace.ClientStatsPayload, err error) {
	defer guard(&err)
	if err := sound(body); err != nil {
		return nil, err
	}
	p = new(trace.ClientStatsPayload)
	_, err = p.UnmarshalMsg(body)
	return p, err
}

// AgentStats reads /api/v0.2/stats.
func AgentStats(body []byte) (p *trace.StatsPayload, err error) {
	defer guard(&err)
	if err := sound(body); err != nil {
		return nil, err
	}
	p = new(trace.StatsPayload)
	_, err = p.UnmarshalMsg(body)
	return p, err
}

// Bins is a DDSketch taken apart: counts by index, of values around Gamma^(index-Offset).
type Bins struct {
	Gamma, Offset      float64
	Zero               float64
	Positive, Negative map[int]float64
}

// maxBins bounds a sketch: indexes of all numbers there are do not need more at an error of 1 %.
const maxBins = 1 << 16

// Sketch takes a serialized DDSketch apart. It is nil for one without values.
func Sketch(data []byte) (b *Bins, err error) {
	defer guard(&err)
	if len(data) == 0 {
		return nil, nil //nolint:nilnil // no sketch is no error
	}
	var p sketchpb.DDSketch
	if err := proto.Unmarshal(data, &p); err != nil {
		return nil, err
	}
	m := p.GetMapping()
	if m.GetGamma() <= 1 || math.IsInf(m.GetGamma(), 0) || math.IsNaN(m.GetGamma()) || math.IsNaN(m.GetIndexOffset()) ||
		m.GetInterpolation() != sketchpb.IndexMapping_NONE {
		return nil, errMapping
	}
	b = &Bins{Gamma: m.GetGamma(), Offset: m.GetIndexOffset(), Zero: p.GetZeroCount()}
	if b.Positive, err = bins(p.GetPositiveValues()); err != nil {
		return nil, err
	}
	b.Negative, err = bins(p.GetNegativeValues())
	return b, err
}

// bins puts the sparse and the dense counts of a store together.
func bins(s *sketchpb.Store) (map[int]float64, error) {
	if len(s.GetBinCounts())+len(s.GetContiguousBinCounts()) > maxBins {
		return nil, errBins
	}
	out := make(map[int]float64, len(s.GetBinCounts())+len(s.GetContiguousBinCounts()))
	add := func(index int, n float64) {
		if n > 0 && !math.IsInf(n, 0) {
			out[index] += n
		}
	}
	for i, n := range s.GetBinCounts() {
		add(int(i), n)
	}
	for i, n := range s.GetContiguousBinCounts() {
		add(i+int(s.GetContiguousBinIndexOffset()), n)
	}
	return out, nil
}

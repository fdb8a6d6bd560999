// SPDX-License-Identifier: Apache-2.0

package decode

import "github.com/DataDog/agent-payload/v5/gogen"

// SketchSeries is sketches of one metric and one set of tags.
type SketchSeries struct {
	Metric    string
	Unit      string
	Tags      []string
	Resources []Resource
	Source    string
	NoIndex   bool
	Interval  int64 // seconds; zero if not said
	Points    []SketchPoint
}

// SketchPoint is a distribution at a time in nanoseconds since the epoch: Counts[i] values of the bin Keys[i].
type SketchPoint struct {
	Time          uint64
	Count         uint64
	Sum, Min, Max float64
	Keys          []int32
	Counts        []uint64
}

// Sketches reads /api/beta/sketches.
func Sketches(body []byte) (out []SketchSeries, err error) {
	defer guard(&err)
	var p gogen.SketchPayload
	if err := p.Unmarshal(body); err != nil {
		return nil, err
	}
	for i := range p.Sketches {
		s := &p.Sketches[i]
		one := SketchSeries{Metric: s.Metric, Tags: s.Tags, NoIndex: notIndexed(s.Metadata)}
		if s.Host != "" {
			one.Resources = []Resource{{"host", s.Host}}
		}
		for j := range s.Dogsketches {
			one.Points = append(one.Points, sketchPoint(&s.Dogsketches[j]))
		}
		out = append(out, one)
	}
	return out, nil
}

func sketchPoint(d *gogen.SketchPayload_Sketch_Dogsketch) SketchPoint {
	n := min(len(d.K), len(d.N))
	p := SketchPoint{
		Time: seconds(d.Ts), Count: uint64(max(d.Cnt, 0)), Sum: d.Sum, Min: d.Min, Max: d.Max,
		Keys: d.K[:n], Counts: make([]uint64, n),
	}
	for i := range n {
		p.Counts[i] = uint64(d.N[i])
	}
	return p
}

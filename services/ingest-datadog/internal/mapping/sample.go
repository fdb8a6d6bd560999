// SPDX-License-Identifier: Apache-2.0

package mapping

import (
	"strings"

	"github.com/busbar/busbar/services/ingest-datadog/internal/decode"
	"github.com/busbar/busbar/services/ingest-datadog/internal/otlp"
)

// Sample is what was added up of a metric of DogStatsD in a window. Times are nanoseconds since the epoch.
type Sample struct {
	Name, Unit  string
	Tags        []string
	External    string // what an admission controller says of the pod: it-…,cn-…,pu-…
	Shape       otlp.Shape
	Value       float64                // of a sum or a gauge
	Values      *otlp.ExponentialValue // of a distribution
	Start, Time uint64
}

// Sample maps what was added up.
func (m *Mapper) Sample(out *Output, s Sample, from From) error {
	o, ok := m.origin(out, &decode.Series{Metric: s.Name, Unit: s.Unit, Tags: append(s.Tags, external(s.External)...)}, from, 1)
	if !ok {
		return nil
	}
	if s.Shape == otlp.Exponential {
		return exponential(out, o, s.Name, s.Unit, s.Start, s.Time, s.Values)
	}
	p := otlp.Point{Attributes: otlp.PointAttributes(s.Shape, o.attributes), Time: s.Time, Value: s.Value}
	if s.Shape == otlp.Sum {
		p.Start = s.Start
	}
	return out.points.Add(o.resource, o.scope, otlp.Metric{Name: s.Name, Unit: unit(s.Unit), Shape: s.Shape}, p)
}

// external are the tags that a sender was told about itself.
func external(text string) (tags []string) {
	for part := range strings.SplitSeq(text, ",") {
		if name, ok := strings.CutPrefix(part, "cn-"); ok && name != "" {
			tags = append(tags, "kube_container_name:"+name)
		}
		if uid, ok := strings.CutPrefix(part, "pu-"); ok && uid != "" {
			tags = append(tags, "kube_pod_uid:"+uid)
		}
	}
	return tags
}

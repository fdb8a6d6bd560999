// SPDX-License-Identifier: Apache-2.0

package redact

import "github.com/busbar/busbar/contract/subject"

// The shapes of the three requests, as in opentelemetry-proto 1.x: fields that hold what Payload works on.

func requestOf(s subject.Signal) *shape {
	switch s {
	case subject.Traces:
		return tracesShape
	case subject.Metrics:
		return metricsShape
	case subject.Logs:
		return logsShape
	}
	return &shape{}
}

//nolint:gochecknoglobals // constants
var (
	textShape      = &shape{is: isText}
	attributeShape = newAttribute()
	valueShape     = attributeShape.fields[2]

	tracesShape = request(message(map[int]*shape{ // Span
		5: textShape,
		9: attributeShape,
		11: message(map[int]*shape{ // Event
			2: textShape,
			3: attributeShape,
		}),
		13: message(map[int]*shape{4: attributeShape}), // Link
		15: message(map[int]*shape{2: textShape}),      // Status
	}))

	metricsShape = request(message(map[int]*shape{ // Metric
		5:  points(7, 5),   // Gauge
		7:  points(7, 5),   // Sum
		9:  points(9, 8),   // Histogram
		10: points(1, 11),  // ExponentialHistogram
		11: points(7, 0),   // Summary
		12: attributeShape, // metadata
	}))

	logsShape = request(message(map[int]*shape{ // LogRecord
		5:  valueShape,
		6:  attributeShape,
		12: textShape, // event_name
	}))
)

func message(fields map[int]*shape) *shape {
	s := &shape{}
	for n, below := range fields {
		s.fields[n] = below
	}
	return s
}

// newAttribute makes the shape of KeyValue with AnyValue, which may hold lists of either.
func newAttribute() *shape {
	attribute := &shape{is: isAttribute}
	value := &shape{}
	value.fields[1] = textShape
	value.fields[5] = message(map[int]*shape{1: value})
	value.fields[6] = message(map[int]*shape{1: attribute})
	attribute.fields[2] = value
	return attribute
}

// request is the upper half that all signals share.
func request(record *shape) *shape {
	attributes := message(map[int]*shape{1: attributeShape})
	return message(map[int]*shape{
		1: message(map[int]*shape{ // ResourceSpans and so on
			1: attributes, // Resource
			2: message(map[int]*shape{ // ScopeSpans and so on
				1: message(map[int]*shape{3: attributeShape}), // InstrumentationScope
				2: record,
			}),
		}),
	})
}

// points is the shape of a kind of metric, given where its data points have attributes and exemplars.
func points(attributes, exemplars int) *shape {
	point := message(map[int]*shape{attributes: attributeShape})
	if exemplars > 0 {
		point.fields[exemplars] = message(map[int]*shape{7: attributeShape}) // Exemplar
	}
	return message(map[int]*shape{1: point})
}

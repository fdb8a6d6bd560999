// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/services/router/internal/otlp"
)

// Payload masks card numbers in every text that a program may have written into records: values of attributes, however
// nested, of resources, scopes, spans, span events, links, data points, exemplars and log records; bodies; names of spans and
// span events; status messages. It returns whether anything changed.
func Payload(p otlp.Payload) bool {
	var c cleaner
	p.Walk(otlp.Walk{
		Resource: func(at *otlp.Cursor) bool { return c.attributes(at.Resource.Attributes()) },
		Scope:    func(at *otlp.Cursor) bool { return c.attributes(at.Scope.Attributes()) },
		Record:   c.record,
		Part:     c.part,
	})
	return c.changed
}

// cleaner masks values in place. Its methods return false, which has a walk keep the place.
type cleaner struct{ changed bool }

func (c *cleaner) record(at *otlp.Cursor) bool {
	switch at.Signal {
	case subject.Traces:
		s := at.Span
		c.text(s.Name(), s.SetName)
		c.text(s.Status().Message(), s.Status().SetMessage)
		for _, link := range s.Links().All() {
			c.attributes(link.Attributes())
		}
		return c.attributes(s.Attributes())
	case subject.Logs:
		c.value(at.Log.Body())
		return c.attributes(at.Log.Attributes())
	case subject.Metrics:
	}
	return false
}

func (c *cleaner) part(at *otlp.Cursor) bool {
	switch p := at.Point.(type) {
	case pmetric.NumberDataPoint:
		c.exemplars(p.Exemplars())
		return c.attributes(p.Attributes())
	case pmetric.HistogramDataPoint:
		c.exemplars(p.Exemplars())
		return c.attributes(p.Attributes())
	case pmetric.ExponentialHistogramDataPoint:
		c.exemplars(p.Exemplars())
		return c.attributes(p.Attributes())
	case pmetric.SummaryDataPoint:
		return c.attributes(p.Attributes())
	}
	c.text(at.Event.Name(), at.Event.SetName)
	return c.attributes(at.Event.Attributes())
}

func (c *cleaner) exemplars(es pmetric.ExemplarSlice) {
	for _, e := range es.All() {
		c.attributes(e.FilteredAttributes())
	}
}

func (c *cleaner) attributes(m pcommon.Map) bool {
	for _, v := range m.All() {
		c.value(v)
	}
	return false
}

func (c *cleaner) value(v pcommon.Value) {
	switch v.Type() {
	case pcommon.ValueTypeStr:
		c.text(v.Str(), v.SetStr)
	case pcommon.ValueTypeMap:
		c.attributes(v.Map())
	case pcommon.ValueTypeSlice:
		for _, item := range v.Slice().All() {
			c.value(item)
		}
	default: // numbers, bools and bytes are not text
	}
}

func (c *cleaner) text(s string, set func(string)) {
	if masked, found := Cards(s); found {
		set(masked)
		c.changed = true
	}
}

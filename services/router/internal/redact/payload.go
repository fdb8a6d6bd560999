// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/services/router/internal/otlp"
)

// Payload redacts a payload in place and returns how often it did. It works on attributes, however nested, of resources, scopes,
// spans, span events, links, metrics, data points, exemplars and log records; on bodies; on names of spans, span events and log
// events; and on status messages. It does not change keys, numbers and bytes.
func (r *Redactor) Payload(p otlp.Payload) Counts {
	c := cleaner{Redactor: r, judge: judge{keys: &r.keys}}
	p.Walk(otlp.Walk{
		Resource: func(at *otlp.Cursor) bool { return c.attributes(at.Resource.Attributes()) },
		Scope:    func(at *otlp.Cursor) bool { return c.attributes(at.Scope.Attributes()) },
		Record:   c.record,
		Part:     c.part,
	})
	return c.counts
}

// cleaner masks values in place. Its methods that return something return false, which has a walk keep the place.
type cleaner struct {
	*Redactor
	judge  judge
	counts Counts
}

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
		c.text(at.Log.EventName(), at.Log.SetEventName)
		c.value(at.Log.Body())
		return c.attributes(at.Log.Attributes())
	case subject.Metrics:
		return c.attributes(at.Metric.Metadata())
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
	m.RemoveIf(func(key string, v pcommon.Value) (removed bool) {
		verdict, leave := c.judge.enter(key)
		defer c.judge.leave(leave)
		switch verdict {
		case hide:
			if removed = c.remove; removed {
				c.count(kindKey, 1)
			} else {
				c.hide(v, kindKey)
			}
		case bear:
			c.hide(v, kindBearer)
		case look:
			c.value(v)
		case allow:
		}
		return removed
	})
	return false
}

// hide masks a value whatever it holds, unless a Mask is there already.
func (c *cleaner) hide(v pcommon.Value, kind string) {
	if v.Type() != pcommon.ValueTypeStr || v.Str() != Mask {
		v.SetStr(Mask)
		c.count(kind, 1)
	}
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
	masked := s
	for _, f := range c.finders {
		var n int
		masked, n = f.mask(masked)
		c.count(f.kind, n)
	}
	if masked != s {
		set(masked)
	}
}

func (c *cleaner) count(kind string, n int) {
	if n == 0 {
		return
	}
	if c.counts == nil {
		c.counts = Counts{}
	}
	c.counts[kind] += n
}

// SPDX-License-Identifier: Apache-2.0

// Package otlp holds the OpenTelemetry payload of one message. It takes a payload apart on the wire for as long as a
// question is about resources only, and decodes records when a rule is about them. All signals look alike from outside.
package otlp

import (
	"fmt"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/busbar/busbar/contract/subject"
)

// Payload is a decoded export request of one signal. Copies share the data; Clone does not.
type Payload struct {
	signal  subject.Signal
	traces  ptrace.Traces
	metrics pmetric.Metrics
	logs    plog.Logs
}

// FromTraces wraps traces.
func FromTraces(t ptrace.Traces) Payload { return Payload{signal: subject.Traces, traces: t} }

// FromMetrics wraps metrics.
func FromMetrics(m pmetric.Metrics) Payload { return Payload{signal: subject.Metrics, metrics: m} }

// FromLogs wraps logs.
func FromLogs(l plog.Logs) Payload { return Payload{signal: subject.Logs, logs: l} }

// Decode decodes an export request. The payload does not alias b.
func Decode(s subject.Signal, b []byte) (p Payload, err error) {
	p.signal = s
	switch s {
	case subject.Traces:
		var u ptrace.ProtoUnmarshaler
		p.traces, err = u.UnmarshalTraces(b)
	case subject.Metrics:
		var u pmetric.ProtoUnmarshaler
		p.metrics, err = u.UnmarshalMetrics(b)
	case subject.Logs:
		var u plog.ProtoUnmarshaler
		p.logs, err = u.UnmarshalLogs(b)
	default:
		err = fmt.Errorf("unknown signal %q", s)
	}
	if err != nil {
		return Payload{}, fmt.Errorf("decode %s: %w", s, err)
	}
	return p, nil
}

// Encode encodes the export request.
func (p Payload) Encode() (b []byte, err error) {
	switch p.signal {
	case subject.Traces:
		var m ptrace.ProtoMarshaler
		b, err = m.MarshalTraces(p.traces)
	case subject.Metrics:
		var m pmetric.ProtoMarshaler
		b, err = m.MarshalMetrics(p.metrics)
	case subject.Logs:
		var m plog.ProtoMarshaler
		b, err = m.MarshalLogs(p.logs)
	}
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", p.signal, err)
	}
	return b, nil
}

// Signal returns the signal of the payload.
func (p Payload) Signal() subject.Signal { return p.signal }

// Len returns the number of records: spans, data points or log records.
func (p Payload) Len() int {
	switch p.signal {
	case subject.Traces:
		return p.traces.SpanCount()
	case subject.Metrics:
		return p.metrics.DataPointCount()
	case subject.Logs:
		return p.logs.LogRecordCount()
	}
	return 0
}

// Size returns how many bytes Encode returns.
func (p Payload) Size() int {
	switch p.signal {
	case subject.Traces:
		var m ptrace.ProtoMarshaler
		return m.TracesSize(p.traces)
	case subject.Metrics:
		var m pmetric.ProtoMarshaler
		return m.MetricsSize(p.metrics)
	case subject.Logs:
		var m plog.ProtoMarshaler
		return m.LogsSize(p.logs)
	}
	return 0
}

// Pass hands the data to the function for its signal and puts what that returns in its place. The functions may change what they
// are given.
func (p Payload) Pass(
	traces func(ptrace.Traces) (ptrace.Traces, error),
	metrics func(pmetric.Metrics) (pmetric.Metrics, error),
	logs func(plog.Logs) (plog.Logs, error),
) error {
	switch p.signal {
	case subject.Traces:
		out, err := traces(p.traces)
		if err != nil || out == p.traces {
			return err
		}
		p.Clear()
		out.ResourceSpans().MoveAndAppendTo(p.traces.ResourceSpans())
	case subject.Metrics:
		out, err := metrics(p.metrics)
		if err != nil || out == p.metrics {
			return err
		}
		p.Clear()
		out.ResourceMetrics().MoveAndAppendTo(p.metrics.ResourceMetrics())
	case subject.Logs:
		out, err := logs(p.logs)
		if err != nil || out == p.logs {
			return err
		}
		p.Clear()
		out.ResourceLogs().MoveAndAppendTo(p.logs.ResourceLogs())
	}
	return nil
}

// Clear removes everything.
func (p Payload) Clear() { p.Walk(Walk{Resource: func(*Cursor) bool { return true }}) }

// Clone returns a deep copy.
func (p Payload) Clone() Payload {
	c := Payload{signal: p.signal}
	switch p.signal {
	case subject.Traces:
		c.traces = ptrace.NewTraces()
		p.traces.CopyTo(c.traces)
	case subject.Metrics:
		c.metrics = pmetric.NewMetrics()
		p.metrics.CopyTo(c.metrics)
	case subject.Logs:
		c.logs = plog.NewLogs()
		p.logs.CopyTo(c.logs)
	}
	return c
}

// Chunk is an encoded request and the number of records inside.
type Chunk struct {
	Data  []byte
	Items int
}

// EncodeWithin encodes the payload in as many requests as it takes for none to exceed limit bytes, in order. It returns
// the number of records that exceed it alone, which are in no request. An empty payload needs no request.
func (p Payload) EncodeWithin(limit int) (chunks []Chunk, tooLarge int, err error) {
	n := p.Len()
	if n == 0 {
		return nil, 0, nil
	}
	data, err := p.Encode()
	switch {
	case err != nil:
		return nil, 0, err
	case len(data) <= limit:
		return []Chunk{{Data: data, Items: n}}, 0, nil
	case n == 1:
		return nil, 1, nil
	}
	for _, half := range [...]Payload{p.slice(0, n/2), p.slice(n/2, n)} {
		more, large, err := half.EncodeWithin(limit)
		if err != nil {
			return nil, 0, err
		}
		chunks, tooLarge = append(chunks, more...), tooLarge+large
	}
	return chunks, tooLarge, nil
}

// slice copies the records from the one numbered from up to, not including, the one numbered to.
func (p Payload) slice(from, to int) Payload {
	c, i := p.Clone(), 0
	outside := func(*Cursor) bool {
		i++
		return i <= from || i > to
	}
	if p.signal == subject.Metrics {
		c.Walk(Walk{Part: outside})
	} else {
		c.Walk(Walk{Record: outside})
	}
	return c
}
